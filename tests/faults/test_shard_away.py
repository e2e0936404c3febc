"""The database of one workspace goes away under load: it alone is refused, loses nothing, and comes back by itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx2
import pytest

from courtyard.kernel.database import address
from courtyard.kernel.http import API
from tests.factories import problem
from tests.faults.conftest import StartServer
from tests.faults.load import Load, ProcessFactory, Room, Server, check
from tests.faults.proxies import Proxy, proxy
from tests.processes import PROGRAM, OwnRedis, Process
from tests.services import Databases

pytestmark = [pytest.mark.slow, pytest.mark.services]

ANSWER_SECONDS, RETRY_SECONDS = 1.0, 1.0
# Two looks, each within a second, and the answer that does not come.
FOUND_SECONDS = 2 * 0.9 + ANSWER_SECONDS + 2
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"


async def run(server: Server, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command of an operator; return its status and what it told."""
    command = Process([*PROGRAM, *arguments], folder / f"{arguments[0]}-{time.monotonic_ns()}.log", server._environment)
    await command.start()
    return await asyncio.wait_for(command.wait(), 60), command.output.read_text()


async def settle(server: Server, folder: Path, slug: str, url: str) -> None:
    status, told = await run(server, folder, "workspaces", "database", "set", slug, "--database", url)
    assert status == 0, told


class Away:
    """The ways in which a database is not there."""

    def __init__(self, url: str, between: Proxy) -> None:
        self._url = url
        self._proxy = between

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        await self._proxy.cut()
        yield
        await self._proxy.open()

    @asynccontextmanager
    async def silent(self) -> AsyncIterator[None]:
        self._proxy.hang()
        yield
        await self._proxy.open()

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        server, _, name = self._url.rpartition("/")
        connection = await asyncpg.connect(f"{server}/postgres", timeout=10)
        try:
            await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await connection.execute(TERMINATE, name)
            yield
            await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        finally:
            await connection.close()


async def refused(room: Room, server: Server) -> None:
    """See that requests get their 503 sooner than by any time-out of theirs."""
    async with httpx2.AsyncClient(trust_env=False, timeout=30, headers=room.visitor.headers) as http:
        for longest in (FOUND_SECONDS, ANSWER_SECONDS + 1):
            started = time.monotonic()
            answer = await http.get(server.url + API + room.conversation.messages)
            assert time.monotonic() - started < longest, (server.port, longest, answer.text)
            problem(answer, 503, "database_unavailable")
            assert 1 <= int(answer.headers["retry-after"]) <= FOUND_SECONDS


@pytest.mark.usefixtures("quiet_logs")
async def test_one_that_is_away_is_away_for_its_workspace_alone(
    databases: Databases, redis: OwnRedis, start_server: StartServer, tmp_path: Path
) -> None:
    database = await databases.new("postgresql", migrated=False)
    own, third = [await databases.new("postgresql", main=False, migrated=False) for _ in range(2)]
    settings = {
        "REDIS__URL": redis.url,
        "SHARDS__ANSWER_SECONDS": str(ANSWER_SECONDS),
        "SHARDS__RETRY_SECONDS": str(RETRY_SECONDS),
    }
    servers = [await start_server(database, name=name, migrate=name == "one", **settings) for name in ("one", "other")]
    urls = [server.url for server in servers]
    one = servers[0]
    factory = ProcessFactory(one)
    async with proxy(own) as between:
        workspace, empty = await factory.workspace(), await factory.workspace()
        await settle(one, tmp_path, workspace.slug, between.url)
        await settle(one, tmp_path, empty.slug, third)
        room, neighbour = await Room.open(one, workspace), await Room.open(one)
        load, beside = Load(room, urls), Load(neighbour, urls)
        away = Away(own, between)
        ways: list[Callable[[], AbstractAsyncContextManager[None]]] = [away.unreachable, away.silent, away.closed]
        async with neighbour.listener(urls[0]) as first, neighbour.listener(urls[1], staff=True) as second:
            async with load.run(), beside.run():
                for way in ways:
                    await load.more(20)
                    async with way():
                        await asyncio.gather(*(refused(room, server) for server in servers))
                        count = load.count
                        await beside.more(20)
                        assert load.count == count
                        if way != away.silent:
                            status, told = await run(one, tmp_path, "migrate", "up")
                            assert status == 1
                            assert f"{address(between.url)} cannot be reached" in told
                            assert address(third) in told
                            assert told.count("nothing to do") == 2
                await load.more(20)
            for url in urls:
                await check(load, url, [])
                await check(beside, url, [first, second])
    assert load.retries > 0
    assert beside.retries == 0
    assert [listener.cuts for listener in (first, second)] == [0, 0]
    # Nobody of the others has waited for it.
    assert beside.longest_seconds < FOUND_SECONDS
    assert one.faults + servers[1].faults == []
