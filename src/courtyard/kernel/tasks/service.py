"""Asking for a task: one row, in the transaction of the change that it belongs to."""

from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import String, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from courtyard.kernel.context import Context
from courtyard.kernel.database import WORKSPACE, Prepared
from courtyard.kernel.events import Signal
from courtyard.kernel.ids import new_id
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.tasks.context import TaskContext
from courtyard.kernel.tasks.declarations import FIRST, LAST, Task
from courtyard.kernel.tasks.models import TaskRow
from courtyard.kernel.telemetry import current_traceparent

P = TypeVar("P", bound=msgspec.Struct)

TASKS_CHANNEL = "tasks"
QUEUED = "queued"
CANCELLED = "cancelled"
MAX_PAYLOAD_BYTES = 65_536
MAX_KEY = 200
_TRIES = 5

_NAMES = (
    "id",
    "name",
    "queue",
    "priority",
    "state",
    "payload",
    "attempt",
    "tries",
    "ready_at",
    "due_at",
    "send_at",
    "sends",
    "unique_key",
    "concurrency_key",
    "account_id",
    "request_id",
    "traceparent",
    "is_operation",
    "cancel_requested",
    "created_at",
)
_INSERT = Prepared(
    insert(TaskRow)
    .values(
        workspace_id=WORKSPACE,
        **{name: bindparam(name, type_=TaskRow.__table__.c[name].type, required=True) for name in _NAMES},
    )
    .on_conflict_do_nothing()
)
_SAME = Prepared(
    select(TaskRow.id).where(
        TaskRow.workspace_id == WORKSPACE,
        TaskRow.name == bindparam("name", type_=String(), required=True),
        TaskRow.unique_key == bindparam("unique_key", type_=String(), required=True),
        TaskRow.due_at.is_not(None),
    ),
    UUID,
)


async def enqueue(  # noqa: PLR0913 - everything that can be said of it
    context: Context,
    task: Task[P],
    payload: P,
    *,
    at: datetime | None = None,
    delay: timedelta | None = None,
    unique_key: str | None = None,
    concurrency_key: str | None = None,
    priority: int | None = None,
) -> UUID:
    """Have a task done once the change of this context is committed, and never without it.

    It belongs to the workspace of the context, or to the installation outside of any, and runs there.

    Args:
        context: of the change.
        task: what is to be done.
        payload: with what: ids rather than what they stand for, and nothing secret, as administrators see it. At most
            65,536 bytes as JSON.
        at: not before this time.
        delay: not before this has passed.
        unique_key: where a task of this name with this key waits or runs, nothing is added.
        concurrency_key: of those with the same key, no more run at once than the task declares.
        priority: that of the task, unless given.

    Returns:
        The id of the task; that of the one that is there already, where there is one with this unique key.

    Raises:
        ValueError: no part declares the task, or a bound is exceeded.
    """
    if context.runtime.tasks.get(task.name) is not task:
        raise ValueError(f"no part declares the task {task.name}")
    encoded = msgspec.json.encode(payload)
    chosen = task.priority if priority is None else priority
    if len(encoded) > MAX_PAYLOAD_BYTES or max(len(unique_key or ""), len(concurrency_key or "")) > MAX_KEY:
        raise ValueError(f"{task.name}: the payload ({len(encoded)} bytes) or a key is too long")
    if not FIRST <= chosen <= LAST:
        raise ValueError(f"{task.name}: a priority is from {FIRST} to {LAST}")
    ready_at = max(context.now, at or context.now) + (delay or timedelta(0))
    task_id = new_id()
    values = {
        "id": task_id,
        "name": task.name,
        "queue": task.queue,
        "priority": chosen,
        "state": "waiting",
        "payload": msgspec.Raw(encoded),
        "attempt": 0,
        "tries": 0,
        "ready_at": ready_at,
        "due_at": ready_at,
        "send_at": ready_at if is_sent(context.runtime) else None,
        "sends": 0,
        "unique_key": unique_key,
        "concurrency_key": concurrency_key or "",
        "account_id": _asker(context),
        "request_id": context.request_id[:64],
        "traceparent": current_traceparent(),
        "is_operation": task.operation,
        "cancel_requested": False,
        "created_at": context.now,
    }
    for _ in range(_TRIES):
        if await context.db.execute(_INSERT, **values):
            break
        there = await context.db.first(_SAME, name=task.name, unique_key=unique_key)
        if there is not None:
            return there
        # It ended between the two statements.
    else:
        raise RuntimeError(f"{task.name}: the unique key comes and goes")
    if ready_at <= context.now:
        _tell(context)
    return task_id


def is_sent(runtime: Runtime) -> bool:
    """Return whether tasks are sent through a broker here."""
    return runtime.settings.tasks.runner == "celery"


def _asker(context: Context) -> UUID | None:
    if isinstance(context, TaskContext):
        return context.task.account_id
    return None if context.principal is None else context.principal.account_id


def _tell(context: Context) -> None:
    bus, workspace_id = context.runtime.bus, context.db.workspace_id
    context.after_commit(lambda: bus.publish(Signal(TASKS_CHANNEL, QUEUED, body=workspace_id.bytes)))
