"""Socket events and topics of the chat: the same services as over HTTP."""

from uuid import UUID

from msgspec import UNSET, UnsetType

from courtyard.applications.chat import queries, service
from courtyard.applications.chat.errors import ConversationClaimed, ConversationClosed, ConversationNotClaimed
from courtyard.applications.chat.schemas import (
    CONVERSATION_TOPIC,
    QUEUE_TOPIC,
    Conversation,
    Message,
    NewConversation,
    NewMessage,
    Subject,
)
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.events import Topic
from courtyard.kernel.realtime import SocketInput, on
from courtyard.kernel.schema import Text


class OpenConversation(SocketInput, kw_only=True, frozen=True):
    """A conversation to be opened, with its first message if there is one."""

    subject: Subject | UnsetType = UNSET
    message: NewMessage | UnsetType = UNSET


class NamedConversation(SocketInput, kw_only=True, frozen=True):
    """Says which conversation is meant."""

    conversation_id: UUID


class SendMessage(NamedConversation, kw_only=True, frozen=True):
    """A message to be sent."""

    text: Text
    client_message_id: UUID | UnsetType = UNSET


@on("chat.conversation.open", permission="chat.conversation.open")
async def open_conversation(context: Context, data: OpenConversation) -> Conversation:
    """Open a conversation as a visitor."""
    return await service.open_conversation(context, NewConversation(subject=data.subject, message=data.message))


@on(
    "chat.conversation.claim",
    permission="chat.conversation.claim",
    problems=[ConversationClaimed, ConversationClosed],
)
async def claim_conversation(context: Context, data: NamedConversation) -> Conversation:
    """Take a waiting conversation."""
    return await service.claim_conversation(context, data.conversation_id)


@on("chat.conversation.close", permission="chat.conversation.close")
async def close_conversation(context: Context, data: NamedConversation) -> Conversation:
    """End a conversation."""
    return await service.close_conversation(context, data.conversation_id)


@on(
    "chat.message.send",
    permission="chat.message.send",
    problems=[ConversationClosed, ConversationNotClaimed],
)
async def send_message(context: Context, data: SendMessage) -> Message:
    """Write in a conversation."""
    new = NewMessage(text=data.text, client_message_id=data.client_message_id)
    return await service.send_message(context, data.conversation_id, new)


async def _may_hear_conversation(context: ReadContext, conversation_id: UUID | None) -> None:
    if conversation_id is not None:
        await queries.get_conversation(context, conversation_id)


async def _may_hear_queue(context: ReadContext, _: UUID | None) -> None:
    context.require("chat.queue.read")


SOCKETS = (open_conversation, claim_conversation, close_conversation, send_message)

TOPICS = (
    Topic(
        kind=CONVERSATION_TOPIC,
        description="Everything that happens in a conversation.",
        permission="chat.conversation.read",
        authorise=_may_hear_conversation,
        has_id=True,
        presence=True,
    ),
    Topic(
        kind=QUEUE_TOPIC,
        description="Conversations that are opened, claimed and closed.",
        permission="chat.queue.read",
        authorise=_may_hear_queue,
        presence=True,
    ),
)
