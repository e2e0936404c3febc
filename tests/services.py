"""What tests talk to beside themselves: databases that they make and drop, and Redis."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
import redis.asyncio as redis
from redis.exceptions import RedisError

from courtyard.kernel.application import installed
from courtyard.kernel.database import Database, sqlite_path
from courtyard.kernel.database.migrator import upgrade
from courtyard.kernel.settings import DatabaseSettings
from courtyard.server import KERNEL

Kind: TypeAlias = Literal["sqlite", "postgresql"]

POSTGRES_URLS = (
    "postgresql://postgres@127.0.0.1:5432",
    "postgresql://courtyard:courtyard@127.0.0.1:5432",
)
REDIS_URL = "redis://127.0.0.1:6379/0"
PARTS = [*KERNEL, *installed(["chat"])]


def missing(service: str, reason: object) -> NoReturn:
    """Skip the test that needs a service; where everything has to be there, fail it."""
    message = f"no {service}: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


class Databases:
    """Databases of one test process, built by the migrations.

    Args:
        folder: where the files of SQLite go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shared: dict[Kind, str] = {}
        # Migrations take a second or more, and are the same each time: what they make is copied.
        self._templates: dict[tuple[Kind, bool], str] = {}
        self._postgres: str | None = None
        self._why_not: str | None = None
        self._made: list[str] = []

    async def shared(self, kind: Kind) -> str:
        """Return the URL of the database that the tests of this process share."""
        if kind not in self._shared:
            self._shared[kind] = await self.new(kind)
        return self._shared[kind]

    async def new(self, kind: Kind, *, main: bool = True, migrated: bool = True) -> str:
        """Make a database and return its URL.

        Args:
            kind: what is behind it.
            main: whether it has the tables of the main side too.
            migrated: whether it has tables at all.
        """
        if not migrated:
            return await self._create(kind)
        if (kind, main) not in self._templates:
            url = await self._create(kind)
            database = Database(url, DatabaseSettings())
            await upgrade(database, PARTS, main=main)
            await database.close()
            self._templates[kind, main] = url
        return await self._create(kind, self._templates[kind, main])

    async def _create(self, kind: Kind, template: str | None = None) -> str:
        name = f"courtyard_test_{uuid4().hex}"
        if kind == "sqlite":
            url = f"sqlite:///{self._folder / name}.sqlite3"
            if template is not None:
                await asyncio.to_thread(shutil.copyfile, sqlite_path(template), sqlite_path(url))
            return url
        postgres = await self._server()
        copied = "" if template is None else f" TEMPLATE {template.rpartition('/')[2]}"
        await _run(postgres, f"CREATE DATABASE {name}{copied}")
        self._made.append(name)
        return f"{postgres}/{name}"

    def data_dir(self, url: str) -> Path:
        """Return the data directory of the servers on a database.

        They share it as they share the mail that waits in the database, which any of them may deliver into its outbox.
        """
        return self._folder / f"{url.rpartition('/')[2]}.data"

    async def _server(self) -> str:
        if self._postgres is None and self._why_not is None:
            chosen = os.environ.get("COURTYARD_TEST_POSTGRES")
            for url in [chosen.rstrip("/")] if chosen else POSTGRES_URLS:
                try:
                    await _run(url, "SELECT 1")
                except (OSError, TimeoutError, asyncpg.PostgresError) as error:
                    self._why_not = f"{urlsplit(url).hostname}: {error}"
                else:
                    self._postgres = url
                    break
        if self._postgres is None:
            missing("PostgreSQL", self._why_not)
        return self._postgres

    async def drop(self) -> None:
        """Drop what was made."""
        for name in self._made:
            await _run(self._postgres or "", f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres_database() -> Iterator[str]:
    """Make a PostgreSQL database for a test without a loop, and drop it behind it; give its URL."""
    databases = Databases(Path())
    url = asyncio.run(databases.new("postgresql", migrated=False))
    try:
        yield url
    finally:
        asyncio.run(databases.drop())


async def _run(server: str, statement: str) -> None:
    connection = await asyncpg.connect(f"{server}/postgres", timeout=5)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


class RedisSpace:
    """A part of Redis that belongs to one test process.

    Attributes:
        url: its address.
        prefix: goes before every key and channel.
    """

    def __init__(self) -> None:
        self.url = os.environ.get("COURTYARD_TEST_REDIS", REDIS_URL)
        self.prefix = f"courtyard-test-{uuid4().hex}"

    async def check(self) -> None:
        """Skip the test where Redis does not answer."""
        client = redis.from_url(self.url, socket_timeout=5.0)
        try:
            await client.ping()
        except (RedisError, OSError) as error:
            missing("Redis", error)
        finally:
            await client.aclose()

    async def clear(self) -> None:
        """Remove every key that was made here."""
        client = redis.from_url(self.url, socket_timeout=5.0)
        try:
            async for key in client.scan_iter(match=f"{self.prefix}*", count=1_000):
                await client.delete(key)
        except (RedisError, OSError):
            return
        finally:
            await client.aclose()
