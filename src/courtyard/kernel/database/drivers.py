"""One thin face over asyncpg and aiosqlite: run a text of SQL, begin, commit, roll back; say what an error means."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeAlias

import aiosqlite
import asyncpg
from sqlalchemy import Dialect, PrimaryKeyConstraint, UniqueConstraint
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite
from typing_extensions import override

from courtyard.kernel.database.errors import DatabaseUnavailable, UniqueViolation
from courtyard.kernel.database.models import MainBase, WorkspaceBase
from courtyard.kernel.settings import DatabaseSettings

POSTGRESQL: Dialect = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
SQLITE: Dialect = SQLiteDialect_aiosqlite()

Row: TypeAlias = Sequence[Any]
# Text and values.
Statement: TypeAlias = tuple[str, Sequence[Any]]


class Connection(Protocol):
    """An open connection. Errors come out as `UniqueViolation`, `DatabaseUnavailable`, or the driver's own."""

    @property
    def closed(self) -> bool:
        """Whether the connection is known to be unusable."""
        ...

    async def fetch(self, sql: str, args: Sequence[Any]) -> Sequence[Row]:
        """Run a statement and return its rows."""
        ...

    async def execute(self, sql: str, args: Sequence[Any]) -> int:
        """Run a statement and return the number of rows that it changed."""
        ...

    async def fetch_each(self, statements: "Sequence[Statement]") -> Sequence[Sequence[Row]]:
        """Run statements one after the other and return the rows of each."""
        ...

    async def begin(self) -> None:
        """Open a transaction that may write (on SQLite `BEGIN IMMEDIATE`, so that it never has to upgrade)."""
        ...

    async def commit(self, last: "Sequence[Statement]" = ()) -> None:
        """Run what is still to be run, and make the transaction durable."""
        ...

    async def rollback(self) -> None:
        """Undo the transaction."""
        ...

    async def close(self) -> None:
        """Close the connection, without waiting for a server that is gone."""
        ...


_POSTGRES_ERRORS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class PostgresConnection(Connection):
    """asyncpg. Statements are prepared once per connection by the driver's own cache."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str, settings: DatabaseSettings, *, read_only: bool) -> Self:
        """Connect, with the time-outs of the settings; a read-only connection is refused every write by the server."""
        server_settings = {
            "application_name": "courtyard",
            "timezone": "UTC",
            "statement_timeout": str(int(settings.statement_timeout_seconds * 1000)),
            "lock_timeout": str(int(settings.lock_timeout_seconds * 1000)),
            "idle_in_transaction_session_timeout": str(int(settings.statement_timeout_seconds * 2000)),
            "default_transaction_read_only": "on" if read_only else "off",
            # Just-in-time compilation costs more than it saves on statements that touch a few rows.
            "jit": "off",
        }
        try:
            connection = await asyncpg.connect(
                url, timeout=settings.acquire_timeout_seconds, server_settings=server_settings
            )
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise DatabaseUnavailable("No connection to the database.") from error
        return cls(connection)

    @property
    @override
    def closed(self) -> bool:
        return self._connection.is_closed()

    @override
    async def fetch(self, sql: str, args: Sequence[Any]) -> Sequence[Row]:
        try:
            rows: Sequence[Row] = await self._connection.fetch(sql, *args)  # type: ignore[assignment]  # a Record is one
        except _POSTGRES_ERRORS as error:
            raise self._failed(error) from error
        return rows

    @override
    async def execute(self, sql: str, args: Sequence[Any]) -> int:
        try:
            status = await self._connection.execute(sql, *args)
        except _POSTGRES_ERRORS as error:
            raise self._failed(error) from error
        _, _, count = status.rpartition(" ")
        return int(count) if count.isdigit() else 0

    @override
    async def fetch_each(self, statements: Sequence[Statement]) -> Sequence[Sequence[Row]]:
        return [await self.fetch(sql, args) for sql, args in statements]

    @override
    async def begin(self) -> None:
        await self.execute("BEGIN", ())

    def _failed(self, error: Exception) -> Exception:
        """Return the error of ours for one of the driver. A connection that the server gives up is closed by it."""
        is_fatal = getattr(error, "severity_en", None) in {"FATAL", "PANIC"}
        if is_fatal or isinstance(error, asyncpg.InternalClientError):
            # The second is what the driver says between the last word of the server and its hanging up.
            self._connection.terminate()
        return _postgres_error(error)

    @override
    async def commit(self, last: Sequence[Statement] = ()) -> None:
        for sql, args in last:
            await self.execute(sql, args)
        await self.execute("COMMIT", ())

    @override
    async def rollback(self) -> None:
        await self.execute("ROLLBACK", ())

    @override
    async def close(self) -> None:
        if not self._connection.is_closed():
            self._connection.terminate()


# What the fence of a workspace that is moved says (`relocation.capture`).
FENCED_STATE = "CY001"
FENCED_MESSAGE = "courtyard: this workspace is being moved"


def _fenced() -> DatabaseUnavailable:
    return DatabaseUnavailable("This workspace is being moved; it can be changed again in a moment.")


def _postgres_error(error: Exception) -> Exception:
    """Return the error of ours for one of the driver; the classes are those of PostgreSQL's appendix A."""
    if getattr(error, "sqlstate", None) == FENCED_STATE:
        return _fenced()
    if isinstance(error, asyncpg.UniqueViolationError):
        return UniqueViolation(error.constraint_name or "")
    operational = (
        OSError,
        asyncpg.PostgresConnectionError,  # class 08
        asyncpg.InsufficientResourcesError,  # class 53: disk full, too many connections
        asyncpg.OperatorInterventionError,  # class 57: shutdown, cancelled by the time-out
        asyncpg.LockNotAvailableError,
        asyncpg.DeadlockDetectedError,
        asyncpg.SerializationError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
    )
    if isinstance(error, operational) and not isinstance(error, asyncpg.DataError):
        return DatabaseUnavailable(type(error).__name__)
    return error


