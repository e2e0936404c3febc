"""What happens in the chat.

On the topic of a conversation is told what everybody in it may know, the visitor too. On the queue is told what staff
know: the case as it is after each change but for messages, which are told in their conversation alone
(`docs/decisions/0011-conversations-and-cases.md`). On the topic of a person is told what concerns nobody else.
"""

from typing import ClassVar

from courtyard.applications.chat.schemas import Bookmark, Case, Conversation, Message, Note, Seen
from courtyard.kernel.events import Event


class ConversationEvent(Event, frozen=True):
    """Something has happened to a conversation; it is so now."""

    conversation: Conversation


class ConversationOpened(ConversationEvent, frozen=True):
    """A visitor has come."""

    name: ClassVar[str] = "chat.conversation.opened"


class ConversationClaimedBy(ConversationEvent, frozen=True):
    """Somebody of the staff has taken the conversation."""

    name: ClassVar[str] = "chat.conversation.claimed"


class ConversationStaffed(ConversationEvent, frozen=True):
    """Others of the staff are in the conversation now, or nobody any more."""

    name: ClassVar[str] = "chat.conversation.staffed"


class ConversationEnded(ConversationEvent, frozen=True):
    """The conversation has been closed."""

    name: ClassVar[str] = "chat.conversation.closed"


class ConversationReopened(ConversationEvent, frozen=True):
    """The conversation goes on."""

    name: ClassVar[str] = "chat.conversation.reopened"


class MessageSent(Event, frozen=True):
    """A message has been appended."""

    name: ClassVar[str] = "chat.message.sent"
    message: Message


class MessageSeen(Event, frozen=True):
    """Somebody has read so far; told in the conversation if they are in it, and to themselves."""

    name: ClassVar[str] = "chat.message.seen"
    seen: Seen


class CaseChanged(Event, frozen=True):
    """What staff see of a conversation is so now."""

    name: ClassVar[str] = "chat.case.changed"
    case: Case


class NoteWritten(Event, frozen=True):
    """The staff knows something that the visitor does not."""

    name: ClassVar[str] = "chat.note.written"
    note: Note


class BookmarkChanged(Event, frozen=True):
    """Somebody has put a bookmark into a conversation, or taken it out; told to themselves."""

    name: ClassVar[str] = "chat.bookmark.changed"
    bookmark: Bookmark


EVENTS = (
    ConversationOpened,
    ConversationClaimedBy,
    ConversationStaffed,
    ConversationEnded,
    ConversationReopened,
    MessageSent,
    MessageSeen,
    CaseChanged,
    NoteWritten,
    BookmarkChanged,
)
