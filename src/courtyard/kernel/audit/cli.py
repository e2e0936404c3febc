"""The commands of `courtyard audit`."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, TypeAlias, TypeVar
from uuid import UUID

import msgspec
import typer

from courtyard.kernel.audit import queries, service
from courtyard.kernel.audit.service import ExportForm
from courtyard.kernel.audit.tasks import Keeper
from courtyard.kernel.database import INSTALLATION
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.trail import Entry

T = TypeVar("T")
# Opens what is configured, and closes it again.
Opened: TypeAlias = Callable[[], AbstractAsyncContextManager[Runtime]]

FAULTS = 1
Workspace = Annotated[
    str | None, typer.Option(help="Slug or id of a workspace. Left out: what belongs to none, such as logins.")
]


def commands(opened: Opened) -> typer.Typer:
    """Return the commands.

    Args:
        opened: reads the settings; is called when a command runs.
    """
    app = typer.Typer(name="audit", help="Read, verify and shorten the audit log.", no_args_is_help=True)

    @app.command()
    def verify(
        workspace: Annotated[str | None, typer.Option(help="Slug or id of the only workspace to look at.")] = None,
        *,
        as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each chain.")] = False,
    ) -> None:
        """Follow every chain to its end and name what is not as it was sealed; status 1 if anything is not."""
        faults = _run(opened, lambda runtime: _verify(runtime, workspace, as_json=as_json))
        raise typer.Exit(FAULTS if faults else 0)

    @app.command("list")
    def list_entries(
        workspace: Workspace = None,
        limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 50,
        name: Annotated[str | None, typer.Option(help="Only entries of this name.")] = None,
        actor: Annotated[UUID | None, typer.Option(help="Only entries of this account.")] = None,
    ) -> None:
        """List the newest entries."""
        filters = queries.Filters(name=name, actor_id=actor)
        _run(opened, lambda runtime: _list(runtime, workspace, filters, limit))

    @app.command()
    def export(
        workspace: Workspace = None,
        form: Annotated[ExportForm, typer.Option("--format", help="A line of JSON for each entry, or CSV.")] = "ndjson",
    ) -> None:
        """Write all entries to standard output, newest first."""
        _run(opened, lambda runtime: _export(runtime, workspace, form))

    @app.command()
    def prune(
        days: Annotated[float | None, typer.Option(min=1, help="Age in days. Left out: audit.retention_days.")] = None,
    ) -> None:
        """Remove entries that are older than the settings allow."""
        typer.echo(f"{_run(opened, lambda runtime: Keeper(runtime).prune(days)):,} entries removed")

    return app


def _run(opened: Opened, work: Callable[[Runtime], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        async with opened() as runtime:
            return await work(runtime)

    return asyncio.run(run())


async def _id_of(runtime: Runtime, workspace: str | None) -> UUID:
    if workspace is None:
        return INSTALLATION
    return (await runtime.identity.access(runtime, None, workspace)).workspace_id


async def _verify(runtime: Runtime, workspace: str | None, *, as_json: bool) -> int:
    only = None if workspace is None else await _id_of(runtime, workspace)
    faults = 0
    for place, database in enumerate(runtime.placement.databases(), 1):
        async for chain in service.verify(database, runtime.digests, runtime.clock.now(), only):
            faults += len(chain.faults)
            if as_json:
                document = {"database": place, **msgspec.to_builtins(chain), "sound": not chain.faults}
                typer.echo(msgspec.json.encode(document).decode())
                continue
            whose = "installation" if chain.workspace_id == INSTALLATION else str(chain.workspace_id)
            state = "sound" if not chain.faults else f"{len(chain.faults)} faults"
            head = f"{chain.number} {chain.digest[:16]}"
            typer.echo(f"database {place}, {whose}: {chain.entries:,} entries, head {head}: {state}")
            for fault in chain.faults:
                typer.echo(f"  {fault.sentence()}")
    return faults


async def _list(runtime: Runtime, workspace: str | None, filters: queries.Filters, limit: int) -> None:
    units = await queries.units_of(runtime.placement, await _id_of(runtime, workspace))
    entries: list[Entry] = await queries.newest(units, filters, limit, None, whole=True)
    for entry in entries:
        actor = entry.actor_kind if entry.actor_id is None else f"{entry.actor_kind} {entry.actor_id}"
        what = " ".join(one for one in (entry.object_type, entry.object_id) if one)
        typer.echo(f"{entry.created_at:%Y-%m-%d %H:%M:%S}  {entry.name:<36}  {actor:<44}  {what}".rstrip())


async def _export(runtime: Runtime, workspace: str | None, form: ExportForm) -> None:
    units = await queries.units_of(runtime.placement, await _id_of(runtime, workspace))
    async for part in service.written(queries.lots(units, queries.Filters()), form):
        sys.stdout.buffer.write(part)
