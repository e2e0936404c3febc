"""How far the histories of a database have come, and which revisions are still to be run.

Looks at file names and version tables without Alembic, so that a start and a health check can afford to ask.
What changes a database is in `migrator`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy import column, literal, select, table, union_all

from courtyard.kernel.application import Application
from courtyard.kernel.database.database import Database
from courtyard.kernel.database.drivers import sqlite_path

_REVISION_FILE = re.compile(r"(\d{4})_\w+\.py")

_POSTGRESQL_TABLES = """
    SELECT relname FROM pg_class WHERE relname = ANY($1::text[]) AND pg_table_is_visible(oid)
"""
_SQLITE_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'alembic_version_%'"


class MigrationError(Exception):
    """A migration cannot be run, with the reason in one line. What was not reported as done is undone."""


@dataclass(frozen=True)
class State:
    """How far one module has come in one database.

    Attributes:
        module: the name of the application or kernel module.
        current: the revision that the database is at; None before the first.
        revisions: every revision that this code has, oldest first.
    """

    module: str
    current: str | None
    revisions: tuple[str, ...]

    @property
    def newest(self) -> str | None:
        """The last revision of this code; None where there is none."""
        return self.revisions[-1] if self.revisions else None

    @property
    def newer_than_code(self) -> bool:
        """Whether the database is at a revision that this code does not have."""
        return self.current is not None and self.current not in self.revisions

    @property
    def applied(self) -> tuple[str, ...]:
        """The revisions that have been run, oldest first; empty where the database is newer than the code."""
        if self.current is None or self.newer_than_code:
            return ()
        return self.revisions[: self.revisions.index(self.current) + 1]

    @property
    def pending(self) -> tuple[str, ...]:
        """The revisions still to be run, oldest first; empty where the database is newer than the code."""
        return () if self.newer_than_code else self.revisions[len(self.applied) :]

    @property
    def ready(self) -> bool:
        """Whether this code can work with the database as it is."""
        return self.current == self.newest


def histories(parts: Sequence[Application], *, main: bool) -> list[Application]:
    """Return the parts whose tables belong into a database, in the order in which they are migrated.

    Args:
        parts: modules of the kernel, then applications.
        main: whether it is the main database, which holds the workspaces without a database of their own too.
    """
    return [part for part in parts if part.migrations is not None and (main or part.side == "workspace")]


def version_table(part: Application) -> str:
    """Return the name of the table in which Alembic keeps the revision of a part."""
    return f"alembic_version_{part.name}"


def revisions(part: Application) -> tuple[str, ...]:
    """Return the ids of all revisions of a part, oldest first, as its file names tell them."""
    if part.migrations is None:
        return ()
    names = (_REVISION_FILE.fullmatch(path.name) for path in part.migrations.glob("*.py"))
    return tuple(sorted(name[1] for name in names if name))


async def states(database: Database, parts: Sequence[Application], *, main: bool = True) -> list[State]:
    """Return how far each part has come in a database. Creates nothing, not even the file of SQLite.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    chosen = histories(parts, main=main)
    current = await _current(database, [version_table(part) for part in chosen])
    return [State(part.name, current.get(version_table(part)), revisions(part)) for part in chosen]


async def pending(database: Database, parts: Sequence[Application], *, main: bool = True) -> list[State]:
    """Return the parts that this code cannot work with: revisions are to be run, or the database is newer.

    Args:
        database: where to look; two short reads on one of its connections.
        parts: modules of the kernel, then applications.
        main: whether it is the main database.

    Raises:
        DatabaseUnavailable: the database does not answer.
    """
    return [state for state in await states(database, parts, main=main) if not state.ready]


async def _current(database: Database, version_tables: list[str]) -> dict[str, str]:
    if database.is_sqlite and not sqlite_path(database.url).exists():
        return {}
    connection = await database.readers.acquire()
    try:
        if database.is_sqlite:
            rows = await connection.fetch(_SQLITE_TABLES, ())
        else:
            rows = await connection.fetch(_POSTGRESQL_TABLES, (version_tables,))
        there = {row[0] for row in rows} & set(version_tables)
        if not there:
            return {}
        reads = (select(literal(name), column("version_num")).select_from(table(name)) for name in there)
        text = union_all(*reads).compile(dialect=database.dialect, compile_kwargs={"literal_binds": True})
        return {row[0]: row[1] for row in await connection.fetch(str(text), ())}
    except BaseException as error:
        if not isinstance(error, Exception):
            await connection.close()
        raise
    finally:
        database.readers.release(connection)


def address(url: str) -> str:
    """Return the URL of a database in a form that may be printed: without its password and options."""
    if url.startswith("sqlite:"):
        return url
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return f"{url.partition(':')[0]}://…"
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        # A password with a `/`, `?` or `#` that was not encoded: nobody knows what is which.
        return f"{parts.scheme}://…"
    user = f"{parts.username}@" if parts.username else ""
    return f"{parts.scheme}://{user}{parts.hostname or ''}{port}{parts.path}"
