"""Server processes that are killed (`kill -9`) behind nginx, under load: what that costs, and what it must not."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from courtyard.kernel.http import API
from tests.deploy.cluster import Cluster, started
from tests.faults.load import Room, check_heard, check_stored
from tests.services import Databases, RedisSpace
from tests.sockets import Json

pytestmark = [pytest.mark.services, pytest.mark.slow]

WRITERS = 6
READERS = 2
KILLS = 4
BETWEEN = 30


@pytest.fixture
async def cluster(databases: Databases, redis_space: RedisSpace, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster of this test's own."""
    database = await databases.new("postgresql", migrated=False)
    changes = {"APPLICATIONS": "chat,probe", "TASKS__SWEEP_SECONDS": "0.2", "TASKS__RESEND_SECONDS": "3"}
    async with started(tmp_path, database, redis_space, **changes) as running:
        yield running


@dataclass(frozen=True)
class Failure:
    """A request that was not answered as it should be: when it began, and how it ended."""

    began: float
    what: str


class Crowd:
    """People who write and read through the proxy, each one request after the other, and never give up.

    Attributes:
        acknowledged: the messages that were.
        asked: the keys of the tasks that were.
        failed_writes: attempts that were not; each was made again.
        failed_reads: likewise.
    """

    def __init__(self, room: Room, url: str) -> None:
        self._room = room
        self._url = url + API + room.conversation.messages
        self._ended = False
        self._effects = url + API + f"/workspaces/{room.conversation.workspace.slug}/probe/effects"
        self.acknowledged: list[Json] = []
        self.asked: list[str] = []
        self.failed_writes: list[Failure] = []
        self.failed_reads: list[Failure] = []
        self.reads = 0

    async def write(self) -> None:
        """Write until the end."""
        async with self._client() as client:
            while not self._ended:
                new = {"text": "a message", "client_message_id": str(uuid4())}
                while (answer := await self._try(client, "POST", self.failed_writes, json=new)) is None:
                    pass
                self.acknowledged.append(answer)

    async def ask(self) -> None:
        """Ask for tasks until the end, each by a key by which it is known when it is asked for again."""
        async with self._client() as client:
            while not self._ended:
                key = str(uuid4())
                headers = {"Idempotency-Key": key}
                while (
                    await self._try(
                        client, "POST", self.failed_writes, self._effects, json={"key": key}, headers=headers
                    )
                    is None
                ):
                    pass
                self.asked.append(key)

    async def read(self) -> None:
        """Read until the end."""
        async with self._client() as client:
            while not self._ended:
                if await self._try(client, "GET", self.failed_reads) is not None:
                    self.reads += 1

    async def more(self, count: int) -> None:
        """Return when so many more messages are acknowledged."""
        goal = len(self.acknowledged) + count
        async with asyncio.timeout(60):
            while len(self.acknowledged) < goal:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.005)

    def end(self) -> None:
        """Let everybody end with what they are at."""
        self._ended = True

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(trust_env=False, timeout=30, headers=self._room.visitor.headers)

    async def _try(
        self, client: httpx2.AsyncClient, method: str, failures: list[Failure], url: str | None = None, **options: Json
    ) -> Json | None:
        began = time.monotonic()
        try:
            response = await client.request(method, url or self._url, **options)
        except httpx2.TransportError as error:
            failures.append(Failure(began, repr(error)))
            return None
        if response.status_code not in {200, 201}:
            failures.append(Failure(began, f"{response.status_code} {response.text}"))
            return None
        return response.json()


async def test_a_killed_server_costs_no_more_than_what_it_was_at(cluster: Cluster) -> None:
    room = await Room.open(cluster.servers[0])
    crowd = Crowd(room, cluster.url)
    kills: list[tuple[float, float]] = []
    async with room.listener(cluster.url) as one, room.listener(cluster.url, staff=True) as other:
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(crowd.write())
            group.create_task(crowd.ask())
            for _ in range(READERS):
                group.create_task(crowd.read())
            for number in range(KILLS):
                await crowd.more(BETWEEN)
                victim = cluster.servers[number % 2]
                before = time.monotonic()
                await victim.kill()
                kills.append((before, time.monotonic()))
                # The other one goes on alone.
                await crowd.more(BETWEEN)
                await victim.start()
            await crowd.more(BETWEEN)
            crowd.end()
        # What may be sent again without harm was sent to the other server: nobody who reads has noticed but those whose
        # answer had begun.
        assert {failure.what.partition("(")[0] for failure in crowd.failed_reads} <= {"RemoteProtocolError"}
        assert [failure for failure in crowd.failed_reads if not any(_in_flight(failure, kill) for kill in kills)] == []
        assert len(crowd.failed_reads) <= READERS * KILLS
        assert crowd.reads > 0
        # Of those who write, each had at most one request in flight at each kill. Nothing that began later has failed.
        assert len(crowd.failed_writes) <= (WRITERS + 1) * KILLS
        assert {failure.what.partition(" ")[0] for failure in crowd.failed_writes} <= {"502"}
        assert [
            failure for failure in crowd.failed_writes if not any(_in_flight(failure, kill) for kill in kills)
        ] == []
        # What was acknowledged is there once, and everybody has heard all of it, in order.
        stored = await check_stored(room, cluster.url, crowd.acknowledged)
        # With that somebody of the staff has joined.
        assert len(stored) == len(crowd.acknowledged) + 1
        await check_heard(room, cluster.url, stored, [one, other])
        # Each task that was acknowledged has been done, by the workers, once.
        assert len(crowd.asked) > KILLS
        assert sorted(await effects(cluster, len(crowd.asked))) == sorted(crowd.asked)
    assert [server.faults for server in cluster.servers] == [[], []]
    assert all(each.runs for each in cluster.processes)


async def effects(cluster: Cluster, count: int) -> list[str]:
    """Return the keys of the effects that tasks have left, as soon as there are so many."""
    connection = await asyncpg.connect(cluster.database)
    try:
        async with asyncio.timeout(60):
            while True:
                rows = await connection.fetch("SELECT data->>'key' FROM event WHERE name = 'probe.effect.done'")
                if len(rows) >= count:
                    return [row[0] for row in rows]
                await asyncio.sleep(0.1)
    finally:
        await connection.close()


def _in_flight(failure: Failure, kill: tuple[float, float]) -> bool:
    """Return whether a request had begun when a process was gone, and not long before: it would have ended."""
    before, after = kill
    return before - 5 <= failure.began <= after
