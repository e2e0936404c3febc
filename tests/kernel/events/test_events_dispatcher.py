"""The dispatcher: whatever it is told, in whatever order, everyone who listens gets each number once and in order.

The log is in memory here, and slow by as much as Hypothesis likes; what it keeps and what it is asked is that of the
real one. The tests on real databases are beside this one.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from courtyard.kernel.database import DatabaseUnavailable, Placement
from courtyard.kernel.events import (
    AheadOfLog,
    Dispatcher,
    Envelope,
    Frame,
    LocalBus,
    ReplayTooLong,
    Signal,
    dispatcher,
)
from courtyard.kernel.events.log import TopicNumber
from courtyard.kernel.settings import EventSettings

WORKSPACE = UUID(int=7)
TOPIC = "chat.conversation:x"
CHANNEL = f"{WORKSPACE}/{TOPIC}"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
REPLAY_LIMIT = 12


class Log:
    """A log in memory, and the bus before it: both take their time and fail now and then.

    Args:
        delays: through how many turns of the loop each step takes, one after the other.
    """

    def __init__(self, delays: Iterator[int]) -> None:
        self.envelopes: list[Envelope] = []
        self.failures = 0
        self._delays = delays

    async def pause(self) -> None:
        for _ in range(next(self._delays)):
            await asyncio.sleep(0)

    async def _ask(self) -> int:
        """Return how far the log is at some moment between the question and the answer."""
        await self.pause()
        newest = len(self.envelopes)
        await self.pause()
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable("made up")
        return newest

    async def newest_number(self, _unit: object, _topic: str) -> int:
        return await self._ask()

    async def read(self, _unit: object, _topic: str, *, after: int, until: int, limit: int) -> list[Envelope]:
        newest = await self._ask()
        return self.envelopes[after : min(newest, until)][:limit]

    async def newest_numbers(self, _database: object, topics: Sequence[tuple[UUID, str]]) -> list[TopicNumber]:
        newest = await self._ask()
        return [TopicNumber(*topic, newest) for topic in topics if newest]

    async def database_of(self, _workspace_id: UUID) -> str:
        return "the database"

    def append(self) -> Envelope:
        number = len(self.envelopes) + 1
        data = msgspec.Raw(b"{}")
        self.envelopes.append(Envelope(WORKSPACE, TOPIC, number, uuid4(), "thing.happened", None, data, NOW))
        return self.envelopes[-1]


class SlowBus(LocalBus):
    """A bus that takes its time to listen."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    @override
    async def listen(self, channel: str) -> None:
        await self._log.pause()
        await super().listen(channel)


@dataclass
class Client:
    """Somebody who listens."""

    after: int | None
    id: str = field(default_factory=lambda: uuid4().hex)
    received: list[int] = field(default_factory=list)
    answer: int | None = None
    problem: Exception | None = None
    is_gone: bool = False

    def deliver(self, frame: Frame) -> None:
        assert not self.is_gone
        self.received.append(msgspec.json.decode(frame.json)["number"])

    async def ready(self) -> None:
        await asyncio.sleep(0)


