"""PostgreSQL or Redis goes away under load: writers who try again, and listeners, end up with everything."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from tests.clients import Listener
from tests.faults.conftest import StartServer
from tests.faults.load import Load, Room, Server, check
from tests.processes import OwnRedis
from tests.services import Databases

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.services]
ROUNDS = 10


class Pair:
    """Two server processes of one installation, with load on both and listeners at both."""

    def __init__(self, database: str, servers: list[Server], load: Load, listeners: list[Listener]) -> None:
        self.database = urlsplit(database).path.removeprefix("/")
        self.postgres = database.rpartition("/")[0] + "/postgres"
        self.servers = servers
        self.load = load
        self.listeners = listeners

    async def caught_up(self) -> None:
        """Return when each listener has heard of as many messages as are acknowledged by now."""
        for listener in self.listeners:
            await listener.reach(self.load.count)


@pytest.fixture
async def pair(databases: Databases, redis: OwnRedis, start_server: StartServer) -> AsyncIterator[Pair]:
    """Two servers under load, which ends with the test, and is checked then."""
    database = await databases.new("postgresql", migrated=False)
    servers = [
        await start_server(database, name=name, migrate=name == "one", REDIS__URL=redis.url)
        for name in ("one", "other")
    ]
    urls = [server.url for server in servers]
    room = await Room.open(servers[0])
    load = Load(room, urls)
    async with room.listener(urls[0]) as first, room.listener(urls[1], staff=True) as second:
        listeners = [first, second]
        async with load.run():
            yield Pair(database, servers, load, listeners)
        for url in urls:
            await check(load, url, listeners)
        for server in servers:
            assert server.faults == []
            assert server.runs


async def _execute(pair: Pair, statement: str, *arguments: str) -> None:
    connection = await asyncpg.connect(pair.postgres, timeout=10)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1"


async def test_every_connection_to_postgresql_is_cut(pair: Pair) -> None:
    for _ in range(ROUNDS):
        await pair.load.more(20)
        await asyncio.sleep(random.uniform(0, 0.1))
        await _execute(pair, TERMINATE, pair.database)
    await pair.load.more(20)


async def test_postgresql_lets_nobody_in(pair: Pair) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        for _ in range(3):
            await pair.load.more(20)
            await _execute(pair, f"ALTER DATABASE {pair.database} ALLOW_CONNECTIONS false")
            await _execute(pair, TERMINATE, pair.database)
            for server in pair.servers:
                await _until_ready_is(client, server, 503)
            await _execute(pair, f"ALTER DATABASE {pair.database} ALLOW_CONNECTIONS true")
            for server in pair.servers:
                await _until_ready_is(client, server, 200)
    await pair.load.more(20)
    assert pair.load.retries > 0


async def _until_ready_is(client: httpx2.AsyncClient, server: Server, status: int) -> None:
    async with asyncio.timeout(30):
        while (await client.get(f"{server.url}/health/ready")).status_code != status:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_every_connection_to_redis_is_cut(pair: Pair, redis: OwnRedis) -> None:
    for _ in range(ROUNDS):
        await pair.load.more(20)
        await redis.kill_connections()
        await pair.load.more(20)
        await pair.caught_up()
    # Nobody noticed.
    assert pair.load.retries == 0
    assert [listener.cuts for listener in pair.listeners] == [0, 0]


async def test_redis_is_killed_and_comes_back(pair: Pair, redis: OwnRedis) -> None:
    for _ in range(3):
        await pair.load.more(20)
        await redis.kill()
        await pair.load.more(50)
        # What the other process wrote is read from the log, after the next event of one's own or in the sweep.
        await pair.caught_up()
        await redis.start()
        await pair.load.more(50)
        await pair.caught_up()
    assert pair.load.retries == 0
    assert [listener.cuts for listener in pair.listeners] == [0, 0]
    found = [await server.metric("courtyard_events_found_total") for server in pair.servers]
    log.info("%s: %s", "found_by_sweep", sum(found))


async def test_redis_hangs(pair: Pair, redis: OwnRedis) -> None:
    await pair.load.more(20)
    await redis.pause()
    await pair.load.more(100)
    await pair.caught_up()
    await redis.resume()
    await pair.load.more(20)
    assert pair.load.retries == 0


async def test_listeners_are_cut_off_and_come_back(pair: Pair) -> None:
    for _ in range(ROUNDS):
        for listener in pair.listeners:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(listener.cut(), 30)
        await pair.load.more(20)
    assert min(listener.cuts for listener in pair.listeners) >= ROUNDS - 1
