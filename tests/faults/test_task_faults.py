"""Workers that are killed, brokers that lose everything or are away: what was committed is done, and once."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from courtyard.kernel.tasks import enqueue
from tests.faults.load import quiet_port
from tests.kernel.tasks import probe
from tests.kernel.tasks.crews import Crew, Runner, make_crew, own_vhost, purge
from tests.kernel.tasks.probe import Key, Rest
from tests.processes import OwnRedis, own_redis
from tests.services import Databases, Kind

pytestmark = [pytest.mark.slow, pytest.mark.services]
SECONDS = 120
MANY = 10_000
# Tasks that are done between two kills.
EACH = 1_000

Make = Callable[..., Awaitable[Crew]]


@pytest.fixture
async def make(databases: Databases, tmp_path: Path) -> AsyncIterator[Make]:
    """Makes installations without workers. They end with the test."""
    made: list[Crew] = []

    async def one(runner: Runner, broker: str | None = None, kind: Kind = "postgresql", **changes: Any) -> Crew:
        crew = await make_crew(databases, tmp_path, kind, runner, broker, **changes)
        made.append(crew)
        return crew

    yield one
    for crew in made:
        await crew.close()


async def all_done(crew: Crew, count: int) -> None:
    """Return when so many tasks are done; none may have failed."""
    try:
        rows = await crew.house.until("done", count=count, seconds=SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{str(error)[:2_000]}\n{crew.said()[-4_000:]}") from None
    assert len(rows) == count


async def check_effects(crew: Crew, keys: list[str]) -> None:
    """Compare what was done with what was asked for."""
    counted = Counter(await crew.house.effects())
    assert {key for key, times in counted.items() if times > 1} == set(), "done more than once"
    assert set(counted) == set(keys)


async def until_running(crew: Crew, count: int = 1) -> None:
    await crew.house.until("running", count=count, seconds=SECONDS)


@pytest.mark.parametrize(("runner", "kind"), [("worker", "sqlite"), ("worker", "postgresql"), ("celery", "postgresql")])
async def test_a_worker_is_killed_in_a_task(make: Make, runner: Runner, kind: Kind) -> None:
    async with contextlib.AsyncExitStack() as stack:
        broker = await stack.enter_async_context(own_vhost()) if runner == "celery" else None
        crew = await make(runner, broker, kind)
        worker = await crew.hire()
        await crew.house.enqueue(probe.rest, Rest("rested", 3.0))
        await until_running(crew)
        await worker.kill()
        await crew.hire()
        await all_done(crew, 1)
        (row,) = await crew.house.rows()
        assert row.attempt > 1
        await check_effects(crew, ["rested"])
        await crew.close()


async def test_a_worker_that_is_asked_to_end_hands_back(make: Make) -> None:
    crew = await make("worker", lease_seconds=600)
    crew.environment["COURTYARD_SERVER__SHUTDOWN_TIMEOUT_SECONDS"] = "1"
    worker = await crew.hire()
    await crew.house.enqueue(probe.rest, Rest("rested", 5.0))
    await until_running(crew)
    assert await worker.stop() == 0
    row = await crew.house.row()
    assert (row.state, row.tries) == ("waiting", 0)
    await crew.hire()
    await all_done(crew, 1)


async def test_the_queues_of_rabbitmq_are_purged(make: Make) -> None:
    async with own_vhost() as broker:
        crew = await make("celery", broker)
        # Makes the queues, and is done.
        first = await crew.hire()
        await crew.house.enqueue(probe.leave, "first")
        await all_done(crew, 1)
        await first.kill()
        keys = [f"purged-{number}" for number in range(20)]
        for key in keys:
            await crew.house.enqueue(probe.leave, key)
        await until_sent(crew, 21)
        await purge(broker)
        await crew.hire()
        await all_done(crew, 21)
        await check_effects(crew, ["first", *keys])
        await crew.close()


async def until_sent(crew: Crew, count: int) -> None:
    """Return when the broker has been told of so many tasks."""
    async with asyncio.timeout(SECONDS):
        while True:
            sent = sum(row.sends > 0 or row.state == "done" for row in await crew.house.rows())
            if sent >= count:
                return
            await asyncio.sleep(0.05)


async def test_redis_is_flushed(make: Make, tmp_path: Path) -> None:
    async with own_redis(tmp_path) as redis:
        crew = await make("celery", redis.url)
        keys = [f"flushed-{number}" for number in range(20)]
        for key in keys:
            await crew.house.enqueue(probe.leave, key)
        await until_sent(crew, 20)
        await redis.command("FLUSHALL")
        await crew.hire()
        await all_done(crew, 20)
        await check_effects(crew, keys)
        await crew.close()


async def test_a_broker_that_is_away_holds_up_no_request(make: Make, tmp_path: Path) -> None:
    redis = OwnRedis(tmp_path)
    crew = await make("celery", redis.url, broker_timeout_seconds=1)
    started = time.monotonic()
    for number in range(20):
        await crew.house.enqueue(probe.leave, f"away-{number}")
    # Each of them would have waited for the broker, if any had.
    assert time.monotonic() - started < 20
    async with own_redis_again(redis):
        await crew.hire()
        await all_done(crew, 20)
        await check_effects(crew, [f"away-{number}" for number in range(20)])
        # And away again, with everything in it, under a worker that runs.
        await redis.kill()
        await crew.house.enqueue(probe.leave, "while it was away")
        await redis.start()
        await all_done(crew, 21)
        await crew.close()


@contextlib.asynccontextmanager
async def own_redis_again(redis: OwnRedis) -> AsyncIterator[None]:
    await redis.start()
    try:
        yield
    finally:
        await redis.kill()


class Line:
    """What carries bytes to RabbitMQ, and can be cut."""

    def __init__(self, broker: str) -> None:
        parts = urlsplit(broker)
        self._to = (parts.hostname or "", parts.port or 5672)
        self.port = quiet_port()
        self.url = broker.replace(f"{parts.hostname}:{self._to[1]}", f"127.0.0.1:{self.port}")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Let bytes through."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Close every connection, and take no other."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._to)
        self._writers |= {writer, back}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))
        self._writers -= {writer, back}

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


async def test_rabbitmq_is_stopped_and_comes_back(make: Make) -> None:
    async with own_vhost() as broker:
        line = Line(broker)
        await line.open()
        crew = await make("celery", line.url, broker_timeout_seconds=1)
        await crew.hire()
        await crew.house.enqueue(probe.leave, "before")
        await all_done(crew, 1)
        await line.cut()
        for number in range(10):
            await crew.house.enqueue(probe.leave, f"meanwhile-{number}")
        await line.open()
        await all_done(crew, 11)
        await check_effects(crew, ["before", *(f"meanwhile-{number}" for number in range(10))])
        await crew.close()
        await line.cut()


async def do_not_wait_for_the_disk(crew: Crew) -> None:
    """Let commits end before they are on the disk. Workers are killed here, and PostgreSQL is not.

    All effects are on one topic, whose row is locked until a commit ends: ten thousand of them, one behind the other.
    """
    connection = await asyncpg.connect(crew.url, timeout=10)
    try:
        name = crew.url.rpartition("/")[2]
        await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    finally:
        await connection.close()


async def test_ten_thousand_tasks_while_workers_are_killed(make: Make) -> None:
    async with own_vhost() as broker:
        crew = await make("celery", broker, resend_seconds=60.0)
        await do_not_wait_for_the_disk(crew)
        workers = [await crew.hire(), await crew.hire()]
        keys = [f"task-{number}" for number in range(MANY)]
        for start in range(0, MANY, 500):
            context = crew.house.context()
            for key in keys[start : start + 500]:
                await enqueue(context, probe.leave, Key(key))
            await context.commit()
        kills = 0
        async with asyncio.timeout(SECONDS * 4):
            while (left := await crew.house.unfinished()) > 0:
                if left < MANY - (kills + 1) * EACH and left > EACH:
                    await workers[kills % 2].kill()
                    workers[kills % 2] = await crew.hire()
                    kills += 1
                await asyncio.sleep(0.1)
        assert kills > MANY // EACH // 2
        rows = await crew.house.rows()
        assert {row.state for row in rows} == {"done"}
        assert max(row.attempt for row in rows) > 1, "each kill came when there was nothing to do"
        await check_effects(crew, keys)
        await crew.close()
