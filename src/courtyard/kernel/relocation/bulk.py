"""Connections for much at once: SQLAlchemy's own, with no time-out on statements and a short one on locks."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
import asyncpg
from sqlalchemy import Connection, NullPool, event, exc
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from courtyard.kernel.database import Database, DatabaseUnavailable, address, sqlite_path

# Whoever waits for a lock of ours behind us waits no longer than that.
LOCK_SECONDS = 2.0
_READS = "courtyard_reads"


class Side:
    """One end of a move.

    Args:
        database: which database.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.is_sqlite = database.is_sqlite
        self.dialect = database.dialect
        scheme = "sqlite+aiosqlite://" if database.is_sqlite else "postgresql+asyncpg://"
        create = _sqlite(database) if database.is_sqlite else _postgresql(database)
        # Our own type takes JSON as text.
        options: dict[str, Any] = {} if database.is_sqlite else {"json_deserializer": _as_it_is}
        self._engine: AsyncEngine = create_async_engine(scheme, async_creator=create, poolclass=NullPool, **options)
        if database.is_sqlite:
            event.listen(self._engine.sync_engine, "begin", _begin)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that only reads, all of it as it is at its first statement."""
        options: dict[str, Any] = {_READS: True}
        if not self.is_sqlite:
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        async with self._connected() as connection:
            reading = await connection.execution_options(**options)
            async with reading.begin():
                yield reading

    @asynccontextmanager
    async def change(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that writes, committed at its end."""
        async with self._connected() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        try:
            async with self._engine.connect() as connection:
                yield connection
        except (OSError, exc.OperationalError, exc.InterfaceError, asyncpg.PostgresConnectionError) as error:
            raise DatabaseUnavailable(f"{address(self.database.url)}: {_first_line(error)}") from error

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection, whose locks last as long as it does."""
        async with self._connected() as connection:
            yield connection
        await self.close()

    async def close(self) -> None:
        """Let go of the engine."""
        await self._engine.dispose()


def is_lock_timeout(error: exc.DBAPIError) -> bool:
    """Return whether somebody else held a lock for too long."""
    state = getattr(error.orig, "sqlstate", None)
    return state in {"55P03", "40P01"} or "database is locked" in str(error.orig)


def _first_line(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).splitlines() or [type(cause).__name__])[0]


def _as_it_is(value: str) -> str:
    return value


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _postgresql(database: Database) -> Callable[..., Awaitable[Any]]:
    async def create(**_: object) -> Any:  # noqa: ANN401 - what SQLAlchemy expects
        return await asyncpg.connect(
            database.url,
            timeout=database.settings.acquire_timeout_seconds,
            server_settings={
                "application_name": "courtyard move",
                "timezone": "UTC",
                "lock_timeout": str(int(LOCK_SECONDS * 1_000)),
                "statement_timeout": "0",
                "idle_in_transaction_session_timeout": "0",
                "default_transaction_read_only": "off",
            },
        )

    return create


def _sqlite(database: Database) -> Callable[..., Awaitable[Any]]:
    async def create(**_: object) -> aiosqlite.Connection:
        connection = await aiosqlite.connect(sqlite_path(database.url), isolation_level=None)
        try:
            for pragma in (
                f"busy_timeout = {int(database.settings.busy_timeout_seconds * 1_000)}",
                "journal_mode = WAL",
                "synchronous = NORMAL",
                "foreign_keys = ON",
            ):
                await connection.execute_fetchall(f"PRAGMA {pragma}")
        except BaseException:
            # Its thread would keep the process from ending.
            await connection.close()
            raise
        return connection

    return create
