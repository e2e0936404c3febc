"""What happens in the chat. Each is recorded on the topic of its conversation; what moves the queue, there too."""

from typing import ClassVar

from courtyard.applications.chat.schemas import Conversation, Message
from courtyard.kernel.events import Event


class ConversationOpened(Event, frozen=True):
    """A visitor has come."""

    name: ClassVar[str] = "chat.conversation.opened"
    conversation: Conversation


class ConversationClaimedBy(Event, frozen=True):
    """Somebody of the staff has taken the conversation."""

    name: ClassVar[str] = "chat.conversation.claimed"
    conversation: Conversation


class ConversationEnded(Event, frozen=True):
    """The conversation has been closed."""

    name: ClassVar[str] = "chat.conversation.closed"
    conversation: Conversation


class MessageSent(Event, frozen=True):
    """A message has been appended."""

    name: ClassVar[str] = "chat.message.sent"
    message: Message


EVENTS = (ConversationOpened, ConversationClaimedBy, ConversationEnded, MessageSent)
