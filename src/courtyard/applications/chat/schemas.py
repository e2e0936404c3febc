"""What comes in and goes out about conversations and messages."""

from datetime import datetime
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from courtyard.applications.chat.permissions import CONVERSATION, VISITOR
from courtyard.kernel.calendar import Calendar
from courtyard.kernel.context import Scope
from courtyard.kernel.schema import Input, Name, Output, Text, WorkspaceSection

Subject = Annotated[Name, Meta(description="What it is about, in one line.")]
ConversationState = Literal["waiting", "active", "closed"]
# What the staff does that everybody in a conversation may know.
Action = Literal["joined", "left", "added", "removed", "took_over", "handed_over"]
# The lists of the staff: conversations that one is in; that wait for staff; whose visitors wait for an answer; that
# are flagged; whose visitors do not wait; that one is in and has not read; with one's bookmarks; and all of them.
CaseListName = Literal["mine", "waiting", "unhandled", "flagged", "handled", "unread", "bookmarked", "recent"]
# What only the staff knows.
NoteAction = Literal["flagged", "unflagged", "handed_over"]
# What somebody is in a conversation.
PersonRole = Literal["visitor", "volunteer", "supervisor", "administrator"]
MAX_CAPACITY = 20
NoteText = Annotated[
    str, Meta(min_length=1, max_length=4_000, pattern=r"^[^\x00]*$(?!\n)", description="1 to 4,000 characters.")
]
Severity = Annotated[int, Meta(ge=1, le=3)]
Tag = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=50,
        pattern=r"^[^\x00-\x20\x7f,]+( [^\x00-\x20\x7f,]+)*$(?!\n)",
        description="One line of 1 to 50 characters, without commas.",
        examples=["housing"],
    ),
]


class Message(Output, frozen=True):
    """One message, or what somebody of the staff did that all in the conversation may know.

    Attributes:
        number: 1, 2, 3… without gap within the conversation.
        author_id: who wrote it, or did it.
        text: empty where something was done.
        action: what was done; null where something was written.
        about_id: to whom it was done.
        client_message_id: what the sender calls it, so that sending it again is harmless.
    """

    id: UUID
    conversation_id: UUID
    number: int
    author_id: UUID
    text: str
    action: Action | None
    about_id: UUID | None
    client_message_id: UUID | None
    created_at: datetime


class NewMessage(Input, frozen=True):
    """A message to be sent.

    Attributes:
        text: plain text.
        client_message_id: made by the client once per message and kept for every retry of it.
    """

    text: Text
    client_message_id: UUID | UnsetType = UNSET


class Talk(Output, frozen=True):
    """One talk of a visitor with the staff: what everybody in it sees, and so do staff.

    Attributes:
        state: `waiting` for staff, `active` with staff in it, or `closed`.
        staff_ids: who of the staff is in it, in the order in which they came; after its end, who was.
        message_count: the number of the newest message.
        claimed_at: when somebody of the staff came for the first time.
    """

    id: UUID
    state: ConversationState
    subject: str | None
    visitor_id: UUID
    staff_ids: list[UUID]
    message_count: int
    created_at: datetime
    claimed_at: datetime | None
    closed_at: datetime | None

    read_permission: ClassVar[str] = "chat.conversation.read"

    def relations_of(self, account_id: UUID) -> frozenset[str]:
        """Return the roles that come with a relation to the conversation."""
        return frozenset({VISITOR}) if account_id == self.visitor_id else frozenset()

    def scopes(self) -> tuple[Scope]:
        """Return the thing on which a role can be given that counts here: the conversation itself."""
        return ((CONVERSATION, self.id),)

    @property
    def topic(self) -> str:
        """Where its events are recorded."""
        return conversation_topic(self.id)


class Conversation(Talk, frozen=True):
    """One talk of a visitor with the staff.

    Attributes:
        version: goes up with each change.
    """

    version: int


class Case(Talk, frozen=True):
    """What staff see of a conversation.

    Attributes:
        conversation_version: the version of what the visitor sees; goes up with each change of that.
        active_at: when something was said or done in it the last time.
        waiting_since: since when the visitor waits for an answer; null where they do not.
        tags: what it is about, in the words of the workspace.
        flag_severity: how urgently a supervisor is asked to look, 1 to 3; null where nobody asks.
        flag_reason: why.
        flagged_by: who asks.
        flagged_at: since when.
    """

    conversation_version: int
    active_at: datetime
    waiting_since: datetime | None
    tags: list[str]
    flag_severity: int | None
    flag_reason: str | None
    flagged_by: UUID | None
    flagged_at: datetime | None

    @property
    def conversation(self) -> Conversation:
        """What everybody in the conversation sees of it."""
        shared = {name: getattr(self, name) for name in Talk.__struct_fields__}
        return Conversation(**shared, version=self.conversation_version)


class LastMessage(Output, frozen=True):
    """What was said last in a conversation.

    Attributes:
        text: its beginning.
        action: what was done; null where something was written.
    """

    number: int
    author_id: UUID
    text: str
    action: Action | None
    created_at: datetime


