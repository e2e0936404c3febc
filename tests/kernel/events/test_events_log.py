"""The log on real databases: numbers without gaps, and nobody who sees a later one before an earlier one."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID, uuid4

import msgspec
import pytest

from courtyard.kernel.database import Database, DatabaseUnavailable, ReadUnit, SharedPlacement, UnitOfWork
from courtyard.kernel.events import Envelope, Event, append, newest_number
from courtyard.kernel.events.log import newest_numbers, read
from courtyard.kernel.settings import DatabaseSettings
from tests.services import Databases, Kind

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
EVERYTHING = 2**62


class Happened(Event, frozen=True):
    """Something that a test makes happen."""

    name: ClassVar[str] = "test.thing.happened"
    value: str


@pytest.fixture
async def processes(databases: Databases, database_kind: Kind) -> AsyncIterator[list[SharedPlacement]]:
    """The database as three processes see it, each with connections of its own."""
    url = await databases.shared(database_kind)
    settings = DatabaseSettings(pool_size=4, read_pool_size=2, acquire_timeout_seconds=30, lock_timeout_seconds=20)
    placements = [SharedPlacement(Database(url, settings)) for _ in range(3)]
    yield placements
    for placement in placements:
        await placement.main.close()


@pytest.fixture
def topic() -> str:
    return f"test.topic:{uuid4()}"


@pytest.fixture
def workspace_id() -> UUID:
    return uuid4()


async def write(
    placement: SharedPlacement, workspace_id: UUID, *recorded: tuple[str, str], stall: float = 0, keep: bool = True
) -> list[Envelope]:
    """Record events in a transaction of their own, which stalls between its last statement and its end."""
    unit = UnitOfWork(placement, workspace_id)
    try:
        envelopes = await append(unit, [(topic, Happened(value)) for topic, value in recorded], None, NOW)
        await asyncio.sleep(stall)
        if keep:
            await unit.commit()
            return envelopes
    finally:
        await unit.rollback()
    return []


async def whole(placement: SharedPlacement, workspace_id: UUID, topic: str) -> list[Envelope]:
    return await read(ReadUnit(placement, workspace_id), topic, after=0, until=EVERYTHING, limit=100_000)


def plain(envelopes: list[Envelope]) -> Any:  # noqa: ANN401 - what decoded JSON is
    """Return envelopes as clients see them."""
    return msgspec.json.decode(msgspec.json.encode(envelopes))


class TestOneTransaction:
    async def test_what_is_written_is_read(
        self, processes: list[SharedPlacement], workspace_id: UUID, topic: str
    ) -> None:
        unit = UnitOfWork(processes[0], workspace_id)
        actor = uuid4()
        text = 'sträng 😀 \\ " \u2028'
        written = await append(unit, [(topic, Happened(text)), (topic, Happened("2"))], actor, NOW)
        await unit.commit()
        assert [envelope.number for envelope in written] == [1, 2]
        assert plain(await whole(processes[1], workspace_id, topic)) == plain(written)
        assert written[0].actor_id == actor
        assert written[0].created_at == NOW
        assert written[0].name == "test.thing.happened"
        assert msgspec.json.decode(written[0].data) == {"value": text}

    async def test_several_topics(self, processes: list[SharedPlacement], workspace_id: UUID, topic: str) -> None:
        recorded = [(f"{topic}-b", "1"), (f"{topic}-a", "1"), (f"{topic}-b", "2"), (f"{topic}-a", "2")]
        await write(processes[0], workspace_id, *recorded)
        for name in (f"{topic}-a", f"{topic}-b"):
            envelopes = await whole(processes[0], workspace_id, name)
            assert [(one.number, msgspec.json.decode(one.data)["value"]) for one in envelopes] == [(1, "1"), (2, "2")]

    async def test_bounds(self, processes: list[SharedPlacement], workspace_id: UUID, topic: str) -> None:
        await write(processes[0], workspace_id, *[(topic, str(number)) for number in range(10)])
        unit = ReadUnit(processes[0], workspace_id)

        async def numbers(after: int, until: int, limit: int) -> list[int]:
            return [one.number for one in await read(unit, topic, after=after, until=until, limit=limit)]

        assert await numbers(0, 10, 3) == [1, 2, 3]
        assert await numbers(3, 5, 99) == [4, 5]
        assert await numbers(10, 10, 99) == []
        assert await newest_number(unit, topic) == 10
        assert await newest_number(unit, "nothing") == 0

    async def test_workspaces_are_apart(self, processes: list[SharedPlacement], topic: str) -> None:
        one, other = uuid4(), uuid4()
        await write(processes[0], one, (topic, "one"))
        await write(processes[0], other, (topic, "other"), (topic, "other"))
        assert [envelope.workspace_id for envelope in await whole(processes[0], one, topic)] == [one]
        found = await newest_numbers(processes[0].main, [(one, topic), (other, topic), (one, "nothing")])
        assert {(row.workspace_id, row.number) for row in found} == {(one, 1), (other, 2)}
        assert [row.number for row in await newest_numbers(processes[0].main, [(other, topic)])] == [2]

    async def test_a_rollback_leaves_no_gap(
        self, processes: list[SharedPlacement], workspace_id: UUID, topic: str
    ) -> None:
        for number in range(1, 5):
            await write(processes[0], workspace_id, (topic, "lost"), (topic, "lost"), keep=False)
            (envelope,) = await write(processes[1], workspace_id, (topic, "kept"))
            assert envelope.number == number


@pytest.mark.services
@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
class TestStalledTransaction:
    """A transaction that has its number and does not end: nothing with a later number may be seen."""

    @pytest.mark.parametrize("before", [0, 1])
    @pytest.mark.parametrize("end", ["commit", "rollback"])
    async def test_the_next_waits(
        self, before: int, end: str, processes: list[SharedPlacement], workspace_id: UUID, topic: str
    ) -> None:
        for _ in range(before):
            await write(processes[2], workspace_id, (topic, "before"))
        stalled = UnitOfWork(processes[0], workspace_id)
        await append(stalled, [(topic, Happened("stalled"))], None, NOW)
        following = asyncio.create_task(write(processes[1], workspace_id, (topic, "following")))
        # Another topic does not wait.
        await asyncio.wait_for(write(processes[1], workspace_id, (f"{topic}-other", "other")), 5)
        await asyncio.sleep(0.2)
        assert not following.done()
        assert len(await whole(processes[2], workspace_id, topic)) == before
        assert await newest_number(ReadUnit(processes[2], workspace_id), topic) == before
        await getattr(stalled, end)()
        (envelope,) = await following
        assert envelope.number == before + (2 if end == "commit" else 1)
        values = [msgspec.json.decode(one.data)["value"] for one in await whole(processes[2], workspace_id, topic)]
        assert values[before:] == (["stalled", "following"] if end == "commit" else ["following"])

    async def test_it_does_not_wait_for_ever(
        self, databases: Databases, processes: list[SharedPlacement], workspace_id: UUID, topic: str
    ) -> None:
        url = await databases.shared("postgresql")
        impatient = SharedPlacement(Database(url, DatabaseSettings(lock_timeout_seconds=0.2)))
        stalled = UnitOfWork(processes[0], workspace_id)
        await append(stalled, [(topic, Happened("stalled"))], None, NOW)
        with pytest.raises(DatabaseUnavailable):
            await write(impatient, workspace_id, (topic, "following"))
        await stalled.commit()
        (envelope,) = await write(impatient, workspace_id, (topic, "again"))
        assert envelope.number == 2
        await impatient.main.close()

    async def test_two_topics_in_another_order(
        self, processes: list[SharedPlacement], workspace_id: UUID, topic: str
    ) -> None:
        """Transactions that record on the same topics never wait for each other in a circle."""
        first, second = f"{topic}-1", f"{topic}-2"
        orders = [[(first, "x"), (second, "x")], [(second, "x"), (first, "x")]]
        await asyncio.gather(*(write(processes[n % 3], workspace_id, *orders[n % 2], stall=0.005) for n in range(24)))
        for name in (first, second):
            assert [one.number for one in await whole(processes[0], workspace_id, name)] == list(range(1, 25))


class Reader:
    """Looks at a topic again and again, and finds fault with what it sees.

    Attributes:
        looks: how often it looked.
    """

    def __init__(self, placement: SharedPlacement, workspace_id: UUID, topic: str) -> None:
        self._unit = ReadUnit(placement, workspace_id)
        self._topic = topic
        self._seen: list[UUID] = []
        self.looks = 0

    async def look(self) -> None:
        newest = await newest_number(self._unit, self._topic)
        envelopes = await read(self._unit, self._topic, after=0, until=EVERYTHING, limit=100_000)
        assert [envelope.number for envelope in envelopes] == list(range(1, len(envelopes) + 1)), "a gap"
        assert len(envelopes) >= newest, "a number that is known and cannot be read"
        ids = [envelope.id for envelope in envelopes]
        assert ids[: len(self._seen)] == self._seen, "what was read has changed"
        self._seen = ids
        self.looks += 1


async def test_many_writers_from_several_processes(
    processes: list[SharedPlacement], workspace_id: UUID, topic: str, database_kind: Kind
) -> None:
    """They stall at random between number and end, and every third one gives up: readers see no gap, ever."""
    chance = random.Random(7)
    turns, writers = 12, 8
    plans = [
        [(chance.choice([0, 0, 0.001, 0.01]), chance.random() < 0.67, chance.randint(1, 3)) for _ in range(turns)]
        for _ in range(writers)
    ]
    writing = 0

    async def work(writer: int) -> list[str]:
        nonlocal writing
        writing += 1
        kept = []
        for turn, (stall, keep, count) in enumerate(plans[writer]):
            events = [(topic, f"{writer}.{turn}.{number}") for number in range(count)]
            # SQLite has one writer per file, whoever holds it; there the processes take turns.
            placement = processes[writer % (1 if database_kind == "sqlite" else 3)]
            await write(placement, workspace_id, *events, stall=stall, keep=keep)
            kept += [value for _, value in events] if keep else []
        writing -= 1
        return kept

    async def watch(reader: Reader) -> None:
        await asyncio.sleep(0)
        while writing:
            await reader.look()

    readers = [Reader(processes[n % 3], workspace_id, topic) for n in range(3)]
    results = await asyncio.gather(*map(work, range(writers)), *map(watch, readers))
    for reader in readers:
        await reader.look()
        assert reader.looks > 5
    envelopes = await whole(processes[0], workspace_id, topic)
    values = [msgspec.json.decode(envelope.data)["value"] for envelope in envelopes]
    for kept in results[:writers]:
        assert kept is not None
        assert [value for value in values if value in set(kept)] == kept
    assert len(values) == sum(len(kept or []) for kept in results[:writers])
