"""The commands of `courtyard migrate`."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeAlias

import asyncpg
import typer

from courtyard.kernel.application import Application
from courtyard.kernel.database.database import Database
from courtyard.kernel.database.errors import DatabaseUnavailable
from courtyard.kernel.database.migrations import MigrationError, State, address, states
from courtyard.kernel.database.placement import Placement

# What is configured: where the databases are, and whose tables are in them.
Configured: TypeAlias = tuple[Placement, Sequence[Application]]

Module = Annotated[str, typer.Argument(help="Application or module of the kernel, such as `chat`.")]


def commands(configured: Callable[[], Configured]) -> typer.Typer:
    """Return the commands.

    Args:
        configured: reads the settings; is called when a command runs.
    """
    app = typer.Typer(name="migrate", help="Move the databases between versions.", no_args_is_help=True)

    @app.command()
    def up(
        module: Annotated[str | None, typer.Option(help="Only this module.")] = None,
        revision: Annotated[str, typer.Option(help="How far to go, with --module.")] = "head",
    ) -> None:
        """Run every pending migration in every database."""
        if module is None and revision != "head":
            raise typer.BadParameter("--revision needs --module")
        _finish(asyncio.run(_up(configured(), module, revision)))

    # Otherwise `-1` would be taken for an option.
    @app.command(context_settings={"ignore_unknown_options": True})
    def down(
        module: Module,
        revision: Annotated[str, typer.Argument(help="The last that stays, `base` for none, `-1` to undo one.")],
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    ) -> None:
        """Undo migrations of one module, with the data that is in what they made."""
        placement, parts = configured()
        if not yes:
            where = f"{address(placement.main.url)} and the databases of workspaces"
            typer.confirm(
                f"Take {module} to {revision} in {where}? What its migrations made goes, with its data.",
                abort=True,
            )
        _finish(asyncio.run(_down((placement, parts), module, revision)))

    @app.command()
    def status() -> None:
        """Show how far each module is in each database; fail if anything is to be done."""
        _finish(asyncio.run(_each(configured(), _show)))

    @app.command()
    def new(module: Module, message: Annotated[str, typer.Argument(help="What it does, in a few words.")]) -> None:
        """Draft the next migration of a module from what has changed in its models."""
        from courtyard.kernel.database import authoring  # noqa: PLC0415 - Alembic is slow to load

        _, parts = configured()
        try:
            path = asyncio.run(authoring.new(parts, module, message))
        except MigrationError as error:
            _fail(str(error))
            raise typer.Exit(1) from None
        typer.echo(f"{path}\nRead it, `downgrade` first of all; then `courtyard migrate check`.")

    @app.command()
    def check(
        live: Annotated[
            bool, typer.Option("--live", help="Compare the configured databases, not one made for it.")
        ] = False,
    ) -> None:
        """Compare the models with what the migrations make."""
        _finish(asyncio.run(_check(configured(), live=live)))

    return app


Work: TypeAlias = Callable[[Database, Sequence[Application], bool], Awaitable[bool]]


async def _each(configured: Configured, work: Work) -> bool:
    """Do work in every database, those after a broken one too, and return whether all went well."""
    placement, parts = configured
    well = await _one(placement.main, parts, work, main=True)
    try:
        # It tells where the others are.
        await placement.load()
    except (DatabaseUnavailable, asyncpg.PostgresError, sqlite3.Error):
        _fail("the databases of workspaces are known once the main one is up to date: they were not looked at")
        well = False
    for database in placement.databases()[1:]:
        well &= await _one(database, parts, work, main=False)
    await placement.close()
    return well


async def _one(database: Database, parts: Sequence[Application], work: Work, *, main: bool) -> bool:
    typer.echo(address(database.url))
    try:
        return await work(database, parts, main)
    except MigrationError as error:
        _fail(str(error))
    except DatabaseUnavailable as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        _fail(f"{address(database.url)} cannot be reached: {cause}")
    finally:
        await database.close()
    return False


async def _up(configured: Configured, module: str | None, revision: str) -> bool:
    from courtyard.kernel.database import migrator  # noqa: PLC0415 - Alembic is slow to load

    async def work(database: Database, parts: Sequence[Application], main: bool) -> bool:
        count = await migrator.upgrade(database, parts, main=main, module=module, revision=revision, say=_progress)
        _progress(f"{count} done" if count else "nothing to do")
        return True

    return await _each(configured, work)


async def _down(configured: Configured, module: str, revision: str) -> bool:
    from courtyard.kernel.database import migrator  # noqa: PLC0415 - Alembic is slow to load

    async def work(database: Database, parts: Sequence[Application], main: bool) -> bool:
        count = await migrator.downgrade(database, parts, main=main, module=module, revision=revision, say=_progress)
        _progress(f"{count} undone" if count else "nothing to undo")
        return True

    return await _each(configured, work)


async def _show(database: Database, parts: Sequence[Application], main: bool) -> bool:
    found = await states(database, parts, main=main)
    for state in found:
        _progress(f"{state.module:16} {state.current or '-':6} {_told(state)}")
    return all(state.ready for state in found)


def _told(state: State) -> str:
    if state.newer_than_code:
        return f"newer than this version of Courtyard, which knows up to {state.newest or 'none'}"
    if state.pending:
        return f"newest {state.newest}, pending: {', '.join(state.pending)}"
    return "newest"


async def _check(configured: Configured, *, live: bool) -> bool:
    from courtyard.kernel.database import authoring  # noqa: PLC0415 - Alembic is slow to load

    async def work(database: Database, parts: Sequence[Application], main: bool) -> bool:
        return _tell(await authoring.check(parts, database, main=main))

    if live:
        return await _each(configured, work)
    try:
        return _tell(await authoring.check(configured[1]))
    except MigrationError as error:
        _fail(str(error))
        return False


def _tell(differences: Sequence[str]) -> bool:
    for line in differences:
        _fail(line)
    if not differences:
        _progress("the migrations make what the models say")
    return not differences


def _progress(line: str) -> None:
    typer.echo(f"  {line}")


def _fail(line: str) -> None:
    typer.secho(line, fg=typer.colors.RED, err=True)


def _finish(well: bool) -> None:
    if not well:
        raise typer.Exit(1)
