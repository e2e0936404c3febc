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


class Message(Output, frozen=True):
    """One message.

    Attributes:
        number: 1, 2, 3… without gap within the conversation.
        client_message_id: what the sender calls it, so that sending it again is harmless.
    """

    id: UUID
    conversation_id: UUID
    number: int
    author_id: UUID
    text: str
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


class Conversation(Output, frozen=True):
    """One talk of a visitor with the staff.

    Attributes:
        state: `waiting` for staff, `active` with an assignee, or `closed`.
        message_count: the number of the newest message.
    """

    id: UUID
    state: ConversationState
    subject: str | None
    visitor_id: UUID
    assignee_id: UUID | None
    message_count: int
    version: int
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


class NewConversation(Input, frozen=True):
    """A conversation to be opened, with its first message if there is one."""

    subject: Subject | UnsetType = UNSET
    message: NewMessage | UnsetType = UNSET


class ChatSettings(WorkspaceSection, frozen=True):
    """What a workspace sets for its chat.

    Attributes:
        opening_hours: when visitors can count on somebody; null for always.
    """

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


def conversation_topic(conversation_id: UUID) -> str:
    """Return the topic of a conversation."""
    return f"{CONVERSATION_TOPIC}:{conversation_id}"
