"""Server processes on databases of their own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.faults.load import Server
from tests.processes import OwnRedis, own_redis

StartServer: TypeAlias = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StartServer]:
    """Starts a server by name on a database, building that first unless told otherwise. It ends with the test."""
    # A server that compiles every module anew takes twice as long to come back.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    started: list[Server] = []

    async def start(database: str, *, name: str = "server", migrate: bool = True, **settings: str) -> Server:
        server = Server(tmp_path, name, {"DATABASE__URL": database, **settings})
        started.append(server)
        if migrate:
            await server.migrate()
        await server.start()
        return server

    yield start
    for server in started:
        await server.close()


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[OwnRedis]:
    """A Redis that a test may do anything to."""
    async with own_redis(tmp_path) as process:
        yield process
