"""What a broker is to be told of, and when again."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import Integer, and_, bindparam, case, select, update

from courtyard.kernel.database import AnyOf, Database, Prepared, UtcDateTime
from courtyard.kernel.tasks.models import TaskRow

# The pauses before a message is sent again, in the unit of the settings: they grow, so that a long queue does not grow
# by its own messages.
RESEND_FACTORS = (1, 2, 4, 8, 16, 32, 60)


class Unsent(msgspec.Struct, frozen=True):
    """A task that a broker is to be told of."""

    workspace_id: UUID
    id: UUID
    name: str
    queue: str
    priority: int


_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_TO_SEND = and_(TaskRow.send_at.is_not(None), TaskRow.send_at <= _NOW, TaskRow.due_at <= _NOW)
_IS_ANY_TO_SEND = Prepared(select(TaskRow.id).where(_TO_SEND).limit(1), UUID, across_workspaces=True)
_unsent = (
    select(TaskRow.workspace_id, TaskRow.id)
    .where(_TO_SEND)
    .order_by(TaskRow.send_at)
    .limit(bindparam("limit", type_=Integer(), required=True))
    .with_for_update(skip_locked=True)
    .cte("unsent")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_AGAIN = tuple(
    bindparam(f"again_{number}_at", type_=UtcDateTime(), required=True) for number in range(len(RESEND_FACTORS))
)
_SEND = Prepared(
    update(TaskRow)
    .where(TaskRow.workspace_id == _unsent.c.workspace_id, TaskRow.id == _unsent.c.id)
    .values(
        sends=TaskRow.sends + 1,
        send_at=case(
            *((TaskRow.sends == number, moment) for number, moment in enumerate(_AGAIN[:-1])), else_=_AGAIN[-1]
        ),
    )
    .returning(*(getattr(TaskRow, name) for name in Unsent.__struct_fields__)),
    Unsent,
    across_workspaces=True,
)
_NOT_SENT = Prepared(
    update(TaskRow)
    .where(
        AnyOf(TaskRow.workspace_id.expression, "workspaces"),
        AnyOf(TaskRow.id.expression, "ids"),
        TaskRow.state == "waiting",
        TaskRow.send_at.is_not(None),
    )
    .values(send_at=_NOW, sends=0)
    .returning(TaskRow.id),
    UUID,
    across_workspaces=True,
)
_HAND_TO_BROKER = Prepared(
    update(TaskRow)
    .where(TaskRow.due_at.is_not(None), TaskRow.send_at.is_(None))
    .values(send_at=TaskRow.due_at)
    .returning(TaskRow.id),
    UUID,
    across_workspaces=True,
)


async def to_send(database: Database, now: datetime, resend: timedelta, limit: int) -> list[Unsent]:
    """Note that tasks are sent now, at most `limit`, and return them, none that another process has.

    Args:
        database: where.
        now: the time.
        resend: after which what has not begun is sent again, at first.
        limit: how many.
    """
    if not await database.fetch(_IS_ANY_TO_SEND, {"now": now}):
        return []
    again = {f"again_{number}_at": now + resend * factor for number, factor in enumerate(RESEND_FACTORS)}
    return await database.fetch(_SEND, {"now": now, "limit": limit, **again}, writers=True)


async def not_sent(database: Database, unsent: Sequence[Unsent], now: datetime) -> None:
    """Note that the broker was not there for these: they are sent at the next opportunity."""
    workspaces = list({one.workspace_id for one in unsent})
    values = {"workspaces": workspaces, "ids": [one.id for one in unsent], "now": now}
    await database.fetch(_NOT_SENT, values, writers=True)


async def hand_to_broker(database: Database) -> int:
    """Have what was asked for before there was a broker sent too; return how many tasks."""
    return len(await database.fetch(_HAND_TO_BROKER, {}, writers=True))
