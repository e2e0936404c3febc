"""HTTP: conversations and messages."""

from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter

from courtyard.applications.chat import queries, service
from courtyard.applications.chat.errors import ConversationClaimed, ConversationClosed, ConversationNotClaimed
from courtyard.applications.chat.schemas import (
    Conversation,
    ConversationState,
    Message,
    NewConversation,
    NewMessage,
    OpeningHours,
)
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.http import get, post

CHAT = "/workspaces/{workspace:str}/chat"
CONVERSATIONS = f"{CHAT}/conversations"
# The framework keeps the name `state` for itself.
InState = Annotated[ConversationState | None, QueryParameter(name="state", description="Only those in this state.")]
CONVERSATION = CONVERSATIONS + "/{conversation_id:uuid}"


@post(CONVERSATIONS, permission="chat.conversation.open")
async def open_conversation(context: Context, data: NewConversation) -> Conversation:
    """Open a conversation as a visitor."""
    return await service.open_conversation(context, data)


@get(CONVERSATIONS, permission="chat.conversation.open")
async def list_conversations(
    context: ReadContext,
    in_state: InState = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor | None = None,
) -> Page[Conversation]:
    """List conversations, longest waiting first.

    Staff see those of every visitor, a visitor their own, and whoever has a role on single ones those.
    """
    return await queries.list_conversations(context, in_state, limit, cursor)


@get(CONVERSATION, permission="chat.conversation.read")
async def get_conversation(context: ReadContext, conversation_id: UUID) -> Conversation:
    """See a conversation."""
    return await queries.get_conversation(context, conversation_id)


@post(
    f"{CONVERSATION}/claim",
    permission="chat.conversation.claim",
    problems=[ConversationClaimed, ConversationClosed],
)
async def claim_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """Take a waiting conversation."""
    return await service.claim_conversation(context, conversation_id)


@post(f"{CONVERSATION}/close", permission="chat.conversation.close")
async def close_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """End a conversation."""
    return await service.close_conversation(context, conversation_id)


@get(f"{CONVERSATION}/messages", permission="chat.conversation.read")
async def list_messages(
    context: ReadContext, conversation_id: UUID, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[Message]:
    """List the messages of a conversation, newest first."""
    return await queries.list_messages(context, conversation_id, limit, cursor)


@post(
    f"{CONVERSATION}/messages",
    permission="chat.message.send",
    problems=[ConversationClosed, ConversationNotClaimed],
)
async def send_message(context: Context, conversation_id: UUID, data: NewMessage) -> Message:
    """Write in a conversation."""
    return await service.send_message(context, conversation_id, data)


@get(f"{CHAT}/opening-hours", permission="chat.conversation.open")
async def get_opening_hours(context: ReadContext) -> OpeningHours:
    """See whether somebody is there now, and when that changes.

    Times are in UTC: clients show them on the clock of the visitor.
    """
    return await queries.get_opening_hours(context)


ROUTES = (
    open_conversation,
    list_conversations,
    get_conversation,
    claim_conversation,
    close_conversation,
    list_messages,
    send_message,
    get_opening_hours,
)
