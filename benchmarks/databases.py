"""Databases that live as long as one run, and the rows of the HTTP peers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import asyncpg

from benchmarks.contest import BenchmarkError

CONVERSATIONS: Final = 32
MESSAGES_EACH: Final = 60
# As long as what the generator posts, so that pages stay of one size while posts are added to them.
TEXT: Final = "A message of the usual length, neither a word nor a letter, as people write to one another."
CONVERSATION_IDS: Final = [UUID(int=(0x01890000_0000_7000 << 64) + (8 << 60) + n) for n in range(CONVERSATIONS)]

SCHEMA: Final = Path(__file__).parent / "peers" / "schema.sql"
FILL: Final = """
    INSERT INTO messages (id, conversation_id, author_id, text, client_message_id)
    SELECT gen_random_uuid(), conversation_id, $2, $3, gen_random_uuid()
    FROM generate_series(1, $4) AS turn, unnest($1::uuid[]) AS conversation_id
"""


def address_of_postgres() -> str:
    """Return the address that a database of this run is made through."""
    return os.environ.get("COURTYARD_TEST_POSTGRES") or "postgresql://postgres@127.0.0.1:5432"


def version_of_postgres() -> str:
    """Return the version of the PostgreSQL that is measured on.

    Raises:
        BenchmarkError: it cannot be reached.
    """
    try:
        return str(_on(address_of_postgres(), lambda connection: connection.fetchval("SHOW server_version")))
    except (OSError, asyncpg.PostgresError, TimeoutError) as problem:
        raise BenchmarkError(
            f"PostgreSQL does not answer at {urlsplit(address_of_postgres()).netloc.rpartition('@')[2]} ({problem}). "
            "Start it, or name another in COURTYARD_TEST_POSTGRES."
        ) from None


@contextmanager
def temporary_database(purpose: str) -> Iterator[str]:
    """Make a database, yield its address, and drop it."""
    admin = address_of_postgres()
    name = f"courtyard_bench_{purpose}_{uuid4().hex[:8]}"
    _on(admin, lambda connection: connection.execute(f'CREATE DATABASE "{name}"'))
    try:
        yield urlsplit(admin)._replace(path=f"/{name}").geturl()
    finally:
        _on(admin, lambda connection: connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'))


def fill_for_peers(address: str) -> None:
    """Make the table of the HTTP peers and its rows: MESSAGES_EACH in each of CONVERSATION_IDS."""
    author = UUID(int=1)
    _on(address, lambda connection: connection.execute(SCHEMA.read_text()))
    _on(address, lambda connection: connection.execute(FILL, CONVERSATION_IDS, author, TEXT, MESSAGES_EACH))
    _on(address, lambda connection: connection.execute("VACUUM ANALYZE messages"))


def _on(address: str, work: Callable[[asyncpg.Connection[Any]], Awaitable[object]]) -> object:
    async def connected() -> object:
        connection = await asyncpg.connect(address, timeout=10)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())
