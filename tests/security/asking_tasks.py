"""How the operations on background work are asked for in `test_permissions.py`, each on a task of its own."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

import httpx2

from courtyard.kernel.context import Access, Context
from courtyard.kernel.ids import new_id
from courtyard.kernel.tasks import TaskRow

if TYPE_CHECKING:
    from tests.security.test_permissions import Cast

Ask: TypeAlias = Callable[["Cast", str, httpx2.AsyncClient], Awaitable[httpx2.Response]]
ASK: dict[str, Ask] = {}


def asks(ask: Ask) -> Ask:
    """Say how an operation is asked for; the function has its name."""
    ASK[ask.__name__] = ask
    return ask


async def make_task(cast: "Cast", identity: str, *, is_over: bool = False) -> UUID:
    """Leave a row that nobody runs, as somebody's who waits for it."""
    runtime, workspace_id = cast.make.server.runtime, cast.workspace.id
    context = Context(runtime, None, Access(workspace_id, "", frozenset(), frozenset()), "test")
    task_id, person = new_id(), cast.people.get(identity)
    try:
        await context.db.insert(
            TaskRow,
            id=task_id,
            name="sample.task",
            queue="default",
            priority=5,
            state="failed" if is_over else "waiting",
            payload={},
            attempt=0,
            tries=0,
            ready_at=context.now,
            due_at=None if is_over else context.now + timedelta(hours=1),
            ended_at=context.now if is_over else None,
            concurrency_key="",
            account_id=None if person is None else person.id,
            request_id="r",
            is_operation=True,
            cancel_requested=False,
            sends=0,
            created_at=context.now,
        )
        await context.commit()
    finally:
        await context.rollback()
    return task_id


@asks
async def list_tasks(cast: "Cast", _: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/tasks?state=failed&name=sample.task&queue=default")


@asks
async def get_task(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"{cast.workspace.path}/tasks/{await make_task(cast, identity)}")


@asks
async def cancel_task(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{cast.workspace.path}/tasks/{await make_task(cast, identity)}/cancel")


@asks
async def replay_task(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"{cast.workspace.path}/tasks/{await make_task(cast, identity, is_over=True)}/replay")


@asks
async def get_operation(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"/operations/{await make_task(cast, identity)}")


@asks
async def watch_operation(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.get(f"/operations/{await make_task(cast, identity, is_over=True)}/events")


@asks
async def cancel_operation(cast: "Cast", identity: str, http: httpx2.AsyncClient) -> httpx2.Response:
    return await http.post(f"/operations/{await make_task(cast, identity)}/cancel")