class ListedCase(Output, frozen=True):
    """One line of a list.

    Attributes:
        case: the conversation.
        last_message: what was said last; null where nothing was.
        unread_count: how many messages the caller has not seen; 0 where the last one is their own.
        is_bookmarked: whether the caller has put a bookmark into it.
    """

    case: Case
    last_message: LastMessage | None
    unread_count: int
    is_bookmarked: bool


class CaseList(Output, frozen=True):
    """One page of a list.

    Attributes:
        next: the cursor of the page behind it, null on the last.
        total: how many there are in all, where that was asked for.
    """

    items: list[ListedCase]
    next: str | None
    total: int | None


class NewConversation(Input, frozen=True):
    """A conversation to be opened, with its first message if there is one."""

    subject: Subject | UnsetType = UNSET
    message: NewMessage | UnsetType = UNSET


class NamedStaff(Input, frozen=True):
    """Says who of the staff is meant."""

    account_id: UUID


class StaffList(Input, frozen=True):
    """Who is to be in a conversation.

    Attributes:
        account_ids: all of them; whoever is not named leaves.
    """

    account_ids: Annotated[list[UUID], Meta(min_length=1, max_length=MAX_CAPACITY)]


class HandOver(Input, frozen=True):
    """To whom of the staff a conversation is handed over.

    Attributes:
        account_id: who goes on.
        note: what they should know; the visitor does not see it.
    """

    account_id: UUID
    note: NoteText | UnsetType = UNSET


class NewFlag(Input, frozen=True):
    """Asks supervisors to look at a conversation.

    Attributes:
        severity: how urgently, 1 to 3.
        reason: why; the visitor does not see it.
    """

    severity: Severity
    reason: NoteText | UnsetType = UNSET


class Tags(Input, frozen=True):
    """What a conversation is about.

    Attributes:
        tags: all of them, each once; the others are taken away.
    """

    tags: Annotated[list[Tag], Meta(max_length=20)]


class NewNote(Input, frozen=True):
    """A note for the staff."""

    text: NoteText


class Note(Output, frozen=True):
    """What staff know of a conversation and the visitor does not.

    Attributes:
        author_id: who wrote it, or did it.
        action: what was done; null where something was written.
        text: what was written: the note itself, or why it was done.
    """

    id: UUID
    conversation_id: UUID
    author_id: UUID
    action: NoteAction | None
    text: str
    created_at: datetime


class SeenMessage(Input, frozen=True):
    """Says how far somebody has read.

    Attributes:
        number: of the newest message that they have seen.
    """

    number: Annotated[int, Meta(ge=1, le=2**53)]


class Seen(Output, frozen=True):
    """How far somebody has read a conversation; it never goes back.

    Attributes:
        number: of the newest message that they have seen.
    """

    conversation_id: UUID
    account_id: UUID
    number: int


class Bookmark(Output, frozen=True):
    """Whether the caller has put a bookmark into a conversation."""

    conversation_id: UUID
    is_bookmarked: bool


class ConversationPerson(Output, frozen=True):
    """Somebody of a conversation, as everybody in it sees them.

    Attributes:
        name: what they are called there.
        role: what they are there; null for who was of the staff and is so no more.
    """

    account_id: UUID
    name: str
    role: PersonRole | None


class ProfilePatch(Input, frozen=True):
    """What is to be changed of how one is shown.

    Attributes:
        display_name: what visitors see in place of the name of the account; null for that.
    """

    display_name: Name | None


class Profile(Output, frozen=True):
    """How somebody of the staff is shown to visitors.

    Attributes:
        display_name: what visitors see in place of the name of the account; null for that.
    """

    account_id: UUID
    display_name: str | None


class ChatSettings(WorkspaceSection, frozen=True):
    """What a workspace sets for its chat.

    Attributes:
        capacity: how many of the staff may be in one conversation.
        opening_hours: when visitors can count on somebody; null for always.
    """

    capacity: Annotated[int, Meta(ge=1, le=MAX_CAPACITY)] = 5
    opening_hours: Calendar | None = None


class OpeningHours(Output, frozen=True):
    """Whether a visitor can count on somebody now, and when that changes.

    Attributes:
        is_open: whether it is open now.
        opens_at: when it opens; null where it is open, or does not open within 400 days.
        closes_at: when it closes; null where it is closed, or does not close within 400 days.
    """

    is_open: bool
    opens_at: datetime | None
    closes_at: datetime | None


CONVERSATION_TOPIC = "chat.conversation"
QUEUE_TOPIC = "chat.queue"
PERSON_TOPIC = "chat.person"


def conversation_topic(conversation_id: UUID) -> str:
    """Return the topic of a conversation."""
    return f"{CONVERSATION_TOPIC}:{conversation_id}"


def person_topic(account_id: UUID) -> str:
    """Return the topic of what concerns one person alone."""
    return f"{PERSON_TOPIC}:{account_id}"
