"""Single conversations and what is in them. The tenant is part of each statement, and so is whose they are."""

from collections.abc import Collection
from datetime import datetime
from typing import Annotated, TypeVar
from uuid import UUID

from msgspec import Meta
from sqlalchemy import BigInteger, Boolean, ColumnElement, String, Uuid, and_, bindparam, or_, select

from courtyard.applications.chat.models import ConversationRow, MessageRow, NoteRow, SeenRow
from courtyard.applications.chat.permissions import CONVERSATION
from courtyard.applications.chat.rules import opening_hours, rank
from courtyard.applications.chat.schemas import (
    Case,
    ChatSettings,
    Conversation,
    ConversationState,
    Message,
    Note,
    OpeningHours,
    Seen,
    Talk,
)
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import WORKSPACE, AnyOf, Number, Page, Prepared, UtcDateTime, page, sort_key
from courtyard.kernel.errors import NotFound
from courtyard.kernel.workspaces import can_act, load_standings, read_settings

_ID = bindparam("id", type_=Uuid(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)
_BEFORE = bindparam("before", type_=BigInteger(), required=True)
_VISITOR_ID = bindparam("visitor_id", type_=Uuid(), required=True)
_STATE = bindparam("state", type_=String(), required=True)
_AFTER_TIME = bindparam("after_time", type_=UtcDateTime(), required=True)
_AFTER_ID = bindparam("after_id", type_=Uuid(), required=True)
_SEES_IT = bindparam("sees_it", type_=Boolean(), required=True)

NEWEST = 2**63 - 1
_BEGINNING = (datetime.fromisoformat("0001-01-02T00:00:00+00:00"), UUID(int=0))
T = TypeVar("T", bound=Talk)

_TALK = (
    ConversationRow.id,
    ConversationRow.state,
    ConversationRow.subject,
    ConversationRow.visitor_id,
    ConversationRow.staff_ids,
    ConversationRow.message_count,
    ConversationRow.created_at,
    ConversationRow.claimed_at,
    ConversationRow.closed_at,
)
_CONVERSATION = (*_TALK, ConversationRow.version)
CASE = (
    *_TALK,
    ConversationRow.version.label("conversation_version"),
    ConversationRow.active_at,
    ConversationRow.waiting_since,
    ConversationRow.tags,
    ConversationRow.flag_severity,
    ConversationRow.flag_reason,
    ConversationRow.flagged_by,
    ConversationRow.flagged_at,
)
MESSAGE = (
    MessageRow.id,
    MessageRow.conversation_id,
    MessageRow.number,
    MessageRow.author_id,
    MessageRow.text,
    MessageRow.action,
    MessageRow.about_id,
    MessageRow.client_message_id,
    MessageRow.created_at,
)

_IS_THIS = (ConversationRow.workspace_id == WORKSPACE, ConversationRow.id == _ID)
_GET = Prepared(select(*_CONVERSATION).where(*_IS_THIS), Conversation)
_GET_CASE = Prepared(select(*CASE).where(*_IS_THIS), Case)
_LOCK = Prepared(select(*CASE).where(*_IS_THIS).with_for_update(), Case)
_OPEN_OF_VISITOR = Prepared(
    select(ConversationRow.id).where(
        ConversationRow.workspace_id == WORKSPACE,
        ConversationRow.visitor_id == _VISITOR_ID,
        ConversationRow.state != "closed",
    ),
    UUID,
)
_NOTES = Prepared(
    select(
        NoteRow.id,
        NoteRow.conversation_id,
        NoteRow.author_id,
        NoteRow.action,
        NoteRow.text,
        NoteRow.created_at,
    )
    .where(
        NoteRow.workspace_id == WORKSPACE,
        NoteRow.conversation_id == _ID,
        or_(
            NoteRow.created_at > _AFTER_TIME,
            and_(NoteRow.created_at == _AFTER_TIME, NoteRow.id > _AFTER_ID),
        ),
    )
    .order_by(NoteRow.created_at, NoteRow.id)
    .limit(_LIMIT),
    Note,
)
_SEEN_BY = Prepared(
    select(SeenRow.conversation_id, SeenRow.account_id, SeenRow.number).where(
        SeenRow.workspace_id == WORKSPACE,
        SeenRow.conversation_id == _ID,
        AnyOf(SeenRow.account_id.expression, "people"),
    ),
    Seen,
)

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


async def get_case(context: ReadContext, conversation_id: UUID) -> Case:
    """Return what staff see of a conversation.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
    """
    found = await context.db.first(_GET_CASE, id=conversation_id)
    case = _readable(context, found)
    context.require("chat.queue.read", case)
    return case


async def lock_conversation(context: ReadContext, conversation_id: UUID) -> Case:
    """Return a conversation that the caller may read, locked until the commit.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
    """
    case = await context.db.first(_LOCK, id=conversation_id)
    return _readable(context, case)


def _readable(context: ReadContext, conversation: T | None) -> T:
    context.account_id  # noqa: B018 - refuses who is not signed in before telling what exists
    if conversation is None:
        raise NotFound
    context.require(Talk.read_permission, conversation)
    return conversation


async def find_open_conversation(context: ReadContext, visitor_id: UUID) -> UUID | None:
    """Return the conversation of a visitor that has not ended."""
    return await context.db.first(_OPEN_OF_VISITOR, visitor_id=visitor_id)


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
        _BEGINNING if cursor is None else sort_key(cursor, tuple[Annotated[datetime, Meta(tz=True)], UUID])
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


async def list_notes(context: ReadContext, conversation_id: UUID, limit: int, cursor: str | None) -> Page[Note]:
    """Return what staff know of a conversation and the visitor does not, the oldest first.

    Raises:
        NotFound: the conversation does not exist, or the caller may not know of it.
    """
    context.require("chat.note.read", await get_conversation(context, conversation_id))
    after_time, after_id = (
        _BEGINNING if cursor is None else sort_key(cursor, tuple[Annotated[datetime, Meta(tz=True)], UUID])
    )
    rows = await context.db.all(_NOTES, id=conversation_id, after_time=after_time, after_id=after_id, limit=limit + 1)
    return page(rows, limit, lambda row: (row.created_at, row.id))


async def list_seen(context: ReadContext, conversation_id: UUID) -> list[Seen]:
    """Return how far the caller and those in the conversation have read; nothing of whoever looks on.

    Raises:
        NotFound: the conversation does not exist, or the caller may not know of it.
    """
    conversation = await get_conversation(context, conversation_id)
    people = {context.account_id, conversation.visitor_id, *conversation.staff_ids}
    return await context.db.all(_SEEN_BY, id=conversation_id, people=sorted(people))


async def load_ranks(context: ReadContext, account_ids: Collection[UUID]) -> dict[UUID, int]:
    """Return how high each of some accounts stands among the staff; 0 who cannot answer visitors now."""
    if not account_ids:
        return {}
    workspace_id = context.workspace.workspace_id
    standings = await load_standings(context, list(account_ids))
    ranks = {account_id: rank(standing.roles, standing.permissions) for account_id, standing in standings.items()}
    for account_id in account_ids:
        if ranks[account_id] and not await can_act(context, account_id, workspace_id):
            ranks[account_id] = 0
    return ranks


async def get_opening_hours(context: ReadContext) -> OpeningHours:
    """Return whether a visitor can count on somebody now."""
    context.require("chat.conversation.open")
    settings = await read_settings(context, ChatSettings)
    return opening_hours(settings.opening_hours, context.now)
