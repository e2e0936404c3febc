"""The commands of `courtyard quotas`."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Protocol, TypeVar

import typer

from courtyard.kernel.context import Context
from courtyard.kernel.quotas import queries, service
from courtyard.kernel.quotas.rules import UNLIMITED, Quota
from courtyard.kernel.settings import MOST

T = TypeVar("T")

Workspace = Annotated[str, typer.Argument(help="Slug or id of the workspace.")]
Name = Annotated[str, typer.Argument(help="Of the quota, such as workspaces.members.")]


class Run(Protocol):
    """Carries something out in the context of a workspace, and commits."""

    def __call__(self, workspace: str, action: Callable[[Context], Awaitable[T]]) -> T:
        """Return what the action returns."""
        ...


def commands(run: Run) -> typer.Typer:
    """Return the commands.

    Args:
        run: is called when a command runs.
    """
    app = typer.Typer(name="quotas", help="Show and set how much workspaces may have.", no_args_is_help=True)

    @app.command()
    def show(workspace: Workspace) -> None:
        """Show every quota of a workspace with its use."""
        for use in run(workspace, queries.load_quotas):
            limit = "unlimited" if use.limit is None else use.limit
            typer.echo(f"{use.name}: {use.used} of {limit} {use.unit}")

    @app.command("set")
    def set_(
        workspace: Workspace,
        name: Name,
        limit: Annotated[str, typer.Argument(help="A number, `unlimited`, or `default` for what holds for all.")],
    ) -> None:
        """Set how much a workspace may have. What it has already stays, even if it is more."""
        chosen = _limit(limit)
        run(workspace, lambda context: service.set_limit(context, _quota(context, name), chosen))

    @app.command()
    def recount(workspace: Workspace, name: Name) -> None:
        """Count anew what a workspace has, and repair what is recorded."""
        typer.echo(run(workspace, lambda context: service.recount(context, _quota(context, name))))

    return app


def _limit(text: str) -> int | None:
    if text == "default":
        return None
    if text == "unlimited":
        return UNLIMITED
    if not text.isdecimal() or int(text) > MOST:
        raise typer.BadParameter("a number, unlimited, or default")
    return int(text)


def _quota(context: Context, name: str) -> Quota:
    known = {quota.name: quota for part in context.runtime.parts for quota in part.quotas}
    if name not in known:
        raise typer.BadParameter(f"there is no quota {name}; there are: {', '.join(sorted(known)) or 'none'}")
    return known[name]
