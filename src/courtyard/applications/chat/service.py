"""Every change of conversations and messages."""

from uuid import UUID

import msgspec
from msgspec import UNSET

from courtyard.applications.chat import queries, rules, store
from courtyard.applications.chat.errors import ConversationClaimed
from courtyard.applications.chat.events import (
    ConversationClaimedBy,
    ConversationEnded,
    ConversationOpened,
    MessageSent,
)
from courtyard.applications.chat.models import ConversationRow, MessageRow
from courtyard.applications.chat.schemas import (
    QUEUE_TOPIC,
    Conversation,
    Message,
    NewConversation,
    NewMessage,
)
from courtyard.kernel.context import Context
from courtyard.kernel.database import UniqueViolation
from courtyard.kernel.errors import Unavailable
from courtyard.kernel.ids import new_id


async def open_conversation(context: Context, new: NewConversation) -> Conversation:
    """Open a conversation as a visitor; it waits for staff."""
    visitor_id = context.account_id
    context.require("chat.conversation.open")
    has_message = new.message is not UNSET
    conversation = Conversation(
        id=new_id(),
        state="waiting",
        subject=None if new.subject is UNSET else new.subject,
        visitor_id=visitor_id,
        assignee_id=None,
        message_count=int(has_message),
        version=1,
        created_at=context.now,
        claimed_at=None,
        closed_at=None,
    )
    await context.db.insert(ConversationRow, **msgspec.structs.asdict(conversation))
    opened = ConversationOpened(conversation)
    context.record(conversation.topic, opened)
    context.record(QUEUE_TOPIC, opened)
    if new.message is not UNSET:
        message = _draft(context, conversation.id, new.message, number=1)
        await context.db.insert(MessageRow, **msgspec.structs.asdict(message))
        context.record(conversation.topic, MessageSent(message))
    return conversation


async def claim_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """Take a waiting conversation; claiming what one has already changes nothing.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationClaimed: somebody else has it.
        ConversationClosed: it has ended.
    """
    conversation = await queries.lock_conversation(context, conversation_id)
    context.require("chat.conversation.claim", conversation)
    rules.ensure_open(conversation)
    if conversation.assignee_id == context.account_id:
        return conversation
    if conversation.assignee_id is not None:
        raise ConversationClaimed(assignee_id=conversation.assignee_id)
    claimed = msgspec.structs.replace(
        conversation,
        state="active",
        assignee_id=context.account_id,
        claimed_at=context.now,
        version=conversation.version + 1,
    )
    await _save(context, claimed)
    event = ConversationClaimedBy(claimed)
    context.record(claimed.topic, event)
    context.record(QUEUE_TOPIC, event)
    return claimed


async def close_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """End a conversation; closing it again changes nothing.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
    """
    conversation = await queries.lock_conversation(context, conversation_id)
    context.require("chat.conversation.close", conversation)
    if conversation.state == "closed":
        return conversation
    closed = msgspec.structs.replace(
        conversation, state="closed", closed_at=context.now, version=conversation.version + 1
    )
    await _save(context, closed)
    event = ConversationEnded(closed)
    context.record(closed.topic, event)
    context.record(QUEUE_TOPIC, event)
    return closed


async def send_message(context: Context, conversation_id: UUID, new: NewMessage) -> Message:
    """Append a message to a conversation and tell everyone in it.

    Sending again under the same `client_message_id` returns the message that is there.

    Raises:
        NotFound: the conversation does not exist, or the sender may not know of it.
        ConversationClosed: it has ended.
        ConversationNotClaimed: nobody of the staff has claimed it, and the sender is of the staff.
    """
    outside = context.outside()
    conversation = await queries.get_conversation(outside, conversation_id)
    context.require("chat.message.send", conversation)
    draft = _draft(context, conversation_id, new, number=store.UNNUMBERED)
    # Whoever did not open it got this far by a role, in the workspace or on this conversation.
    is_staff = draft.author_id != conversation.visitor_id
    try:
        message = await store.send(context, draft, is_staff=is_staff)
    except UniqueViolation:
        message = None
    if message is None and draft.client_message_id is not None:
        # The first answer was lost, or is still under way.
        message = await queries.find_message(outside, conversation_id, draft.author_id, draft.client_message_id)
    if message is None:
        rules.ensure_may_write(await queries.get_conversation(outside, conversation_id), draft.author_id)
        raise Unavailable("The conversation has changed in this moment.")
    return message


def _draft(context: Context, conversation_id: UUID, new: NewMessage, *, number: int) -> Message:
    return Message(
        id=new_id(),
        conversation_id=conversation_id,
        number=number,
        author_id=context.account_id,
        text=new.text,
        client_message_id=None if new.client_message_id is UNSET else new.client_message_id,
        created_at=context.now,
    )


async def _save(context: Context, conversation: Conversation) -> None:
    await context.db.update(
        ConversationRow,
        {"id": conversation.id},
        state=conversation.state,
        assignee_id=conversation.assignee_id,
        claimed_at=conversation.claimed_at,
        closed_at=conversation.closed_at,
        version=conversation.version,
    )
