"""HTTP: the background work of a workspace for its administrators, and operations for those who wait for them."""

from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter

from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.http import API, SIGNED_IN, Answer, Stream, get, post
from courtyard.kernel.tasks import administration, operations, queries
from courtyard.kernel.tasks.errors import TaskEnded, TaskNotEnded, TaskThere
from courtyard.kernel.tasks.permissions import MANAGE, READ
from courtyard.kernel.tasks.queries import Filters
from courtyard.kernel.tasks.schemas import Operation, Queue, State, TaskDetail, TaskName, TaskSummary

TASKS = "/workspaces/{workspace:str}/tasks"
# The framework has an argument of its own that is called `state`.
WantedState = Annotated[State | None, QueryParameter(name="state", description="Only tasks in this state.")]
OPERATIONS = "/operations/{operation_id:uuid}"


@get(TASKS, permission=READ)
async def list_tasks(
    context: ReadContext,
    task_state: WantedState = None,
    queue: Queue | None = None,
    name: TaskName | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor | None = None,
) -> Page[TaskSummary]:
    """See the background work of the workspace, newest first."""
    return await queries.list_tasks(context, Filters(state=task_state, queue=queue, name=name), limit, cursor)


@get(TASKS + "/{task_id:uuid}", permission=READ)
async def get_task(context: ReadContext, task_id: UUID) -> TaskDetail:
    """See a task: with what it was asked for, and what became of it."""
    return await queries.get_task(context, task_id)


@post(TASKS + "/{task_id:uuid}/cancel", permission=MANAGE, status=200, problems=[TaskEnded])
async def cancel_task(context: Context, task_id: UUID) -> TaskDetail:
    """Cancel a task: at once where it waits, as soon as it can where it runs."""
    return await administration.cancel_task(context, task_id)


@post(TASKS + "/{task_id:uuid}/replay", permission=MANAGE, status=200, problems=[TaskNotEnded, TaskThere])
async def replay_task(context: Context, task_id: UUID) -> TaskDetail:
    """Have a task done again that has failed or was cancelled."""
    return await administration.replay_task(context, task_id)


@get(OPERATIONS, permission=SIGNED_IN)
async def get_operation(context: ReadContext, operation_id: UUID) -> Operation:
    """See how something that you have asked for is going."""
    return await queries.get_operation(context, operation_id)


@get(OPERATIONS + "/events", permission=SIGNED_IN, media_types=("text/event-stream",))
async def watch_operation(context: ReadContext, operation_id: UUID) -> Stream:
    """Watch how something that you have asked for is going, as server-sent events, until it has ended.

    Each event is called `operation`; its data are those of the operation. A stream that has ended before the operation
    has, is to be opened again.
    """
    return Stream(await operations.watch(context, operation_id), "text/event-stream")


@post(OPERATIONS + "/cancel", permission=SIGNED_IN, status=200, problems=[TaskEnded])
async def cancel_operation(context: Context, operation_id: UUID) -> Operation:
    """Cancel something that you have asked for."""
    return await administration.cancel_operation(context, operation_id)


async def accepted(context: ReadContext, operation_id: UUID) -> Answer[Operation]:
    """Return the answer to a request that began an operation: how it stands, and where to ask again.

    The route that returns it has the status 202.
    """
    operation = await queries.operation(context.db, operation_id)
    location = API + OPERATIONS.replace("{operation_id:uuid}", str(operation_id))
    return Answer(operation, headers=[(b"location", location.encode())])


ROUTES = (list_tasks, get_task, cancel_task, replay_task)
OPERATION_ROUTES = (get_operation, watch_operation, cancel_operation)
