"""Which database a workspace lives in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

import structlog
from typing_extensions import override

from courtyard.kernel.database.database import Database
from courtyard.kernel.database.errors import DatabaseUnavailable
from courtyard.kernel.database.migrations import address

log = structlog.get_logger()

# The tenant of what belongs to no workspace (idempotency keys and events of accounts); it lives in the main database.
INSTALLATION = UUID(int=0)


class Placement(Protocol):
    """Knows the main database and the database of each workspace."""

    @property
    def main(self) -> Database:
        """The database of accounts, sessions, workspaces and memberships."""
        ...

    async def database_of(self, workspace_id: UUID) -> Database:
        """Return the database that holds the rows of a workspace."""
        ...

    def databases(self) -> Sequence[Database]:
        """Return every database that is in use, the main one first."""
        ...

    async def load(self) -> None:
        """Learn from the main database, which is up to date, where workspaces live."""
        return

    def start(self) -> None:
        """Look after the databases in the background, until `close`."""
        return

    def forget(self) -> None:
        """Look into the main database again before the next answer."""
        return

    async def close(self) -> None:
        """Close the idle connections to all databases."""
        for database in self.databases():
            await database.close()


@contextmanager
def passing_over(database: Database) -> Iterator[None]:
    """Let background work go on with the next database where one is away, or has not the tables of this code.

    Its faults are logged: what does the same again and again is tried again anyway.
    """
    try:
        yield
    except DatabaseUnavailable as error:
        log.warning("database.passed_over", database=address(database.url), error=error.detail)
    except Exception:
        log.exception("database.fault", database=address(database.url))


class SharedPlacement(Placement):
    """The default: every workspace lives in the main database."""

    def __init__(self, main: Database) -> None:
        self._main = main

    @property
    @override
    def main(self) -> Database:
        return self._main

    @override
    async def database_of(self, workspace_id: UUID) -> Database:
        return self._main

    @override
    def databases(self) -> Sequence[Database]:
        return (self._main,)
