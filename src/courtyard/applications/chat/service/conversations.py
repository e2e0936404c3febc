"""Opening, ending and opening again, and what is written in between."""

from uuid import UUID

import msgspec
from msgspec import UNSET

from courtyard.applications.chat import rules, store
from courtyard.applications.chat.errors import ConversationOpen
from courtyard.applications.chat.events import (
    CaseChanged,
    ConversationEnded,
    ConversationOpened,
    ConversationReopened,
    MessageSent,
)
from courtyard.applications.chat.models import ConversationRow, MessageRow
from courtyard.applications.chat.queries import conversations as queries
from courtyard.applications.chat.schemas import (
    QUEUE_TOPIC,
    Case,
    Conversation,
    Message,
    NewConversation,
    NewMessage,
)
from courtyard.applications.chat.service.changes import keep, restaff
from courtyard.kernel.context import Context
from courtyard.kernel.database import UniqueViolation
from courtyard.kernel.errors import Unavailable
from courtyard.kernel.ids import new_id


async def open_conversation(context: Context, new: NewConversation) -> Conversation:
    """Open a conversation as a visitor; it waits for staff.

    Raises:
        ConversationOpen: the visitor has one that has not ended.
    """
    visitor_id = context.account_id
    context.require("chat.conversation.open")
    case = Case(
        id=new_id(),
        state="waiting",
        subject=None if new.subject is UNSET else new.subject,
        visitor_id=visitor_id,
        staff_ids=[],
        message_count=int(new.message is not UNSET),
        conversation_version=1,
        created_at=context.now,
        claimed_at=None,
        closed_at=None,
        active_at=context.now,
        waiting_since=context.now,
        tags=[],
        flag_severity=None,
        flag_reason=None,
        flagged_by=None,
        flagged_at=None,
    )
    try:
        values = msgspec.structs.asdict(case)
        await context.db.insert(ConversationRow, staff_count=0, version=values.pop("conversation_version"), **values)
    except UniqueViolation:
        raise await _has_another(context, visitor_id) from None
    context.record(case.topic, ConversationOpened(case.conversation))
    context.record(QUEUE_TOPIC, CaseChanged(case))
    if new.message is not UNSET:
        message = _draft(context, case.id, new.message, number=1)
        await context.db.insert(MessageRow, **msgspec.structs.asdict(message))
        context.record(case.topic, MessageSent(message))
    return case.conversation


async def close_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """End a conversation; closing it again changes nothing.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
    """
    case = await queries.lock_conversation(context, conversation_id)
    context.require("chat.conversation.close", case)
    if case.state != "closed":
        case = await keep(context, rules.closed(case, context.now), ConversationEnded)
    return case.conversation


async def reopen_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """Go on with a conversation that has ended, with those of its staff who still answer visitors.

    Opening one again that lasts changes nothing.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationOpen: the visitor has another one that has not ended.
    """
    case = await queries.lock_conversation(context, conversation_id)
    context.require("chat.conversation.close", case)
    if case.state != "closed":
        return case.conversation
    ranks = await queries.load_ranks(context, case.staff_ids)
    staying = [account_id for account_id in case.staff_ids if ranks[account_id]]
    lasting = msgspec.structs.replace(case, closed_at=None)
    try:
        return (await restaff(context, lasting, staying, ConversationReopened, ())).conversation
    except UniqueViolation:
        raise await _has_another(context, case.visitor_id) from None


async def send_message(context: Context, conversation_id: UUID, new: NewMessage) -> Message:
    """Append a message to a conversation and tell everyone in it.

    Sending again under the same `client_message_id` returns the message that is there.

    Raises:
        NotFound: the conversation does not exist, or the sender may not know of it.
        ConversationClosed: it has ended.
        ConversationNotClaimed: nobody of the staff has claimed it, and the sender is of the staff.
        NotInConversation: others of the staff are in it, and the sender is not.
    """
    outside = context.outside()
    conversation = await queries.get_conversation(outside, conversation_id)
    context.require("chat.message.send", conversation)
    draft = _draft(context, conversation_id, new, number=store.UNNUMBERED)
    try:
        message = await store.send(context, draft)
    except UniqueViolation:
        message = None
    if message is None and draft.client_message_id is not None:
        # The first answer was lost, or is still under way.
        message = await queries.find_message(outside, conversation_id, draft.author_id, draft.client_message_id)
    if message is None:
        rules.ensure_may_write(await queries.get_conversation(outside, conversation_id), draft.author_id)
        raise Unavailable("The conversation has changed in this moment.")
    return message


async def _has_another(context: Context, visitor_id: UUID) -> ConversationOpen:
    other = await queries.find_open_conversation(context.outside(), visitor_id)
    # It may have ended meanwhile; trying again helps then.
    return ConversationOpen() if other is None else ConversationOpen(conversation_id=other)


def _draft(context: Context, conversation_id: UUID, new: NewMessage, *, number: int) -> Message:
    return Message(
        id=new_id(),
        conversation_id=conversation_id,
        number=number,
        author_id=context.account_id,
        text=new.text,
        action=None,
        about_id=None,
        client_message_id=None if new.client_message_id is UNSET else new.client_message_id,
        created_at=context.now,
    )
