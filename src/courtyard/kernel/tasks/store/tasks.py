"""The rows of one database: which tasks wait, who has taken them, and what became of them."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    Boolean,
    Integer,
    String,
    Uuid,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    tuple_,
    update,
)

from courtyard.kernel.database import (
    WORKSPACE,
    AnyOf,
    Database,
    Json,
    Prepared,
    UniqueViolation,
    UnitOfWork,
    UtcDateTime,
)
from courtyard.kernel.tasks.models import TaskRow


class Claimed(msgspec.Struct, frozen=True):
    """A task that this process has taken.

    Attributes:
        attempt: the fence: what was taken again since has a greater one.
        tries: how many of the attempts count, this one included.
        ready_at: from when on it could have been taken.
    """

    workspace_id: UUID
    id: UUID
    name: str
    queue: str
    priority: int
    payload: msgspec.Raw
    attempt: int
    tries: int
    concurrency_key: str
    account_id: UUID | None
    request_id: str
    traceparent: str | None
    is_operation: bool
    ready_at: datetime


class Beat(msgspec.Struct, frozen=True):
    """The answer to a heartbeat: a task that is still held, and whether somebody wants it to end."""

    id: UUID
    cancel_requested: bool


class _Startable(msgspec.Struct, frozen=True):
    workspace_id: UUID
    id: UUID
    name: str
    concurrency_key: str
    slot: int | None


# What finds no free slot is sent again after this.
FULL_PAUSE = timedelta(seconds=1)

_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_LOST_AT = bindparam("lost_at", type_=UtcDateTime(), required=True)
_LIMIT = bindparam("limit", type_=Integer(), required=True)
_ATTEMPT = bindparam("held_attempt", type_=Integer(), required=True)
_ID = bindparam("id", type_=Uuid(), required=True)
_SLOT = bindparam("free_slot", type_=Integer(), required=True)
_NAME = bindparam("name", type_=String(), required=True)
_KEY = bindparam("key", type_=String(), required=True)
_SLOTS = bindparam("slots", type_=Integer(), required=True)


def _if_sent(moment: Any) -> Any:  # noqa: ANN401 - expressions of SQL
    """Return a time for what a broker is told of, and nothing for the others."""
    return case((TaskRow.send_at.is_not(None), moment), else_=None)


_CLAIMED = tuple(getattr(TaskRow, name) for name in Claimed.__struct_fields__)
_DUE = and_(TaskRow.due_at.is_not(None), TaskRow.due_at <= _NOW)
_NAMED = AnyOf(TaskRow.name.expression, "names")
_ORDER = (TaskRow.priority, TaskRow.due_at)
_TAKEN: dict[str, Any] = {
    "state": "running",
    "attempt": TaskRow.attempt + 1,
    "tries": TaskRow.tries + 1,
    "due_at": _LOST_AT,
    "started_at": _NOW,
    # What is lost is sent again.
    "send_at": _if_sent(_LOST_AT),
    "phase": None,
    "percent": None,
    "message": None,
}

_IS_ANY_DUE = Prepared(select(TaskRow.id).where(_DUE, _NAMED).limit(1), UUID, across_workspaces=True)
# Read once, whatever the planner does, so that no more rows are locked than are taken.
_due = (
    select(TaskRow.workspace_id, TaskRow.id)
    .where(_DUE, _NAMED)
    .order_by(*_ORDER)
    .limit(_LIMIT)
    .with_for_update(skip_locked=True)
    .cte("due")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_TAKE = Prepared(
    update(TaskRow)
    .where(TaskRow.workspace_id == _due.c.workspace_id, TaskRow.id == _due.c.id)
    .values(**_TAKEN)
    .returning(*_CLAIMED),
    Claimed,
    across_workspaces=True,
)

# Those of a name with a limit: what was lost has a slot already, what waits needs a free one.
_others = TaskRow.__table__.alias("others")
_in_use = (
    select(func.count())
    .select_from(_others)
    .where(
        _others.c.workspace_id == TaskRow.workspace_id,
        _others.c.name == TaskRow.name,
        _others.c.concurrency_key == TaskRow.concurrency_key,
        _others.c.slot.is_not(None),
    )
    .scalar_subquery()
)
_STARTABLE = Prepared(
    select(TaskRow.workspace_id, TaskRow.id, TaskRow.name, TaskRow.concurrency_key, TaskRow.slot)
    .where(_DUE, TaskRow.name == _NAME, or_(TaskRow.slot.is_not(None), _in_use < _SLOTS))
    .order_by(*_ORDER)
    .limit(_LIMIT),
    _Startable,
    across_workspaces=True,
)
_USED_SLOTS = Prepared(
    select(TaskRow.slot).where(
        TaskRow.workspace_id == WORKSPACE,
        TaskRow.name == _NAME,
        TaskRow.concurrency_key == _KEY,
        TaskRow.slot.is_not(None),
    ),
    int,
)
_TAKE_SLOT = Prepared(
    update(TaskRow)
    .where(TaskRow.workspace_id == WORKSPACE, TaskRow.id == _ID, _DUE)
    .values(**_TAKEN, slot=_SLOT)
    .returning(*_CLAIMED),
    Claimed,
)

_ONE_STARTABLE = Prepared(
    select(TaskRow.workspace_id, TaskRow.id, TaskRow.name, TaskRow.concurrency_key, TaskRow.slot).where(
        TaskRow.workspace_id == WORKSPACE, TaskRow.id == _ID, _DUE
    ),
    _Startable,
)
_SEND_LATER = Prepared(
    update(TaskRow)
    .where(TaskRow.workspace_id == WORKSPACE, TaskRow.id == _ID, _DUE, TaskRow.send_at.is_not(None))
    .values(send_at=bindparam("new_send_at", type_=UtcDateTime(), required=True))
    .returning(TaskRow.id),
    UUID,
)
_HELD = and_(TaskRow.state == "running", TaskRow.attempt == _ATTEMPT)
_OVER: dict[str, Any] = {"due_at": None, "send_at": None, "slot": None, "ended_at": _NOW}
_PROBLEM = bindparam("new_problem", type_=Json(), required=True)
_SETTLE = Prepared(
    update(TaskRow)
    .where(TaskRow.workspace_id == WORKSPACE, TaskRow.id == _ID, _HELD)
    .values(
        **_OVER,
        state=bindparam("new_state", type_=String(), required=True),
        result=bindparam("new_result", type_=Json(), required=True),
        problem=_PROBLEM,
    )
    .returning(TaskRow.id),
    UUID,
)
_MINE = and_(AnyOf(TaskRow.workspace_id.expression, "workspaces"), AnyOf(TaskRow.id.expression, "ids"))
_SETTLE_MANY = Prepared(
    update(TaskRow).where(_MINE, _HELD).values(**_OVER, state="done", problem=None, result=None).returning(TaskRow.id),
    UUID,
    across_workspaces=True,
)
_POSTPONE = Prepared(
    update(TaskRow)
    .where(TaskRow.workspace_id == WORKSPACE, TaskRow.id == _ID, _HELD)
    .values(
        # Who is asked to end does not try again.
        state=case((TaskRow.cancel_requested, "cancelled"), else_="waiting"),
        due_at=case((TaskRow.cancel_requested, None), else_=bindparam("next_at", type_=UtcDateTime(), required=True)),
        ended_at=case((TaskRow.cancel_requested, _NOW), else_=None),
        ready_at=bindparam("next_at", type_=UtcDateTime(), required=True),
        send_at=case(
            (TaskRow.cancel_requested, None),
            else_=_if_sent(bindparam("next_at", type_=UtcDateTime(), required=True)),
        ),
        sends=0,
        slot=None,
        tries=bindparam("new_tries", type_=Integer(), required=True),
        problem=_PROBLEM,
    )
    .returning(TaskRow.id),
    UUID,
)
_BEAT = Prepared(
    update(TaskRow)
    .where(_MINE, _HELD)
    .values(due_at=_LOST_AT, send_at=_if_sent(_LOST_AT))
    .returning(TaskRow.id, TaskRow.cancel_requested),
    Beat,
    across_workspaces=True,
)


async def take(database: Database, names: Sequence[str], now: datetime, lease: timedelta, limit: int) -> list[Claimed]:
    """Take tasks that are due, at most `limit`, and none that another process has; the most urgent first.

    Args:
        database: where.
        names: of the tasks that can be taken; none of them has a limit of its own.
        now: the time.
        lease: after which they are taken for lost, and due again.
        limit: how many.
    """
    # A look costs less than a write, for which SQLite has one place only.
    if not names or not await database.fetch(_IS_ANY_DUE, {"now": now, "names": names}):
        return []
    values = {"now": now, "lost_at": now + lease, "limit": limit, "names": names}
    taken = await database.fetch(_TAKE, values, writers=True)
    return sorted(taken, key=lambda one: (one.priority, one.ready_at, one.id))


async def take_limited(
    database: Database, name: str, slots: int, now: datetime, lease: timedelta, limit: int
) -> list[Claimed]:
    """Take tasks of a name, of which only so many of a workspace and key run at once.

    Each takes a slot, of which the database gives out each once, also where two processes look at the same moment.
    """
    found = await database.fetch(_STARTABLE, {"now": now, "name": name, "slots": slots, "limit": limit})
    taken: list[Claimed] = []
    full: set[tuple[UUID, str]] = set()
    for one in found:
        key = (one.workspace_id, one.concurrency_key)
        if one.slot is None and key in full:
            continue
        began = await _take_slot(database, one, slots, now, lease)
        if began is None:
            full.add(key)
        else:
            taken += began
    return taken


async def _take_slot(
    database: Database, one: _Startable, slots: int, now: datetime, lease: timedelta
) -> list[Claimed] | None:
    """Take a task with one of its slots; None where all of these are in use, nothing where somebody was quicker."""
    place = {"workspace_id": one.workspace_id, "name": one.name, "key": one.concurrency_key}
    used = set(await database.fetch(_USED_SLOTS, place, writers=True))
    free = one.slot or next((slot for slot in range(1, slots + 1) if slot not in used), None)
    if free is None:
        return None
    values = {"workspace_id": one.workspace_id, "id": one.id, "now": now, "lost_at": now + lease}
    try:
        return await database.fetch(_TAKE_SLOT, {**values, "free_slot": free}, writers=True)
    except UniqueViolation:
        # Somebody else was quicker.
        return []


async def take_one(
    database: Database, place: tuple[UUID, UUID], slots: int | None, now: datetime, lease: timedelta
) -> Claimed | None:
    """Take the task of a message, where it is due and nobody has it.

    Args:
        database: where.
        place: workspace and id.
        slots: how many of its key run at once; None for any number.
        now: the time.
        lease: after which it is taken for lost.
    """
    workspace_id, task_id = place
    values = {"workspace_id": workspace_id, "id": task_id, "now": now}
    taken: list[Claimed] | None
    if slots is None:
        taken = await database.fetch(_TAKE_SLOT, {**values, "lost_at": now + lease, "free_slot": None}, writers=True)
        return taken[0] if taken else None
    found = await database.fetch(_ONE_STARTABLE, values, writers=True)
    if not found:
        return None
    taken = await _take_slot(database, found[0], slots, now, lease)
    if not taken:
        # Asked for again in a moment.
        await database.fetch(_SEND_LATER, {**values, "new_send_at": now + FULL_PAUSE}, writers=True)
    return taken[0] if taken else None


def settling(claimed: Claimed, state: str, result: bytes | None, problem: bytes | None, now: datetime) -> Any:  # noqa: ANN401
    """Return the statement that notes the end of a task, with its values; it changes nothing where the task was lost.

    It goes into the transaction of what the task has changed.
    """
    return _SETTLE, {
        "workspace_id": claimed.workspace_id,
        "id": claimed.id,
        "held_attempt": claimed.attempt,
        "new_state": state,
        "new_result": result,
        "new_problem": problem,
        "now": now,
    }


def postponing(
    claimed: Claimed, next_at: datetime, tries: int, problem: bytes | None, now: datetime
) -> tuple[Prepared[UUID], dict[str, Any]]:
    """Return the statement that lets a task wait for another attempt, with its values."""
    return _POSTPONE, {
        "workspace_id": claimed.workspace_id,
        "id": claimed.id,
        "held_attempt": claimed.attempt,
        "next_at": next_at,
        "new_tries": tries,
        "new_problem": problem,
        "now": now,
    }


async def settle_many(database: Database, claimed: Iterable[Claimed], now: datetime) -> set[UUID]:
    """Note that tasks which have changed nothing are done; return the ids of those that had not been lost."""
    settled: set[UUID] = set()
    for places in _places(claimed):
        settled.update(await database.fetch(_SETTLE_MANY, {**places, "now": now}, writers=True))
    return settled


async def beat(database: Database, claimed: Iterable[Claimed], lost_at: datetime) -> list[Beat]:
    """Hold tasks until a time; return those of them that had not been lost."""
    beats: list[Beat] = []
    for places in _places(claimed):
        beats += await database.fetch(_BEAT, {**places, "lost_at": lost_at}, writers=True)
    return beats


def _places(claimed: Iterable[Claimed]) -> Iterator[dict[str, Any]]:
    """Yield what tells rows and fence, for all that have the same fence."""
    in_order = sorted(claimed, key=attrgetter("attempt"))
    for attempt, group in groupby(in_order, key=attrgetter("attempt")):
        held = list(group)
        # Ids are unique everywhere, so it does not matter that each is looked for in each workspace.
        workspaces = list({one.workspace_id for one in held})
        yield {"workspaces": workspaces, "ids": [one.id for one in held], "held_attempt": attempt}


_OLD = and_(
    TaskRow.ended_at < bindparam("before", type_=UtcDateTime(), required=True),
    # What has failed is kept for longer.
    (TaskRow.state == "failed") == bindparam("is_failed", type_=Boolean(), required=True),
)
_some = select(TaskRow.workspace_id, TaskRow.id).where(_OLD).limit(_LIMIT)
_PRUNE = Prepared(
    delete(TaskRow).where(tuple_(TaskRow.workspace_id, TaskRow.id).in_(_some)).returning(TaskRow.id),
    UUID,
    across_workspaces=True,
)


async def prune(database: Database, before: datetime, *, is_failed: bool, limit: int) -> int:
    """Remove rows of tasks that ended before a time, at most `limit`; return how many."""
    values = {"before": before, "is_failed": is_failed, "limit": limit}
    return len(await database.fetch(_PRUNE, values, writers=True))


class Progress(msgspec.Struct, frozen=True):
    """How far a task is."""

    phase: str | None
    percent: int | None
    message: str | None


_NOTE_PROGRESS = Prepared(
    update(TaskRow)
    .where(TaskRow.workspace_id == WORKSPACE, TaskRow.id == _ID, _HELD)
    .values(
        phase=bindparam("new_phase", type_=String(), required=True),
        percent=bindparam("new_percent", type_=Integer(), required=True),
        message=bindparam("new_message", type_=String(), required=True),
    )
)
_IS_WAITING = TaskRow.state == "waiting"
_CANCEL = Prepared(
    update(TaskRow)
    .where(TaskRow.workspace_id == WORKSPACE, TaskRow.id == _ID, TaskRow.due_at.is_not(None))
    .values(
        cancel_requested=True,
        state=case((_IS_WAITING, "cancelled"), else_=TaskRow.state),
        due_at=case((_IS_WAITING, None), else_=TaskRow.due_at),
        ended_at=case((_IS_WAITING, _NOW), else_=TaskRow.ended_at),
        send_at=case((_IS_WAITING, None), else_=TaskRow.send_at),
    )
    .returning(TaskRow.is_operation),
    bool,
)
_REPLAY = Prepared(
    update(TaskRow)
    .where(TaskRow.workspace_id == WORKSPACE, TaskRow.id == _ID, TaskRow.due_at.is_(None), TaskRow.state != "done")
    .values(
        state="waiting",
        cancel_requested=False,
        tries=0,
        ready_at=_NOW,
        due_at=_NOW,
        send_at=bindparam("new_send_at", type_=UtcDateTime(), required=True),
        sends=0,
        started_at=None,
        ended_at=None,
        problem=None,
        phase=None,
        percent=None,
        message=None,
    )
    .returning(TaskRow.id),
    UUID,
)


async def note_progress(unit: UnitOfWork, claimed: Claimed, progress: Progress) -> bool:
    """Note how far a task is; return whether it has not been lost."""
    values = {"id": claimed.id, "held_attempt": claimed.attempt}
    new = {f"new_{name}": value for name, value in msgspec.structs.asdict(progress).items()}
    return bool(await unit.execute(_NOTE_PROGRESS, **values, **new))


async def cancel(unit: UnitOfWork, task_id: UUID, now: datetime) -> bool | None:
    """End what waits, and ask what runs to end; return whether it is an operation, None where it has ended."""
    return await unit.first(_CANCEL, id=task_id, now=now)


async def replay(unit: UnitOfWork, task_id: UUID, now: datetime, *, is_sent: bool) -> bool:
    """Let a task that has failed, or was cancelled, wait again; return whether it is one. The last of its unit.

    Raises:
        UniqueViolation: another one with its unique key waits or runs.
    """
    return bool(await unit.conclude(_REPLAY, id=task_id, now=now, new_send_at=now if is_sent else None))
