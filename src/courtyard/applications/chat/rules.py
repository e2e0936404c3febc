"""The rules of a conversation: what may happen in which state. No I/O."""

from datetime import datetime
from uuid import UUID

from courtyard.applications.chat.errors import ConversationClosed, ConversationNotClaimed
from courtyard.applications.chat.schemas import Conversation, OpeningHours
from courtyard.kernel.calendar import Calendar, Hours


def ensure_open(conversation: Conversation) -> None:
    """Go on only while the conversation lasts.

    Raises:
        ConversationClosed: it has ended.
    """
    if conversation.state == "closed":
        raise ConversationClosed


def ensure_may_write(conversation: Conversation, author_id: UUID) -> None:
    """Go on only where this account may add a message now: the visitor at once, staff when it has been claimed.

    Raises:
        ConversationClosed: it has ended.
        ConversationNotClaimed: a member of the staff writes before anybody has claimed it.
    """
    ensure_open(conversation)
    if author_id != conversation.visitor_id and conversation.assignee_id is None:
        raise ConversationNotClaimed


def opening_hours(calendar: Calendar | None, now: datetime) -> OpeningHours:
    """Return what a calendar says of now; no calendar is always open."""
    if calendar is None:
        return OpeningHours(is_open=True, opens_at=None, closes_at=None)
    hours = Hours(calendar)
    if hours.is_open(now):
        return OpeningHours(is_open=True, opens_at=None, closes_at=hours.next_closed(now))
    return OpeningHours(is_open=False, opens_at=hours.next_open(now), closes_at=None)
