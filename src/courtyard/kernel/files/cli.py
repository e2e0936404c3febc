"""The commands of `courtyard files`."""

import asyncio
from typing import Annotated

import typer

from courtyard.kernel.files.service.checks import faults
from courtyard.kernel.files.tasks import Sweeper
from courtyard.kernel.runtime import Runtime

FAULTS = 1


def commands() -> typer.Typer:
    """Return the commands."""
    app = typer.Typer(name="files", help="Check and clear the storage of files.", no_args_is_help=True)

    @app.command()
    def check(
        context: typer.Context,
        *,
        deep: Annotated[bool, typer.Option("--deep", help="Read every file and compare its digest.")] = False,
    ) -> None:
        """Prove that the storage works and holds what the database says; status 1 if not."""

        async def run() -> int:
            async with context.obj("files check") as work:
                return await _check(work.runtime, deep=deep)

        raise typer.Exit(FAULTS if asyncio.run(run()) else 0)

    @app.command()
    def sweep(context: typer.Context) -> None:
        """Remove files that are over, and what lies in the storage without a file, as the server does by itself."""

        async def run() -> None:
            async with context.obj("files sweep") as work:
                sweeper = Sweeper(work.runtime)
                files, rest = await sweeper.sweep(), await sweeper.remove_orphans()
            typer.echo(
                f"{files.files:,} files, {rest.orphans:,} orphans, {rest.unfinished:,} unfinished writes removed"
            )

        asyncio.run(run())

    return app


async def _check(runtime: Runtime, *, deep: bool) -> int:
    sweeper, found, count, orphans = Sweeper(runtime), 0, 0, 0
    for storage in runtime.storage.storages():
        await storage.check()
        async for lot in sweeper.orphans(storage):
            orphans += len(lot)
    async for file, fault in faults(runtime, deep=deep):
        count += 1
        if fault is not None:
            found += 1
            typer.echo(f"workspace {file.workspace_id}: file {file.id} {fault}")
    typer.echo(f"{count:,} files, {found:,} faults, {orphans:,} stored without a file")
    return found
