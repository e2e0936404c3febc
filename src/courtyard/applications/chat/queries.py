"""Every read of conversations and messages. The tenant is part of each statement, and so is whose they are."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta
from sqlalchemy import BigInteger, Boolean, ColumnElement, String, Uuid, and_, bindparam, or_, select

from courtyard.applications.chat.models import ConversationRow, MessageRow
from courtyard.applications.chat.permissions import CONVERSATION
from courtyard.applications.chat.rules import opening_hours
from courtyard.applications.chat.schemas import (
    ChatSettings,
    Conversation,
    ConversationState,
    Message,
    OpeningHours,
)
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import WORKSPACE, AnyOf, Number, Page, Prepared, UtcDateTime, page, sort_key
from courtyard.kernel.errors import NotFound
from courtyard.kernel.workspaces import read_settings

_ID = bindparam("id", type_=Uuid(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)
_BEFORE = bindparam("before", type_=BigInteger(), required=True)
_VISITOR_ID = bindparam("visitor_id", type_=Uuid(), required=True)
_STATE = bindparam("state", type_=String(), required=True)
_AFTER_TIME = bindparam("after_time", type_=UtcDateTime(), required=True)
_AFTER_ID = bindparam("after_id", type_=Uuid(), required=True)
_SEES_IT = bindparam("sees_it", type_=Boolean(), required=True)

NEWEST = 2**63 - 1

_CONVERSATION = (
    ConversationRow.id,
    ConversationRow.state,
    ConversationRow.subject,
    ConversationRow.visitor_id,
    ConversationRow.assignee_id,
    ConversationRow.message_count,
    ConversationRow.version,
    ConversationRow.created_at,
    ConversationRow.claimed_at,
    ConversationRow.closed_at,
)
MESSAGE = (
    MessageRow.id,
    MessageRow.conversation_id,
    MessageRow.number,
    MessageRow.author_id,
    MessageRow.text,
    MessageRow.client_message_id,
    MessageRow.created_at,
)

_ONE = select(*_CONVERSATION).where(ConversationRow.workspace_id == WORKSPACE, ConversationRow.id == _ID)
_GET = Prepared(_ONE, Conversation)
_LOCK = Prepared(_ONE.with_for_update(), Conversation)

# Visibility is in the statement: a stranger's page is empty, and only then is asked why.
_PAGE = Prepared(
    select(*MESSAGE)
    .join(
        ConversationRow,
        and_(ConversationRow.workspace_id == MessageRow.workspace_id, ConversationRow.id == MessageRow.conversation_id),
    )
    .where(
        MessageRow.workspace_id == WORKSPACE,
        MessageRow.conversation_id == _ID,
        MessageRow.number < _BEFORE,
        or_(_SEES_IT, ConversationRow.visitor_id == _VISITOR_ID),
    )
    .order_by(MessageRow.number.desc())
    .limit(_LIMIT),
    Message,
)
_BY_CLIENT_ID = Prepared(
    select(*MESSAGE).where(
        MessageRow.workspace_id == WORKSPACE,
        MessageRow.conversation_id == _ID,
        MessageRow.author_id == bindparam("author_id", type_=Uuid(), required=True),
        MessageRow.client_message_id == bindparam("client_message_id", type_=Uuid(), required=True),
    ),
    Message,
)


def _list(*conditions: ColumnElement[bool]) -> Prepared[Conversation]:
    """Conversations in the order in which they were opened."""
    later = or_(
        ConversationRow.created_at > _AFTER_TIME,
        and_(ConversationRow.created_at == _AFTER_TIME, ConversationRow.id > _AFTER_ID),
    )
    return Prepared(
        select(*_CONVERSATION)
        .where(ConversationRow.workspace_id == WORKSPACE, *conditions, later)
        .order_by(ConversationRow.created_at, ConversationRow.id)
        .limit(_LIMIT),
        Conversation,
    )


_IS_MINE = ConversationRow.visitor_id == _VISITOR_ID
_IS_GRANTED = AnyOf(ConversationRow.id.expression, "granted")
_IN_STATE = ConversationRow.state == _STATE
# By (whose they are, whether in one state).
_SEEN: dict[str, tuple[ColumnElement[bool], ...]] = {
    "all": (),
    "mine": (_IS_MINE,),
    "granted": (or_(_IS_MINE, _IS_GRANTED),),
}
_LISTS = {
    (whose, in_state): _list(*conditions, *((_IN_STATE,) if in_state else ()))
    for whose, conditions in _SEEN.items()
    for in_state in (False, True)
}


async def find_conversation(context: ReadContext, conversation_id: UUID) -> Conversation | None:
    """Return a conversation, whoever may read it."""
    return await context.db.first(_GET, id=conversation_id)


async def get_conversation(context: ReadContext, conversation_id: UUID) -> Conversation:
    """Return a conversation that the caller may read.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
    """
    return _readable(context, await find_conversation(context, conversation_id))


async def lock_conversation(context: ReadContext, conversation_id: UUID) -> Conversation:
    """Return a conversation that the caller may read, locked until the commit.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
    """
    conversation = await context.db.first(_LOCK, id=conversation_id)
    return _readable(context, conversation)


def _readable(context: ReadContext, conversation: Conversation | None) -> Conversation:
    context.account_id  # noqa: B018 - refuses who is not signed in before telling what exists
    if conversation is None:
        raise NotFound
    context.require(Conversation.read_permission, conversation)
    return conversation


async def list_conversations(
    context: ReadContext, state: ConversationState | None, limit: int, cursor: str | None
) -> Page[Conversation]:
    """Return conversations, longest waiting first: every visitor's for staff, their own for a visitor.

    Whoever has been given a role on a conversation sees it too.
    """
    account_id = context.account_id
    granted = context.granted(Conversation.read_permission, CONVERSATION)
    whose = "all" if context.may("chat.queue.read") else "granted" if granted else "mine"
    after_time, after_id = (
        (datetime.fromisoformat("0001-01-02T00:00:00+00:00"), UUID(int=0))
        if cursor is None
        else sort_key(cursor, tuple[Annotated[datetime, Meta(tz=True)], UUID])
    )
    rows = await context.db.all(
        _LISTS[whose, state is not None],
        visitor_id=account_id,
        granted=granted,
        state=state,
        after_time=after_time,
        after_id=after_id,
        limit=limit + 1,
    )
    return page(rows, limit, lambda row: (row.created_at, row.id))


async def list_messages(context: ReadContext, conversation_id: UUID, limit: int, cursor: str | None) -> Page[Message]:
    """Return the messages of a conversation, newest first.

    Raises:
        NotFound: the conversation does not exist, or the caller may not know of it.
    """
    (before,) = (NEWEST,) if cursor is None else sort_key(cursor, tuple[Number])
    rows = await context.db.all(
        _PAGE,
        id=conversation_id,
        before=before,
        sees_it=context.may(Conversation.read_permission)
        or conversation_id in context.granted(Conversation.read_permission, CONVERSATION),
        visitor_id=context.account_id,
        limit=limit + 1,
    )
    if not rows:
        await get_conversation(context, conversation_id)
    return page(rows, limit, lambda row: (row.number,))


async def find_message(
    context: ReadContext, conversation_id: UUID, author_id: UUID, client_message_id: UUID
) -> Message | None:
    """Return the message that its author calls so, if it was sent already."""
    return await context.db.first(
        _BY_CLIENT_ID, id=conversation_id, author_id=author_id, client_message_id=client_message_id
    )


async def get_opening_hours(context: ReadContext) -> OpeningHours:
    """Return whether a visitor can count on somebody now."""
    context.require("chat.conversation.open")
    settings = await read_settings(context, ChatSettings)
    return opening_hours(settings.opening_hours, context.now)
