"""Moves databases from revision to revision, with Alembic.

One migrator at a time works on a database, each revision is a transaction of its own, and a lock of another
is waited for, but not for long. Import this module only to change something: Alembic loads slowly.
"""

import asyncio
import fcntl
import os
import sqlite3
import threading
import time
import warnings
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import aiosqlite
import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool, event, exc, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from typing_extensions import override

from courtyard.kernel.application import Application
from courtyard.kernel.database.database import Database
from courtyard.kernel.database.drivers import sqlite_path
from courtyard.kernel.database.errors import DatabaseUnavailable
from courtyard.kernel.database.migrations import (
    MigrationError,
    State,
    address,
    histories,
    states,
    version_table,
)

SCRIPTS = Path(__file__).parent / "alembic"
WAIT_SECONDS = 60.0
KEPT_COPIES = 3
# Between the attempts at one revision, after each of which everybody who queued behind it gets a turn.
PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)
POLL_SECONDS = 0.1
# Any number does that no other program uses for an advisory lock in the same database: "courtyrd" in ASCII.
ADVISORY_LOCK = int.from_bytes(b"courtyrd", "big")

# lock_not_available, deadlock_detected
_LOCK_STATES = {"55P03", "40P01"}
# What comes out of an attempt to connect. `ValueError` is asyncpg's for a URL that it cannot read.
_UNREACHABLE = (
    OSError,
    TimeoutError,
    ValueError,
    exc.SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    sqlite3.Error,
)

_TABLE_GONE = """
    SELECT child.name, key."table" FROM sqlite_master AS child, pragma_foreign_key_list(child.name) AS key
    WHERE child.type = 'table'
      AND lower(key."table") NOT IN (SELECT lower(name) FROM sqlite_master WHERE type = 'table')
"""

# `alembic.op`, which revisions import, is one per process.
_process_lock = threading.Lock()

Say: TypeAlias = Callable[[str], object]


def silent(_line: str) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class _Step:
    part: Application
    revision: str
    direction: Literal["upgrade", "downgrade"]
    # Where Alembic is to arrive: at the revision itself, or at the one below it.
    target: str

    @override
    def __str__(self) -> str:
        return f"{self.part.name} {self.revision}{' (down)' if self.direction == 'downgrade' else ''}"


async def upgrade(
    database: Database,
    parts: Sequence[Application],
    *,
    main: bool = True,
    module: str | None = None,
    revision: str = "head",
    say: Say = silent,
    wait_seconds: float = WAIT_SECONDS,
) -> int:
    """Run the revisions that are pending, and return how many there were.

    Args:
        database: what to migrate.
        parts: modules of the kernel, then applications.
        main: whether it is the main database.
        module: only this part.
        revision: how far to go, with `module`.
        say: is told what happens, line by line.
        wait_seconds: how long to wait for another migrator.

    Raises:
        MigrationError: in one line, what cannot be done. The revisions that were reported before are done.
    """
    async with _migrating(database, say, wait_seconds) as connection:
        steps: list[_Step] = []
        for part, state in await _chosen(database, parts, main=main, module=module):
            pending = state.pending
            if revision != "head":
                _known(state, revision)
                pending = tuple(one for one in pending if one <= revision)
            steps += [_Step(part, one, "upgrade", one) for one in pending]
        await _run(database, connection, steps, say)
    return len(steps)


async def downgrade(
    database: Database,
    parts: Sequence[Application],
    *,
    module: str,
    revision: str,
    main: bool = True,
    say: Say = silent,
    wait_seconds: float = WAIT_SECONDS,
) -> int:
    """Undo revisions of one part, with what they stored, and return how many there were.

    Args:
        database: what to migrate.
        parts: modules of the kernel, then applications.
        module: the part.
        revision: the last one that stays, `base` for none, or how many to undo: `-1`.
        main: whether it is the main database.
        say: is told what happens, line by line.
        wait_seconds: how long to wait for another migrator.

    Raises:
        MigrationError: as `upgrade`.
    """
    async with _migrating(database, say, wait_seconds) as connection:
        steps: list[_Step] = []
        for part, state in await _chosen(database, parts, main=main, module=module):
            applied = state.applied
            kept = _kept(state, revision)
            steps += [
                _Step(part, applied[index], "downgrade", applied[index - 1] if index else "base")
                for index in reversed(range(kept, len(applied)))
            ]
        await _run(database, connection, steps, say)
    return len(steps)


def alembic_config(part: Application, **options: Any) -> Config:
    """Return the configuration of Alembic for the history of a part.

    Args:
        part: has a folder of migrations.
        options: for `EnvironmentContext.configure`, the connection among them.
    """
    config = Config(cmd_opts=Namespace(quiet=True))
    for name, value in (
        ("script_location", str(SCRIPTS)),
        ("version_locations", str(part.migrations)),
        ("path_separator", "newline"),
    ):
        config.set_main_option(name, value.replace("%", "%%"))
    config.attributes["options"] = {
        "version_table": version_table(part),
        "transaction_per_migration": True,
        # Alembic takes SQLite for a database whose schema changes outside of transactions. It is not, where
        # BEGIN is sent by us.
        "transactional_ddl": True,
        **options,
    }
    return config


