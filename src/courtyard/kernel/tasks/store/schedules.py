"""When schedules are due: whoever moves one on asks for its task in the same transaction."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import String, Uuid, and_, bindparam, select, update
from sqlalchemy.dialects.postgresql import insert

from courtyard.kernel.database import WORKSPACE, Prepared, ReadUnit, UnitOfWork, UtcDateTime
from courtyard.kernel.tasks.models import ScheduleRow


class Planned(msgspec.Struct, frozen=True):
    """A schedule as the database knows it.

    Attributes:
        plan: what the time was reckoned from.
        next_at: when it is due.
        last_at: when it was due the last time that somebody asked for its task.
        last_task_id: the task.
    """

    name: str
    plan: str
    next_at: datetime
    last_at: datetime | None
    last_task_id: UUID | None


_THIS = and_(
    ScheduleRow.workspace_id == WORKSPACE,
    ScheduleRow.name == bindparam("name", type_=String(), required=True),
)
# As it was seen: whoever comes second changes nothing.
_AS_SEEN = and_(_THIS, ScheduleRow.next_at == bindparam("seen_at", type_=UtcDateTime(), required=True))
_NEXT_AT = bindparam("new_next_at", type_=UtcDateTime(), required=True)
_PLAN = bindparam("new_plan", type_=String(), required=True)
_PLANNED = Prepared(
    select(*(getattr(ScheduleRow, name) for name in Planned.__struct_fields__))
    .where(ScheduleRow.workspace_id == WORKSPACE)
    .order_by(ScheduleRow.name),
    Planned,
)
_FIRST_PLAN = Prepared(
    insert(ScheduleRow)
    .values(
        workspace_id=WORKSPACE,
        name=bindparam("name", type_=String(), required=True),
        plan=_PLAN,
        next_at=_NEXT_AT,
    )
    .on_conflict_do_nothing()
)
_NEW_PLAN = Prepared(update(ScheduleRow).where(_AS_SEEN).values(plan=_PLAN, next_at=_NEXT_AT))
_MOVE_ON = Prepared(
    update(ScheduleRow)
    .where(_AS_SEEN)
    .values(next_at=_NEXT_AT, last_at=bindparam("new_last_at", type_=UtcDateTime(), required=True))
)
_NOTE_TASK = Prepared(
    update(ScheduleRow).where(_THIS).values(last_task_id=bindparam("task_id", type_=Uuid(), required=True))
)


async def planned(unit: ReadUnit) -> list[Planned]:
    """Return every schedule that there has been."""
    return await unit.all(_PLANNED)


async def plan(unit: UnitOfWork, name: str, plan: str, next_at: datetime) -> None:
    """Note when a new schedule is due, unless somebody has just done so."""
    await unit.execute(_FIRST_PLAN, name=name, new_plan=plan, new_next_at=next_at)


async def plan_anew(unit: UnitOfWork, seen: Planned, plan: str, next_at: datetime) -> None:
    """Note when a schedule is due that is declared in another way now."""
    await unit.execute(_NEW_PLAN, name=seen.name, seen_at=seen.next_at, new_plan=plan, new_next_at=next_at)


async def move_on(unit: UnitOfWork, seen: Planned, next_at: datetime, last_at: datetime) -> bool:
    """Move a schedule on; return whether it was as seen, so that its task is to be asked for here."""
    values = {"name": seen.name, "seen_at": seen.next_at, "new_next_at": next_at, "new_last_at": last_at}
    return bool(await unit.execute(_MOVE_ON, **values))


async def note_task(unit: UnitOfWork, name: str, task_id: UUID) -> None:
    """Note which task a schedule has asked for."""
    await unit.execute(_NOTE_TASK, name=name, task_id=task_id)
