"""`courtyard workspaces`: what an operator does with workspaces. Running servers see it within a second."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Annotated, TypeAlias, TypeVar
from uuid import UUID

import typer

from courtyard.kernel.context import Context
from courtyard.kernel.errors import NotFound
from courtyard.kernel.workspaces.queries.workspaces import find_workspace, list_workspaces
from courtyard.kernel.workspaces.schemas.workspaces import Workspace
from courtyard.kernel.workspaces.service import workspaces as service
from courtyard.kernel.workspaces.service.removal import remove_some

T = TypeVar("T")
Open: TypeAlias = Callable[[str], AbstractAsyncContextManager[Context]]
Named = Annotated[str, typer.Argument(metavar="SLUG|ID", help="Slug or id of the workspace.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

commands = typer.Typer(
    help="See to workspaces, as an operator.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)


@commands.command("list")
def list_all(context: typer.Context) -> None:
    """List every workspace, oldest first."""
    after = UUID(int=0)
    while found := _run(context, partial(list_workspaces, after=after)):
        for workspace in found:
            typer.echo(f"{workspace.id}  {_state(workspace):<31}  {workspace.slug}  {workspace.name}")
        after = found[-1].id


@commands.command()
def archive(context: typer.Context, named: Named) -> None:
    """Let a workspace be read only."""
    typer.echo(f"{_change(context, named, partial(service.archive, archived=True)).slug} is archived.")


@commands.command()
def unarchive(context: typer.Context, named: Named) -> None:
    """Open an archived workspace again."""
    typer.echo(f"{_change(context, named, partial(service.archive, archived=False)).slug} is open.")


@commands.command()
def delete(
    context: typer.Context,
    named: Named,
    *,
    now: Annotated[bool, typer.Option("--now", help="Remove it at once: nobody can have it back.")] = False,
    yes: Yes = False,
) -> None:
    """Close a workspace, and remove it when the time of grace is over, or at once."""
    if not yes:
        after = "at once, for good" if now else "after the time of grace"
        typer.confirm(f"Remove {named} with everything in it, {after}?", abort=True)
    workspace = _change(context, named, partial(service.close_workspace, at_once=now))
    while now and _run(context, partial(remove_some, workspace_id=workspace.id)):
        pass
    typer.echo(f"{workspace.slug} is {'gone' if now else 'closed'}.")


@commands.command()
def restore(context: typer.Context, named: Named) -> None:
    """Have a deleted workspace back."""
    typer.echo(f"{_change(context, named, service.reopen_workspace).slug} is back.")


def _change(context: typer.Context, named: str, work: Callable[[Context, UUID], Awaitable[None]]) -> Workspace:
    async def find_and_change(opened: Context) -> Workspace:
        workspace = await find_workspace(opened, named)
        if workspace is None:
            raise NotFound(f"There is no workspace {named}")
        await work(opened, workspace.id)
        return workspace

    return _run(context, find_and_change)


def _run(context: typer.Context, work: Callable[[Context], Awaitable[T]]) -> T:
    opening: Open = context.obj

    async def run() -> T:
        async with opening(f"workspaces {context.info_name}") as opened:
            return await work(opened)

    return asyncio.run(run())


def _state(workspace: Workspace) -> str:
    if workspace.deletes_at is not None:
        return f"removed at {workspace.deletes_at:%Y-%m-%d %H:%M} UTC"
    return "archived" if workspace.archived_at is not None else "open"
