"""How many tasks there are, for whoever watches over the installation."""

from datetime import datetime

import msgspec
from sqlalchemy import and_, bindparam, func, select, text

from courtyard.kernel.database import Database, Prepared, UtcDateTime
from courtyard.kernel.tasks.models import TaskRow


class QueueCount(msgspec.Struct, frozen=True):
    """The tasks of one queue in one database.

    Attributes:
        waiting: those that could begin now.
        delayed: those whose time has not come, such as that of another try.
        running: those that somebody has taken.
        ready_at: since when the one that waits for longest could have begun; None where none waits.
    """

    queue: str
    waiting: int
    delayed: int
    running: int
    ready_at: datetime | None


class _Failed(msgspec.Struct, frozen=True):
    queue: str
    tasks: int


_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_COULD_BEGIN = and_(TaskRow.state == "waiting", TaskRow.due_at <= _NOW)
_LIVE = Prepared(
    select(
        TaskRow.queue,
        func.count().filter(_COULD_BEGIN).label("waiting"),
        func.count().filter(TaskRow.state == "waiting", TaskRow.due_at > _NOW).label("delayed"),
        func.count().filter(TaskRow.state == "running").label("running"),
        func.min(TaskRow.ready_at).filter(_COULD_BEGIN).label("ready_at"),
    )
    .where(TaskRow.due_at.is_not(None))
    .group_by(TaskRow.queue),
    QueueCount,
    across_workspaces=True,
)
# In the words of the index, by which both databases know that it helps.
_FAILED = Prepared(
    select(TaskRow.queue, func.count().label("tasks")).where(text("state = 'failed'")).group_by(TaskRow.queue),
    _Failed,
    across_workspaces=True,
)


async def count_live(database: Database, now: datetime) -> list[QueueCount]:
    """Return what waits and runs in a database, by queue; a queue without tasks is left out."""
    return await database.fetch(_LIVE, {"now": now})


async def count_failed(database: Database) -> dict[str, int]:
    """Return how many tasks of a database have failed for good and are kept, by queue."""
    return {found.queue: found.tasks for found in await database.fetch(_FAILED, {})}
