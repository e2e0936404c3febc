"""The lists of the staff: which conversations there are, what was said last, and how much of it is new to the caller.

Each is one query: by an index that begins with the workspace, from a cursor on, at most a page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
)

from courtyard.applications.chat.models import (
    BookmarkRow,
    ConversationRow,
    MessageRow,
    ParticipantRow,
    SeenRow,
)
from courtyard.applications.chat.queries.conversations import CASE
from courtyard.applications.chat.schemas import (
    Action,
    Case,
    CaseList,
    CaseListName,
    LastMessage,
    ListedCase,
)
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import WORKSPACE, Prepared, UtcDateTime, page, sort_key

# Of what was said last, so much is shown in a list.
PREVIEW_CHARACTERS = 200

_ME = bindparam("account_id", type_=Uuid(), required=True)
_VISITOR = bindparam("visitor_id", type_=Uuid(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)
_FROM_TIME = bindparam("from_time", type_=UtcDateTime(), required=True)
_FROM_ID = bindparam("from_id", type_=Uuid(), required=True)
_EARLIEST = datetime.fromisoformat("0001-01-02T00:00:00+00:00")
_LATEST = datetime.fromisoformat("9999-12-30T00:00:00+00:00")
_LAST_ID = UUID(int=2**128 - 1)


class _Row(Case, frozen=True):
    """One line of a list as the database returns it."""

    last_author_id: UUID | None
    last_text: str | None
    last_action: Action | None
    last_created_at: datetime | None
    unread_count: int
    is_bookmarked: bool
    sorted_by: datetime


@dataclass(frozen=True)
class _List:
    """One list.

    Attributes:
        key: the moment by which it is sorted.
        where: which conversations belong to it.
        descending: whether the newest comes first.
    """

    key: ColumnElement[Any]
    where: tuple[ColumnElement[bool], ...] = ()
    descending: bool = True


_NOT_CLOSED = ConversationRow.state != "closed"
_WAITS = ConversationRow.waiting_since.is_not(None)
_STAYS = ParticipantRow.left_at.is_(None)
_IS_IN_IT = ParticipantRow.account_id.is_not(None)
_UNREAD = case(
    # Whoever spoke last has read what was there.
    (MessageRow.author_id == _ME, 0),
    else_=ConversationRow.message_count - func.coalesce(SeenRow.number, 0),
)

LISTS: dict[CaseListName, _List] = {
    "mine": _List(ConversationRow.active_at.expression, (_NOT_CLOSED, _IS_IN_IT)),
    "waiting": _List(ConversationRow.waiting_since.expression, (ConversationRow.state == "waiting",), descending=False),
    "unhandled": _List(ConversationRow.waiting_since.expression, (_WAITS,), descending=False),
    "flagged": _List(
        ConversationRow.flagged_at.expression, (ConversationRow.flagged_at.is_not(None),), descending=False
    ),
    "handled": _List(ConversationRow.active_at.expression, (ConversationRow.waiting_since.is_(None),)),
    "unread": _List(ConversationRow.active_at.expression, (_NOT_CLOSED, _IS_IN_IT, _UNREAD > 0)),
    "bookmarked": _List(BookmarkRow.created_at.expression, (BookmarkRow.account_id.is_not(None),)),
    "recent": _List(ConversationRow.active_at.expression),
}


def _joined(columns: Sequence[Any], one: _List, *conditions: ColumnElement[bool]) -> Select[Any]:
    """Every table that a line is made of. What no list asks for is left out by the planner of the database."""
    same = ConversationRow.workspace_id == WORKSPACE

    def of_conversation(model: Any, *more: ColumnElement[bool]) -> ColumnElement[bool]:  # noqa: ANN401 - a model
        return and_(model.workspace_id == WORKSPACE, model.conversation_id == ConversationRow.id, *more)

    return (
        select(*columns)
        .select_from(ConversationRow)
        .outerjoin(MessageRow, of_conversation(MessageRow, MessageRow.number == ConversationRow.message_count))
        .outerjoin(SeenRow, of_conversation(SeenRow, SeenRow.account_id == _ME))
        .outerjoin(BookmarkRow, of_conversation(BookmarkRow, BookmarkRow.account_id == _ME))
        .outerjoin(ParticipantRow, of_conversation(ParticipantRow, ParticipantRow.account_id == _ME, _STAYS))
        .where(same, *one.where, *conditions)
    )


def _listing(one: _List, *conditions: ColumnElement[bool]) -> Prepared[_Row]:
    columns = (
        *CASE,
        MessageRow.author_id.label("last_author_id"),
        func.substr(MessageRow.text, 1, PREVIEW_CHARACTERS).label("last_text"),
        MessageRow.action.label("last_action"),
        MessageRow.created_at.label("last_created_at"),
        _UNREAD.label("unread_count"),
        BookmarkRow.account_id.is_not(None).label("is_bookmarked"),
        one.key.label("sorted_by"),
    )
    key, id_ = one.key, ConversationRow.id
    if one.descending:
        after = or_(key < _FROM_TIME, and_(key == _FROM_TIME, id_ < _FROM_ID))
        lines = _joined(columns, one, *conditions, after).order_by(key.desc(), id_.desc())
    else:
        after = or_(key > _FROM_TIME, and_(key == _FROM_TIME, id_ > _FROM_ID))
        lines = _joined(columns, one, *conditions, after).order_by(key, id_)
    return Prepared(lines.limit(_LIMIT), _Row)


def _counting(one: _List, *conditions: ColumnElement[bool]) -> Prepared[int]:
    return Prepared(_joined([func.count()], one, *conditions), int)


_BY_VISITOR = (ConversationRow.visitor_id == _VISITOR,)
# By (list, whether of one visitor).
_LISTINGS = {
    (name, of_one): _listing(one, *(_BY_VISITOR if of_one else ()))
    for name, one in LISTS.items()
    for of_one in (False, True)
}
_COUNTS = {
    (name, of_one): _counting(one, *(_BY_VISITOR if of_one else ()))
    for name, one in LISTS.items()
    for of_one in (False, True)
}


async def list_cases(
    context: ReadContext,
    name: CaseListName,
    visitor_id: UUID | None,
    limit: int,
    cursor: str | None,
    *,
    count: bool,
) -> CaseList:
    """Return a page of one of the lists.

    Args:
        context: of somebody of the staff.
        name: which list.
        visitor_id: only conversations of this visitor; None for all.
        limit: the size of the page.
        cursor: behind which place; None for the beginning.
        count: whether to say how many there are in all.
    """
    context.require("chat.queue.read")
    which = (name, visitor_id is not None)
    values = {"account_id": context.account_id, **({} if visitor_id is None else {"visitor_id": visitor_id})}
    if cursor is not None:
        from_time, from_id = sort_key(cursor, tuple[Annotated[datetime, Meta(tz=True)], UUID])
    elif LISTS[name].descending:
        from_time, from_id = _LATEST, _LAST_ID
    else:
        from_time, from_id = _EARLIEST, UUID(int=0)
    rows = await context.db.all(_LISTINGS[which], **values, from_time=from_time, from_id=from_id, limit=limit + 1)
    found = page(rows, limit, lambda row: (row.sorted_by, row.id))
    items = [_line(row) for row in found.items]
    if not count:
        return CaseList(items, found.next, None)
    total = await context.db.one(_COUNTS[which], **values)
    return CaseList(items, found.next, total)


def _line(row: _Row) -> ListedCase:
    shared = {name: getattr(row, name) for name in Case.__struct_fields__}
    last = None
    if row.last_author_id is not None and row.last_created_at is not None:
        last = LastMessage(
            number=row.message_count,
            author_id=row.last_author_id,
            text=row.last_text or "",
            action=row.last_action,
            created_at=row.last_created_at,
        )
    return ListedCase(Case(**shared), last, row.unread_count, bool(row.is_bookmarked))