@asynccontextmanager
async def connected(database: Database) -> AsyncIterator[AsyncConnection]:
    """Open a connection of SQLAlchemy's, which Alembic needs, with the settings that migrations run under.

    Raises:
        MigrationError: the database cannot be reached.
    """
    scheme = "sqlite+aiosqlite://" if database.is_sqlite else "postgresql+asyncpg://"
    create = _sqlite_creator(database) if database.is_sqlite else _postgres_creator(database)
    engine = create_async_engine(scheme, async_creator=create, poolclass=NullPool)
    if database.is_sqlite:
        event.listen(engine.sync_engine, "begin", _begin_immediate)
    try:
        connection = await engine.connect()
    except _UNREACHABLE as error:
        await engine.dispose()
        raise MigrationError(f"{address(database.url)} cannot be reached: {_reason(error)}") from error
    try:
        yield connection
    finally:
        await connection.close()
        await engine.dispose()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgres_creator(database: Database) -> Callable[..., Awaitable[Any]]:
    settings = database.settings

    async def create(**_: object) -> Any:  # noqa: ANN401 - what SQLAlchemy expects
        return await asyncpg.connect(
            database.url,
            timeout=settings.acquire_timeout_seconds,
            server_settings={
                "application_name": "courtyard migrate",
                "timezone": "UTC",
                "lock_timeout": str(int(settings.lock_timeout_seconds * 1000)),
                # An index on a large table takes its time. A revision sets a limit where it wants one.
                "statement_timeout": "0",
                "idle_in_transaction_session_timeout": "0",
                "default_transaction_read_only": "off",
            },
        )

    return create


def _sqlite_creator(database: Database) -> Callable[..., Awaitable[Any]]:
    async def create(**_: object) -> aiosqlite.Connection:
        path = sqlite_path(database.url)
        if not path.exists():
            path.touch(mode=0o600)
        # Without an isolation level the driver begins nothing; what we begin holds schema changes too.
        connection = await aiosqlite.connect(path, isolation_level=None)
        try:
            for pragma in (
                f"busy_timeout = {int(database.settings.busy_timeout_seconds * 1000)}",
                "journal_mode = WAL",
                # A table is changed by a copy that takes its place: with foreign keys on, dropping the old
                # one would delete every row that refers to it. They are checked before each commit instead.
                "foreign_keys = OFF",
            ):
                await connection.execute_fetchall(f"PRAGMA {pragma}")
        except BaseException:
            # Its thread would keep the process from ending.
            await connection.close()
            raise
        return connection

    return create


@asynccontextmanager
async def _migrating(database: Database, say: Say, wait_seconds: float) -> AsyncIterator[AsyncConnection]:
    """Open a connection as the only migrator of a database, on this machine or, on PostgreSQL, on any."""
    where = address(database.url)

    async def in_process() -> bool:
        return _process_lock.acquire(blocking=False)

    await _turn(in_process, where, say, wait_seconds)
    try:
        if database.is_sqlite:
            with _lock_file(sqlite_path(database.url)) as locked:
                await _turn(locked, where, say, wait_seconds)
                async with connected(database) as connection:
                    yield connection
        else:
            async with connected(database) as connection:
                # The lock belongs to the connection and ends with it, whatever ends it.
                await _turn(partial(_advisory_lock, connection), where, say, wait_seconds)
                yield connection
    except (exc.DBAPIError, DatabaseUnavailable) as error:
        raise MigrationError(f"{where}: {_reason(error)}") from error
    finally:
        _process_lock.release()


async def _advisory_lock(connection: AsyncConnection) -> bool:
    # Asked again and again, because a statement that waits would hold a snapshot, and that keeps the other
    # migrator's `CREATE INDEX CONCURRENTLY` from ending.
    locked = await connection.scalar(select(func.pg_try_advisory_lock(ADVISORY_LOCK)))
    await connection.commit()
    return bool(locked)


