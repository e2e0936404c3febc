"""The rules of a conversation: what may happen in which state. No I/O."""

from uuid import UUID

from courtyard.applications.chat.errors import ConversationClosed, ConversationNotClaimed
from courtyard.applications.chat.schemas import Conversation


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
