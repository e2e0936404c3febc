"""Before the first request: the databases are brought up to date, or the server says why it does not start."""

import asyncio

import structlog

from courtyard.kernel.database import Database, DatabaseUnavailable
from courtyard.kernel.database.migrations import MigrationError, State, address, pending
from courtyard.kernel.runtime import Runtime
from courtyard.site.errors import CannotStart

log = structlog.get_logger()


async def pending_in(runtime: Runtime, database: Database) -> list[State]:
    """Return the parts whose tables in a database are not those of this code.

    Raises:
        DatabaseUnavailable: it does not answer.
    """
    return await pending(database, runtime.parts, main=database is runtime.placement.main)


async def prepare(runtime: Runtime) -> None:
    """Bring the databases up to date where that happens by itself, and refuse to start where it does not.

    One of a workspace that does not answer, or is not up to date, is told of in the log: the others have their server.

    Raises:
        CannotStart: with one line for the operator.
    """
    main = runtime.placement.main
    try:
        await _prepare(runtime, main)
        await runtime.placement.load()
    except DatabaseUnavailable as error:
        raise CannotStart(f"{address(main.url)} does not answer: {error.__cause__ or error.detail}") from error
    await asyncio.gather(*(_prepare_shard(runtime, shard) for shard in runtime.placement.databases()[1:]))


async def _prepare_shard(runtime: Runtime, shard: Database) -> None:
    try:
        await _prepare(runtime, shard)
    except CannotStart as problem:
        log.warning("shard.not_ready", reason=str(problem))
    except DatabaseUnavailable as error:
        log.warning("shard.away", database=address(shard.url), error=str(error.__cause__ or error.detail))


async def _prepare(runtime: Runtime, database: Database) -> None:
    where = address(database.url)
    states = await pending_in(runtime, database)
    if states and runtime.settings.auto_migrate:
        try:
            await _migrate(runtime, database)
        except MigrationError as error:
            raise CannotStart(str(error)) from error
        states = []
    newer = [state for state in states if state.newer_than_code]
    if newer:
        raise CannotStart(
            f"{where}: {newer[0].module} is at revision {newer[0].current}, which this version of Courtyard does "
            "not know: run the version that migrated it"
        )
    if states:
        modules = ", ".join(state.module for state in states)
        raise CannotStart(f"{where}: migrations are pending ({modules}): run `courtyard migrate up`")


async def _migrate(runtime: Runtime, database: Database) -> None:
    # Alembic is slow to load, and most starts have nothing for it to do.
    from courtyard.kernel.database.migrator import upgrade  # noqa: PLC0415

    await upgrade(
        database,
        runtime.parts,
        main=database is runtime.placement.main,
        say=lambda line: log.info("database.migrating", step=line),
    )