async def _turn(attempt: Callable[[], Awaitable[bool]], where: str, say: Say, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    if await attempt():
        return
    say(f"{where}: another migrator is at work, waiting for up to {wait_seconds:g} s")
    while time.monotonic() < deadline:
        await asyncio.sleep(POLL_SECONDS)
        if await attempt():
            return
    raise MigrationError(f"{where}: another migrator has been at work for more than {wait_seconds:g} s")


@contextmanager
def _lock_file(path: Path) -> Iterator[Callable[[], Awaitable[bool]]]:
    """Yield what tries to lock a file beside the database. The lock ends with the process at the latest."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path.with_name(f"{path.name}.migration-lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise MigrationError(f"{path} cannot be opened: {error}") from error

    async def locked() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        yield locked
    finally:
        os.close(descriptor)


async def _chosen(
    database: Database, parts: Sequence[Application], *, main: bool, module: str | None
) -> list[tuple[Application, State]]:
    """Return the parts to migrate in this database with their states, none of them newer than the code."""
    names = [part.name for part in parts if part.migrations is not None]
    if module is not None and module not in names:
        raise MigrationError(f"there is no module {module} with tables; there are: {', '.join(names)}")
    chosen = [part for part in histories(parts, main=main) if module in {None, part.name}]
    found = list(zip(chosen, await states(database, chosen, main=main), strict=True))
    for _, state in found:
        if state.newer_than_code:
            raise MigrationError(
                f"{address(database.url)}: {state.module} is at revision {state.current}, which this version "
                f"does not know (its newest is {state.newest or 'none'}): run the version that made it"
            )
    return found


def _known(state: State, revision: str) -> None:
    if revision not in state.revisions:
        there = ", ".join(state.revisions)
        raise MigrationError(f"{state.module} has no revision {revision}; it has: {there}")


def _kept(state: State, revision: str) -> int:
    """Return how many of the applied revisions a downgrade leaves."""
    if revision == "base":
        return 0
    if revision.startswith("-") and revision[1:].isdigit():
        return max(0, len(state.applied) - int(revision[1:]))
    _known(state, revision)
    return state.revisions.index(revision) + 1


async def _run(database: Database, connection: AsyncConnection, steps: Sequence[_Step], say: Say) -> None:
    if not steps:
        return
    if database.is_sqlite:
        first = steps[0]
        await asyncio.to_thread(_copy, sqlite_path(database.url), f"{first.part.name}-{first.revision}", say)
    for step in steps:
        say(str(step))
        await _attempt(connection, step, say)


async def _attempt(connection: AsyncConnection, step: _Step, say: Say) -> None:
    for pause in (*PAUSES_SECONDS, None):
        try:
            await connection.run_sync(_apply, step)
        except exc.DBAPIError as error:
            await connection.rollback()
            if pause is None or not _is_lock_timeout(error):
                raise MigrationError(f"{step}: {_reason(error)}") from error
            say(f"{step}: {_reason(error)}; trying again in {pause:g} s")
            await asyncio.sleep(pause)
        except (MigrationError, CommandError, exc.SQLAlchemyError, exc.SAWarning) as error:
            raise MigrationError(f"{step}: {_reason(error)}") from error
        else:
            return


def _apply(connection: Connection, step: _Step) -> None:
    config = alembic_config(step.part, connection=connection, on_version_apply=_check_references)
    with warnings.catch_warnings():
        # A table that SQLite makes anew would lose its indexes on expressions: the revision must drop them before
        # and create them again after.
        warnings.filterwarnings("error", "Skipped unsupported reflection", exc.SAWarning)
        (command.upgrade if step.direction == "upgrade" else command.downgrade)(config, step.target)
    connection.commit()


def _check_references(*, ctx: MigrationContext, **_: object) -> None:
    """Refuse to commit a revision that leaves a reference to nothing (PostgreSQL sees to it by itself)."""
    connection = ctx.connection
    if connection is None or connection.dialect.name != "sqlite":
        return
    table_gone = connection.exec_driver_sql(_TABLE_GONE).first()
    if table_gone is not None:
        raise MigrationError(f"the table {table_gone[0]} refers to {table_gone[1]}, which would be gone")
    row_gone = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if row_gone is not None:
        raise MigrationError(f"a row of {row_gone[0]} refers to a row of {row_gone[2]} that would be gone")


def _is_lock_timeout(error: exc.DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    name = getattr(error.orig, "sqlite_errorname", "")
    return state in _LOCK_STATES or name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def _reason(error: BaseException) -> str:
    """Return the first line of what the driver said: the lines behind it may quote rows."""
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        return _reason(error.orig.__cause__ or error.orig)
    if isinstance(error, DatabaseUnavailable) and error.__cause__ is not None:
        return _reason(error.__cause__)
    if isinstance(error, ValueError):
        return "its URL is not valid"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _copy(path: Path, before: str, say: Say) -> None:
    """Copy a SQLite database that is not empty to `<file>.before-<module>-<revision>-<time>`."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    copy = path.with_name(f"{path.name}.before-{before}-{stamp}")
    unfinished = copy.with_name(f"{copy.name}.partial")
    try:
        with closing(sqlite3.connect(path)) as source:
            if source.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
                return
            say(f"copying {path.name} to {copy.name}")
            unfinished.touch(mode=0o600)
            with closing(sqlite3.connect(unfinished)) as destination:
                source.backup(destination)
        unfinished.rename(copy)
        _drop_old_copies(path)
    except (sqlite3.Error, OSError) as error:
        unfinished.unlink(missing_ok=True)
        raise MigrationError(f"{path} could not be copied, so nothing was changed: {error}") from error


def _drop_old_copies(path: Path) -> None:
    copies = {one for one in path.parent.iterdir() if one.name.startswith(f"{path.name}.before-")}
    whole = sorted((one for one in copies if one.name.endswith("Z")), key=lambda one: one.name.rpartition("-")[2])
    # Besides the oldest go the remains of copies in the middle of which a process was killed.
    for superfluous in copies - {*whole[-KEPT_COPIES:]}:
        superfluous.unlink()