class World:
    """A dispatcher, its log, and those who listen."""

    def __init__(self, delays: Sequence[int]) -> None:
        self.log = Log(itertools.cycle(delays))
        self.dispatcher = Dispatcher(
            cast("Placement", self.log), SlowBus(self.log), EventSettings(replay_limit=REPLAY_LIMIT)
        )
        self.clients: list[Client] = []
        self.hints: list[Signal] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def act(self, name: str, argument: int) -> None:
        await getattr(self, name)(argument)

    async def commit(self, how: int) -> None:
        """Something is committed, here or elsewhere; the hint is on its way, or lost."""
        envelope = self.log.append()
        body = msgspec.json.encode(envelope)
        match how % 4:
            case 0:
                self.dispatcher.committed([envelope])
            case 1:
                self.hints.append(Signal(CHANNEL, "event", envelope.number, body))
            case 2:
                self.hints.append(Signal(CHANNEL, "event", envelope.number))

    async def hint(self, which: int) -> None:
        """A hint arrives: any of those that were ever sent, so in any order, and again and again."""
        if self.hints:
            self.dispatcher.heard(self.hints[which % len(self.hints)])

    async def come(self, which: int) -> None:
        """Somebody subscribes: for what comes, or after a number that exists, or may exist soon."""
        newest = len(self.log.envelopes)
        client = Client(None if which % 5 == 0 else which % (newest + 2))
        self.clients.append(client)
        self.tasks.append(asyncio.create_task(self._subscribe(client)))

    async def _subscribe(self, client: Client) -> None:
        try:
            client.answer = await self.dispatcher.subscribe(client, WORKSPACE, TOPIC, client.after)
        except (AheadOfLog, ReplayTooLong, DatabaseUnavailable) as problem:
            client.problem = problem

    async def go(self, which: int) -> None:
        """Somebody who listens goes."""
        listening = [client for client in self.clients if client.answer is not None and not client.is_gone]
        if listening:
            client = listening[which % len(listening)]
            self.dispatcher.unsubscribe(client, WORKSPACE, TOPIC)
            client.is_gone = True

    async def fail(self, times: int) -> None:
        """The database does not answer for a while."""
        self.log.failures += times % 4

    async def wait(self, turns: int) -> None:
        """Time passes."""
        for _ in range(turns % 8):
            await asyncio.sleep(0)

    async def sweep(self, _: int) -> None:
        """The regular look at the log."""
        self.tasks.append(asyncio.create_task(self._sweep()))

    async def _sweep(self) -> None:
        with contextlib.suppress(DatabaseUnavailable):
            await self.dispatcher.sweep()

    async def settle(self) -> None:
        """Everything works again, and the sweep comes round."""
        self.log.failures = 0
        for _ in range(3):
            await self.sweep(0)
            async with asyncio.timeout(10):
                await asyncio.gather(*self.tasks)
            for _ in range(300):
                await asyncio.sleep(0)

    def check(self) -> None:
        newest = len(self.log.envelopes)
        for client in self.clients:
            assert client.answer is not None or client.problem is not None
            start = client.received[0] - 1 if client.received else client.answer
            if client.after is not None and client.received:
                assert start == client.after
            assert client.received == list(range((start or 0) + 1, (start or 0) + 1 + len(client.received)))
            if isinstance(client.problem, AheadOfLog):
                assert client.received == []
                assert client.after is not None
                assert client.after > client.problem.extra["number"]
            if client.answer is None or client.is_gone:
                continue
            # Nothing is missing at the end.
            reached = client.received[-1] if client.received else (client.after or client.answer)
            assert reached == newest
        if all(client.answer is None or client.is_gone for client in self.clients):
            assert self.dispatcher.topics == 0


