"""What administrators do about tasks, and people about what they wait for."""

from uuid import UUID

from courtyard.kernel.context import Access, Context
from courtyard.kernel.database import INSTALLATION, UniqueViolation
from courtyard.kernel.events import Signal
from courtyard.kernel.tasks import queries, store
from courtyard.kernel.tasks.errors import TaskEnded, TaskNotEnded, TaskThere
from courtyard.kernel.tasks.operations import tell
from courtyard.kernel.tasks.permissions import MANAGE
from courtyard.kernel.tasks.schemas import Operation, TaskDetail
from courtyard.kernel.tasks.service import CANCELLED, QUEUED, TASKS_CHANNEL, enqueue, is_sent

CANCEL_NOTE = "tasks:task:cancelled"
REPLAY_NOTE = "tasks:task:replayed"
RUN_NOTE = "tasks:schedule:run"
AUDIT_NAMES = {
    CANCEL_NOTE: "A task was cancelled.",
    REPLAY_NOTE: "A task that had failed was done again.",
    RUN_NOTE: "The task of a schedule was asked for before its time.",
}


async def cancel_task(context: Context, task_id: UUID) -> TaskDetail:
    """End a task of the workspace: at once where it waits, as soon as it can where it runs.

    Raises:
        Forbidden: the caller may not.
        NotFound: there is none.
        TaskEnded: it has ended.
    """
    context.require(MANAGE)
    return await cancel(context, task_id)


async def replay_task(context: Context, task_id: UUID) -> TaskDetail:
    """Have a task of the workspace done again that has failed or was cancelled, with all its retries.

    Raises:
        Forbidden: the caller may not.
        NotFound: there is none.
        TaskNotEnded: it has not failed.
        TaskThere: another one with its unique key waits or runs.
    """
    context.require(MANAGE)
    return await replay(context, task_id)


async def cancel(context: Context, task_id: UUID) -> TaskDetail:
    """Do what `cancel_task` does, for whoever has been asked for their permission."""
    # It tells that there is none.
    await queries.detail(context.db, task_id)
    is_operation = await store.cancel(context.db, task_id, context.now)
    if is_operation is None:
        raise TaskEnded
    context.note(CANCEL_NOTE, object_type="task", object_id=str(task_id))
    if is_operation:
        for envelope in await tell(context.db, task_id, context.now):
            context.recorded(envelope)
    bus = context.runtime.bus
    context.after_commit(lambda: bus.publish(Signal(TASKS_CHANNEL, CANCELLED, body=task_id.bytes)))
    return await queries.detail(context.db, task_id)


async def replay(context: Context, task_id: UUID) -> TaskDetail:
    """Do what `replay_task` does, for whoever has been asked for their permission."""
    await queries.detail(context.db, task_id)
    context.note(REPLAY_NOTE, object_type="task", object_id=str(task_id))
    try:
        if not await store.replay(context.db, task_id, context.now, is_sent=is_sent(context.runtime)):
            raise TaskNotEnded
    except UniqueViolation:
        raise TaskThere from None
    bus, workspace_id = context.runtime.bus, context.db.workspace_id
    context.after_commit(lambda: bus.publish(Signal(TASKS_CHANNEL, QUEUED, body=workspace_id.bytes)))
    return await queries.detail(context.db, task_id)


async def run_schedule(context: Context, name: str) -> UUID | None:
    """Ask for the task of a schedule now; return its id, None where there is no such schedule."""
    schedule = context.runtime.schedules.get(name)
    if schedule is None:
        return None
    context.note(RUN_NOTE, object_type="task_schedule", object_id=name)
    return await enqueue(context, schedule.task, schedule.payload, unique_key=name)


async def cancel_operation(context: Context, operation_id: UUID) -> Operation:
    """End an operation that the caller has asked for; outside of any workspace.

    Raises:
        NotFound: they have not.
        TaskEnded: it has ended.
    """
    workspace_id = await queries.place_of(context.runtime.placement, operation_id, context.account_id)
    if workspace_id == INSTALLATION:
        await cancel(context, operation_id)
        return await queries.operation(context.db, operation_id)
    with context.within(Access(workspace_id, "", frozenset(), frozenset())):
        await cancel(context, operation_id)
        return await queries.operation(context.db, operation_id)
