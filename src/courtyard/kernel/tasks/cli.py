"""The commands of `courtyard tasks` and `courtyard schedules`, for whoever runs the installation."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, TypeAlias, TypeVar
from uuid import UUID

import msgspec
import typer

from courtyard.kernel.context import Context
from courtyard.kernel.errors import NotFound
from courtyard.kernel.tasks import administration, queries, store
from courtyard.kernel.tasks.queries import Filters
from courtyard.kernel.tasks.schemas import State

T = TypeVar("T")
# Opens a context for a command, in a workspace or outside of any, which is committed at its end.
Open: TypeAlias = Callable[[str, str | None], AbstractAsyncContextManager[Context]]

Workspace = Annotated[
    str | None, typer.Option(help="Slug or id of a workspace. Left out: what belongs to none, such as schedules.")
]
TaskId = Annotated[UUID, typer.Argument(help="Of the task.")]


def commands(opening: Open) -> typer.Typer:
    """Return the commands of `courtyard tasks`.

    Args:
        opening: is called when a command runs.
    """
    app = typer.Typer(name="tasks", help="See background work, cancel it, have it done again.", no_args_is_help=True)

    @app.command("list")
    def list_tasks(
        workspace: Workspace = None,
        state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
        name: Annotated[str | None, typer.Option(help="Only those of this name.")] = None,
        queue: Annotated[str | None, typer.Option(help="Only those of this queue.")] = None,
        limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
    ) -> None:
        """List tasks, newest first."""
        filters = Filters(state=state, queue=queue, name=name)
        for task in _run(opening, "list", workspace, lambda context: queries.newest(context.db, filters, limit)):
            problem = {} if task.problem is None else msgspec.json.decode(task.problem)
            why = f"  {problem.get('code')}: {problem.get('detail', '')}" if problem else ""
            head = f"{task.id}  {task.created_at:%Y-%m-%d %H:%M:%S}  {task.state:<9}  {task.name}"
            typer.echo(f"{head}  attempt {task.attempt}{why}")

    @app.command()
    def show(task_id: TaskId, workspace: Workspace = None) -> None:
        """Print a task as JSON."""
        task = _run(opening, "show", workspace, lambda context: queries.detail(context.db, task_id))
        typer.echo(msgspec.json.format(msgspec.json.encode(task)).decode())

    @app.command()
    def cancel(task_id: TaskId, workspace: Workspace = None) -> None:
        """Cancel a task: at once where it waits, within a heartbeat where it runs."""
        task = _run(opening, "cancel", workspace, lambda context: administration.cancel(context, task_id))
        typer.echo(f"{task.name} is {'cancelled' if task.state == 'cancelled' else 'asked to end'}.")

    @app.command()
    def replay(task_id: TaskId, workspace: Workspace = None) -> None:
        """Have a task done again that has failed or was cancelled."""
        task = _run(opening, "replay", workspace, lambda context: administration.replay(context, task_id))
        typer.echo(f"{task.name} waits again.")

    return app


def schedule_commands(opening: Open) -> typer.Typer:
    """Return the commands of `courtyard schedules`."""
    app = typer.Typer(name="schedules", help="See what is done again and again.", no_args_is_help=True)

    @app.command("list")
    def list_schedules() -> None:
        """List the schedules: their plan, when they were due last, and when they are next."""
        for line in _run(opening, "list", None, _schedules):
            typer.echo(line)

    @app.command()
    def run(name: Annotated[str, typer.Argument(help="Of the schedule.")]) -> None:
        """Have the task of a schedule done now, unless it is under way."""

        async def ask(context: Context) -> UUID:
            task_id = await administration.run_schedule(context, name)
            if task_id is None:
                raise NotFound(f"There is no schedule {name}")
            return task_id

        typer.echo(f"{name}: task {_run(opening, 'run', None, ask)}")

    return app


async def _schedules(context: Context) -> list[str]:
    rows = {row.name: row for row in await store.planned(context.db)}
    lines = []
    for name, schedule in sorted(context.runtime.schedules.items()):
        row = rows.get(name)
        last = "never" if row is None or row.last_at is None else f"{row.last_at:%Y-%m-%d %H:%M:%S}"
        next_at = "not yet planned" if row is None else f"{row.next_at:%Y-%m-%d %H:%M:%S}"
        lines.append(f"{name:<32}  {schedule.plan:<28}  last {last}  next {next_at}")
    return lines


def _run(opening: Open, command: str, workspace: str | None, work: Callable[[Context], Awaitable[T]]) -> T:
    async def run() -> T:
        async with opening(f"tasks {command}", workspace) as context:
            return await work(context)

    return asyncio.run(run())
