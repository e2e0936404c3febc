"""A connection whose statements are spans: named by what they do to which table, without their text and values."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from typing_extensions import override

from courtyard.kernel.database.drivers import Connection, Row, Statement
from courtyard.kernel.telemetry import Span, span

# What changes rows, anywhere in the statement: a SELECT over a WITH that inserts is an insertion.
_CHANGE = re.compile(r"\b(INSERT INTO|(?<!FOR )(?<!KEY )(?<!DO )UPDATE|DELETE FROM)\s+\"?(\w+)")
_READ = re.compile(r"\bFROM\s+\"?(\w+)")


@lru_cache(maxsize=4_096)
def name_of(sql: str) -> str:
    """Return the name of a statement.

    >>> name_of("SELECT id FROM account WHERE id = $1 FOR UPDATE")
    'SELECT account'
    >>> name_of("BEGIN IMMEDIATE")
    'BEGIN'
    """
    change = _CHANGE.search(sql)
    if change is not None:
        return f"{change[1].split()[0]} {change[2]}"
    read = _READ.search(sql)
    verb = sql.split(maxsplit=1)[0].upper()
    return verb if read is None else f"SELECT {read[1]}"


class TracedConnection(Connection):
    """Makes spans of what another connection does.

    Args:
        connection: what does it.
        system: the kind of database, as OpenTelemetry's conventions name it.
    """

    def __init__(self, connection: Connection, system: str) -> None:
        self._connection = connection
        self._system = system

    def _span(self, sql: str) -> Span:
        return span(name_of(sql), "client", {"db.system.name": self._system})

    @property
    @override
    def closed(self) -> bool:
        return self._connection.closed

    @override
    async def fetch(self, sql: str, args: Sequence[Any]) -> Sequence[Row]:
        with self._span(sql):
            return await self._connection.fetch(sql, args)

    @override
    async def execute(self, sql: str, args: Sequence[Any]) -> int:
        with self._span(sql):
            return await self._connection.execute(sql, args)

    @override
    async def fetch_each(self, statements: Sequence[Statement]) -> Sequence[Sequence[Row]]:
        # In one visit to the database, which is named after the last, for which the others prepare.
        with self._span(statements[-1][0]):
            return await self._connection.fetch_each(statements)

    @override
    async def begin(self) -> None:
        with self._span("BEGIN"):
            await self._connection.begin()

    @override
    async def commit(self, last: Sequence[Statement] = ()) -> None:
        with self._span("COMMIT"):
            await self._connection.commit(last)

    @override
    async def rollback(self) -> None:
        with self._span("ROLLBACK"):
            await self._connection.rollback()

    @override
    async def close(self) -> None:
        await self._connection.close()
