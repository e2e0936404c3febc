"""Every read of tasks for people."""

from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Uuid, bindparam, select

from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import (
    WORKSPACE,
    DatabaseUnavailable,
    Page,
    Placement,
    Prepared,
    ReadUnit,
    page,
    sort_key,
)
from courtyard.kernel.errors import NotFound
from courtyard.kernel.tasks.models import TaskRow
from courtyard.kernel.tasks.permissions import READ
from courtyard.kernel.tasks.schemas import Operation, TaskDetail, TaskSummary

_TABLE = TaskRow.__table__
_ID = bindparam("id", type_=Uuid(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)
_CONDITIONS: dict[str, Any] = {
    **{
        name: _TABLE.c[name] == bindparam(name, type_=_TABLE.c[name].type, required=True)
        for name in ("name", "queue", "state")
    },
    "before": _TABLE.c.id < bindparam("before", type_=Uuid(), required=True),
}
_ONE = Prepared(
    select(*(_TABLE.c[name] for name in TaskDetail.__struct_fields__)).where(
        _TABLE.c.workspace_id == WORKSPACE, _TABLE.c.id == _ID
    ),
    TaskDetail,
)
_OPERATION_COLUMNS = tuple(_TABLE.c[name] for name in Operation.__struct_fields__)
_OPERATION = Prepared(
    select(*_OPERATION_COLUMNS).where(_TABLE.c.workspace_id == WORKSPACE, _TABLE.c.id == _ID, _TABLE.c.is_operation),
    Operation,
)


_PLACE = Prepared(
    select(_TABLE.c.workspace_id).where(
        _TABLE.c.id == _ID,
        _TABLE.c.is_operation,
        _TABLE.c.account_id == bindparam("account_id", type_=Uuid(), required=True),
    ),
    UUID,
    across_workspaces=True,
)


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks are wanted; None is any."""

    state: str | None = None
    queue: str | None = None
    name: str | None = None

    def given(self) -> dict[str, Any]:
        """Return those that are not any."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


# Each set of filters has a statement of its own, so that each has a plan of its own.
@lru_cache(maxsize=64)
def _newest(conditions: frozenset[str]) -> Prepared[TaskSummary]:
    return Prepared(
        select(*(_TABLE.c[name] for name in TaskSummary.__struct_fields__))
        .where(_TABLE.c.workspace_id == WORKSPACE, *(_CONDITIONS[name] for name in sorted(conditions)))
        .order_by(_TABLE.c.id.desc())
        .limit(_LIMIT),
        TaskSummary,
    )


async def newest(unit: ReadUnit, filters: Filters, limit: int, before: UUID | None = None) -> list[TaskSummary]:
    """Return tasks of a workspace, or of the installation, newest first."""
    values = filters.given() | ({} if before is None else {"before": before})
    return await unit.all(_newest(frozenset(values)), **values, limit=limit)


async def list_tasks(context: ReadContext, filters: Filters, limit: int, cursor: str | None) -> Page[TaskSummary]:
    """Return a page of the tasks of the workspace, newest first.

    Raises:
        Forbidden: the caller may not see them.
    """
    context.require(READ)
    before = None if cursor is None else sort_key(cursor, tuple[UUID])[0]
    return page(await newest(context.db, filters, limit + 1, before), limit, lambda task: (task.id,))


async def get_task(context: ReadContext, task_id: UUID) -> TaskDetail:
    """Return a task of the workspace.

    Raises:
        Forbidden: the caller may not see it.
        NotFound: there is none.
    """
    context.require(READ)
    return await detail(context.db, task_id)


async def detail(unit: ReadUnit, task_id: UUID) -> TaskDetail:
    """Return a task.

    Raises:
        NotFound: there is none.
    """
    found = await unit.first(_ONE, id=task_id)
    if found is None:
        raise NotFound
    return found


async def place_of(placement: Placement, operation_id: UUID, account_id: UUID) -> UUID:
    """Return the workspace in which an account has asked for an operation.

    Raises:
        NotFound: it has not, or that is too long ago.
        DatabaseUnavailable: it has not in any database that answers.
    """
    away: DatabaseUnavailable | None = None
    for database in placement.databases():
        try:
            if found := await database.fetch(_PLACE, {"id": operation_id, "account_id": account_id}):
                return found[0]
        except DatabaseUnavailable as error:
            # It may be in another one.
            away = error
    raise away or NotFound


async def operation(unit: ReadUnit, operation_id: UUID) -> Operation:
    """Return how an operation stands.

    Raises:
        NotFound: it is not there any more.
    """
    found = await unit.first(_OPERATION, id=operation_id)
    if found is None:
        raise NotFound
    return presentable(found)


def presentable(found: Operation) -> Operation:
    """Return it without what is for administrators alone: in which words a fault of the program was told."""
    if found.problem is None:
        return found
    document = msgspec.json.decode(found.problem)
    if document.get("code") == "task_fault":
        document.pop("detail", None)
    return msgspec.structs.replace(found, problem=msgspec.Raw(msgspec.json.encode(document)))


async def get_operation(context: ReadContext, operation_id: UUID) -> Operation:
    """Return an operation that the caller has asked for.

    Raises:
        NotFound: they have not.
    """
    placement = context.runtime.placement
    workspace_id = await place_of(placement, operation_id, context.account_id)
    return await operation(ReadUnit(placement, workspace_id), operation_id)


async def may_hear_operation(context: ReadContext, operation_id: UUID | None) -> None:
    """Let whoever has asked for an operation in this workspace listen to it.

    Raises:
        NotFound: it is not theirs.
    """
    if operation_id is None:
        raise NotFound
    if await place_of(context.runtime.placement, operation_id, context.account_id) != context.db.workspace_id:
        raise NotFound