NAMES = ("commit", "commit", "commit", "hint", "hint", "come", "come", "go", "fail", "wait", "wait", "sweep")
ACTIONS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 30)), max_size=60)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let dispatchers read the logs of these tests."""

    def of(unit: object) -> Log:
        return cast("Log", unit._placement)  # type: ignore[attr-defined]

    async def newest_number(unit: object, topic: str) -> int:
        return await of(unit).newest_number(unit, topic)

    async def read(unit: object, topic: str, **bounds: int) -> list[Envelope]:
        return await of(unit).read(unit, topic, **bounds)

    monkeypatch.setattr(dispatcher, "newest_number", newest_number)
    monkeypatch.setattr(dispatcher, "read", read)
    monkeypatch.setattr(dispatcher, "PAGE", 3)
    monkeypatch.setattr(dispatcher, "AHEAD_SECONDS", 0)


@pytest.mark.usefixtures("in_memory")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS, delays=st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_everyone_gets_each_number_once_and_in_order(actions: list[tuple[str, int]], delays: list[int]) -> None:
    async def play() -> None:
        world = World(delays)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dispatcher, "newest_numbers", world.log.newest_numbers)
            for name, argument in actions:
                await world.act(name, argument)
            await world.settle()
        world.check()
        await world.dispatcher.stop()

    asyncio.run(play())


@pytest.mark.usefixtures("in_memory")
class TestParticularCases:
    async def listening(self, *, after: int | None = None, written: int = 0) -> tuple[World, Client]:
        world = World([0])
        for _ in range(written):
            world.log.append()
        client = Client(after)
        client.answer = await world.dispatcher.subscribe(client, WORKSPACE, TOPIC, after)
        return world, client

    async def test_hints_in_reverse(self) -> None:
        world, client = await self.listening(written=2)
        signals = [Signal(CHANNEL, "event", world.log.append().number, b"") for _ in range(9)]
        for signal in reversed(signals):
            world.dispatcher.heard(signal)
        await world.wait(7)
        await world.wait(7)
        assert client.received == list(range(3, 12))

    async def test_a_hint_that_carries_the_event_costs_no_look_at_the_log(self) -> None:
        world, client = await self.listening(written=2)
        world.log.failures = 99
        for _ in range(3):
            envelope = world.log.append()
            world.dispatcher.heard(Signal(CHANNEL, "event", envelope.number, msgspec.json.encode(envelope)))
        assert client.received == [3, 4, 5]

    async def test_the_sweep_counts_only_what_nobody_told_of(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world, client = await self.listening(written=100, after=95)
        monkeypatch.setattr(dispatcher, "newest_numbers", world.log.newest_numbers)
        await world.dispatcher.sweep()
        assert world.dispatcher.found_by_sweep == 0
        world.log.append()
        world.dispatcher.committed([world.log.append()])
        for _ in range(50):
            await asyncio.sleep(0)
        await world.dispatcher.sweep()
        assert world.dispatcher.found_by_sweep == 0
        world.log.append()
        await world.dispatcher.sweep()
        assert world.dispatcher.found_by_sweep == 1
        for _ in range(50):
            await asyncio.sleep(0)
        assert client.received == list(range(96, 104))

    async def test_a_catch_up_that_fails_half_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world, client = await self.listening()
        monkeypatch.setattr(dispatcher, "newest_numbers", world.log.newest_numbers)
        known, calls = world.log.read, 0

        async def read(unit: object, topic: str, *, after: int, until: int, limit: int) -> list[Envelope]:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise DatabaseUnavailable("made up")
            return await known(unit, topic, after=after, until=until, limit=limit)

        monkeypatch.setattr(dispatcher, "read", read)
        for _ in range(8):
            world.log.append()
        world.dispatcher.heard(Signal(CHANNEL, "event", 8))
        for _ in range(20):
            await asyncio.sleep(0)
        assert client.received == [1, 2, 3]
        await world.dispatcher.sweep()
        for _ in range(20):
            await asyncio.sleep(0)
        assert client.received == list(range(1, 9))

    async def test_a_log_that_was_shortened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world, _ = await self.listening(written=5)

        async def nothing(*_: Any, **__: int) -> list[Envelope]:
            return []

        monkeypatch.setattr(dispatcher, "read", nothing)
        with pytest.raises(ReplayTooLong) as raised:
            await world.dispatcher.subscribe(Client(2), WORKSPACE, TOPIC, 2)
        assert raised.value.extra == {"number": 5}

    async def test_a_topic_that_cannot_be_opened(self) -> None:
        world = World([1])
        world.log.failures = 1
        clients = [Client(0), Client(None)]
        results = await asyncio.gather(
            *(world.dispatcher.subscribe(client, WORKSPACE, TOPIC, client.after) for client in clients),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [DatabaseUnavailable] * 2
        assert world.dispatcher.topics == 0
        assert await world.dispatcher.subscribe(clients[0], WORKSPACE, TOPIC, 0) == 0

    async def test_ephemeral_things_go_to_who_listens_now(self) -> None:
        world, client = await self.listening()
        heard: list[tuple[str, bytes]] = []
        client.deliver = lambda frame: heard.append((frame.name, frame.json))  # type: ignore[method-assign]
        world.dispatcher.tell(WORKSPACE, TOPIC, "typing", b"1", skip=client.id)
        world.dispatcher.tell(WORKSPACE, TOPIC, "typing", b"2")
        world.dispatcher.tell(WORKSPACE, "another", "typing", b"3")
        world.dispatcher.heard(Signal(CHANNEL, "presence", body=b"4"))
        world.dispatcher.heard(Signal(CHANNEL, "presence", body=b"5", skip=client.id))
        assert heard == [("typing", b"2"), ("presence", b"4")]
