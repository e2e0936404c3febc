"""Whether a database can take a workspace: reachable, new enough, with all rights, and empty or ours."""

import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import msgspec
from pydantic import TypeAdapter, ValidationError

from courtyard.kernel.application import Application
from courtyard.kernel.database import Connection, Database, DatabaseUnavailable, address, pending, sqlite_path
from courtyard.kernel.settings import DatabaseSettings, DatabaseUrl
from courtyard.kernel.shards.store import mark, marker_of

LEAST_POSTGRESQL = 13
# `RETURNING` and what else statements are made of.
LEAST_SQLITE = (3, 35, 0)
CLOCK_SKEW_SECONDS = 5.0
NAMED_TABLES = 3

_URL = TypeAdapter(DatabaseUrl)

_TABLES = {
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename",
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
}
# Everything that migrations and moves make, undone again.
_ATTEMPTS = {
    "postgresql": (
        ("make tables", "CREATE TABLE courtyard_check (id bigint PRIMARY KEY, note text)"),
        ("make indexes", "CREATE INDEX courtyard_check_note ON courtyard_check (note)"),
        (
            "make functions",
            "CREATE FUNCTION courtyard_check_fn() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        ),
        (
            "make triggers",
            """CREATE TRIGGER courtyard_check_tg AFTER INSERT ON courtyard_check
            FOR EACH ROW EXECUTE FUNCTION courtyard_check_fn()""",
        ),
        ("write rows", "INSERT INTO courtyard_check (id) VALUES (1)"),
    ),
    "sqlite": (
        ("make tables", "CREATE TABLE courtyard_check (id integer PRIMARY KEY)"),
        ("write rows", "INSERT INTO courtyard_check (id) VALUES (1)"),
    ),
}


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a database, about which part of its URL or of the database."""

    field: str
    detail: str


def normalised(url: str) -> str:
    """Return the URL of a database in the one form that is stored.

    Raises:
        ValueError: it is not to be understood; the message does not quote it.
    """
    try:
        return _URL.validate_python(url).get_secret_value()
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


async def check_database(
    url: str, settings: DatabaseSettings, parts: Sequence[Application], installation_id: UUID, seconds: float
) -> list[Fault]:
    """Return what keeps a database from taking a workspace; nothing where it can. Nothing of it stays.

    Args:
        url: as `normalised` returns it.
        settings: of the main database.
        parts: whose tables it has to have.
        installation_id: whose it may be.
        seconds: the longest wait for a connection.
    """
    database = Database(url, settings.model_copy(update={"acquire_timeout_seconds": seconds}))
    try:
        if database.is_sqlite:
            fault = _sqlite_fault(database)
            if fault is not None:
                return [fault]
        async with _writer(database) as connection:
            faults = [fault async for fault in _server_faults(connection, database)]
            faults += await _right_faults(connection, database)
        return faults + await _content_faults(database, parts, installation_id)
    except DatabaseUnavailable as error:
        return [_unreachable(url, error)]
    except asyncpg.PostgresError as error:
        return [Fault("database", f"refuses: {error}")]
    finally:
        await database.close()


async def claim(database: Database, installation_id: UUID, now: datetime) -> None:
    """Write into a database, whose tables have been made, whose it is.

    Raises:
        ValueError: somebody else was quicker.
    """
    if await mark(database, installation_id, now) != installation_id:
        raise ValueError(f"{address(database.url)} belongs to another installation")


async def holder_of(database: Database) -> tuple[list[str], UUID | None]:
    """Return the tables of a database, and the installation that it belongs to; None where it says nothing.

    Raises:
        DatabaseUnavailable: it does not answer.
    """
    async with _writer(database) as connection:
        tables = [row[0] for row in await connection.fetch(_TABLES[database.dialect.name], ())]
    return tables, await marker_of(database) if "shard_marker" in tables else None


@asynccontextmanager
async def _writer(database: Database) -> AsyncIterator[Connection]:
    connection = await database.writers.acquire()
    try:
        yield connection
    finally:
        database.writers.release(connection)


def _sqlite_fault(database: Database) -> Fault | None:
    folder = sqlite_path(database.url).parent
    if not folder.is_dir():
        return Fault("path", f"there is no folder {folder}")
    if sqlite3.sqlite_version_info < LEAST_SQLITE:
        return Fault("version", f"SQLite {sqlite3.sqlite_version} is too old")
    return None


async def _server_faults(connection: Connection, database: Database) -> AsyncIterator[Fault]:
    if database.is_sqlite:
        return
    ((version, encoding, standby, read_only),) = await connection.fetch(
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), "
        "pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'",
        (),
    )
    if version // 10_000 < LEAST_POSTGRESQL:
        yield Fault("version", f"PostgreSQL {version // 10_000} is too old: {LEAST_POSTGRESQL} or newer is needed")
    if encoding != "UTF8":
        yield Fault("encoding", f"its encoding is {encoding}: UTF8 is needed")
    if standby or read_only:
        yield Fault("host", "it is read only" + (" (a standby)" if standby else ""))
    asked = time.time()
    ((theirs,),) = await connection.fetch("SELECT extract(epoch FROM clock_timestamp())::float8", ())
    ours = (asked + time.time()) / 2
    if abs(theirs - ours) > CLOCK_SKEW_SECONDS:
        there = datetime.fromtimestamp(theirs, UTC)
        yield Fault("clock", f"its clock is {theirs - ours:+.0f} s off ({there:%H:%M:%S} UTC)")


async def _right_faults(connection: Connection, database: Database) -> list[Fault]:
    attempts = _ATTEMPTS[database.dialect.name]
    try:
        await connection.begin()
    except sqlite3.Error as error:
        return [Fault("path", f"cannot be written to: {error}")]
    try:
        for right, statement in attempts:
            try:
                await connection.execute(statement, ())
            except (asyncpg.PostgresError, sqlite3.Error) as error:
                return [Fault("user", f"may not {right}: {error}")]
    finally:
        await connection.rollback()
    return []


async def _content_faults(database: Database, parts: Sequence[Application], installation_id: UUID) -> list[Fault]:
    tables, owner = await holder_of(database)
    if not tables:
        return []
    if "workspace_placement" in tables:
        return [Fault("database", "is the main database of an installation of Courtyard")]
    if owner is None:
        named = ", ".join(tables[:NAMED_TABLES])
        return [Fault("database", f"is not empty, and not of Courtyard ({len(tables)} tables: {named}…)")]
    if owner != installation_id:
        return [Fault("database", "belongs to another installation of Courtyard")]
    newer = [state.module for state in await pending(database, parts, main=False) if state.newer_than_code]
    if newer:
        return [Fault("version", f"was migrated by a later version of Courtyard ({', '.join(newer)})")]
    return []


# What drivers raise when they cannot connect: to which part of the URL it points, and what it means.
_REASONS: tuple[tuple[type[BaseException], str, str], ...] = (
    (socket.gaierror, "host", "there is no such host"),
    (ConnectionRefusedError, "port", "nobody listens there"),
    (TimeoutError, "host", "no answer in time"),
    (asyncpg.InvalidCatalogNameError, "database", "there is no such database"),
    (asyncpg.InvalidPasswordError, "user", "the login is refused"),
    (asyncpg.InvalidAuthorizationSpecificationError, "user", "the login is refused"),
    (asyncpg.TooManyConnectionsError, "host", "it has no room for another connection"),
)


def _unreachable(url: str, error: DatabaseUnavailable) -> Fault:
    cause = error.__cause__ or error
    for kind, field, meaning in _REASONS:
        if isinstance(cause, kind):
            return Fault(field, f"{address(url)}: {meaning}")
    said = (str(cause).splitlines() or [type(cause).__name__])[0]
    return Fault("path" if url.startswith("sqlite:") else "host", f"{address(url)}: {said}")