# Pages of the log before they are moved into the file, which the writer waits for: 32 MB. Pages that are written again
# and again are moved once, so that an audited change took a third less time than with the 1,000 pages of SQLite itself.
WAL_PAGES: Final = 8_000


class SqliteConnection(Connection):
    """aiosqlite: the connection lives on a thread of its own."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection: aiosqlite.Connection | None = connection

    @classmethod
    async def open(cls, url: str, settings: DatabaseSettings, *, read_only: bool) -> Self:
        """Open the file. A read-only connection is refused every write by SQLite itself."""
        pragmas = (
            f"busy_timeout = {int(settings.busy_timeout_seconds * 1000)}",
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "foreign_keys = ON",
            "temp_store = MEMORY",
            f"wal_autocheckpoint = {WAL_PAGES}",
            f"query_only = {'ON' if read_only else 'OFF'}",
        )
        try:
            connection = await aiosqlite.connect(sqlite_path(url), isolation_level=None)
        except sqlite3.Error as error:
            raise DatabaseUnavailable(str(error)) from error
        try:
            for pragma in pragmas:
                await connection.execute_fetchall(f"PRAGMA {pragma}")
        except BaseException as error:
            # Its thread would keep the process alive.
            await connection.close()
            if isinstance(error, sqlite3.Error):
                raise DatabaseUnavailable(str(error)) from error
            raise
        return cls(connection)

    @property
    @override
    def closed(self) -> bool:
        return self._connection is None

    @override
    async def fetch(self, sql: str, args: Sequence[Any]) -> Sequence[Row]:
        try:
            return list(await self._open.execute_fetchall(sql, args))
        except sqlite3.Error as error:
            raise _sqlite_error(error) from error

    @override
    async def execute(self, sql: str, args: Sequence[Any]) -> int:
        try:
            async with self._open.execute(sql, args) as cursor:
                return cursor.rowcount
        except sqlite3.Error as error:
            raise _sqlite_error(error) from error

    @override
    async def fetch_each(self, statements: Sequence[Statement]) -> Sequence[Sequence[Row]]:
        connection = self._open

        def run() -> Sequence[Sequence[Row]]:
            return [connection._conn.execute(sql, args).fetchall() for sql, args in statements]  # noqa: SLF001

        try:
            # What aiosqlite's own methods are made of: several statements in one visit to its thread.
            return await connection._execute(run)  # type: ignore[no-any-return, no-untyped-call]  # noqa: SLF001
        except sqlite3.Error as error:
            raise _sqlite_error(error) from error

    @override
    async def begin(self) -> None:
        await self.execute("BEGIN IMMEDIATE", ())

    @override
    async def commit(self, last: Sequence[Statement] = ()) -> None:
        await self.fetch_each([*last, ("COMMIT", ())])

    @override
    async def rollback(self) -> None:
        try:
            # Behind what was interrupted and still runs on the thread, which may only then open a transaction. Does
            # nothing where there is none.
            await self._open.rollback()
        except sqlite3.Error as error:
            raise _sqlite_error(error) from error

    @override
    async def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    @property
    def _open(self) -> aiosqlite.Connection:
        if self._connection is None:
            raise DatabaseUnavailable("The connection is closed.")
        return self._connection


def _sqlite_error(error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorname", "")
    if code == "SQLITE_CONSTRAINT_TRIGGER" and str(error) == FENCED_MESSAGE:
        return _fenced()
    if code in {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY"}:
        return UniqueViolation(_constraint_of(str(error)))
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")):
        return DatabaseUnavailable(code)
    return error


def _constraint_of(message: str) -> str:
    """Return the name of the constraint that SQLite tells by its columns.

    The messages are "UNIQUE constraint failed: account.email, account.kind" and, for an index on an expression,
    "UNIQUE constraint failed: index 'uq_account_email'".
    """
    what = message.partition("failed: ")[2]
    if what.startswith("index '"):
        return what.removeprefix("index '").rstrip("'")
    table_name = what.partition(".")[0]
    columns = {column.strip().partition(".")[2] for column in what.split(",")}
    for base in (MainBase, WorkspaceBase):
        table = base.metadata.tables.get(table_name)
        if table is None:
            continue
        unique = [c for c in table.constraints if isinstance(c, (UniqueConstraint, PrimaryKeyConstraint))]
        for candidate in (*unique, *(index for index in table.indexes if index.unique)):
            if set(candidate.columns.keys()) == columns:
                return str(candidate.name)
    return what


def sqlite_path(url: str) -> Path:
    """Return the file of a `sqlite:///path` URL (three slashes, then a relative or absolute path)."""
    return Path(url.removeprefix("sqlite:///"))
