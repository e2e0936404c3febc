"""The bus: one contract for both, and what becomes of the one over Redis when Redis goes away."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import redis.asyncio as redis
from redis.exceptions import RedisError
from structlog.testing import capture_logs

from courtyard.kernel.events import Bus, LocalBus, RedisBus, Signal, bus
from tests.clients import Listener
from tests.conftest import ServerFactory
from tests.factories import Factory, ok
from tests.processes import OwnRedis, own_redis
from tests.services import RedisSpace


class Ear:
    """A bus with what it has heard."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.heard: list[Signal] = []
        self._arrived = asyncio.Event()

    def hear(self, signal: Signal) -> None:
        self.heard.append(signal)
        self._arrived.set()

    @property
    def bodies(self) -> list[bytes]:
        return [signal.body for signal in self.heard]

    async def until(self, *bodies: bytes, seconds: float = 5) -> None:
        """Return when exactly this has been heard."""
        async with asyncio.timeout(seconds):
            while self.bodies != list(bodies):
                self._arrived.clear()
                await self._arrived.wait()

    async def until_last(self, body: bytes, seconds: float = 10) -> None:
        """Return when this has been heard last."""
        async with asyncio.timeout(seconds):
            while self.bodies[-1:] != [body]:
                self._arrived.clear()
                await self._arrived.wait()


@pytest.fixture
def channel() -> str:
    return f"channel-{uuid4()}"


class TestContract:
    @pytest.fixture(params=["local", pytest.param("redis", marks=pytest.mark.services)])
    async def ear(self, request: pytest.FixtureRequest, redis_space_of_process: RedisSpace) -> AsyncIterator[Ear]:
        if request.param == "local":
            ear = Ear(LocalBus())
        else:
            await redis_space_of_process.check()
            ear = Ear(RedisBus(redis.from_url(redis_space_of_process.url), redis_space_of_process.prefix))
        await ear.bus.start(ear.hear)
        yield ear
        await ear.bus.close()

    async def test_what_one_says_oneself(self, ear: Ear, channel: str) -> None:
        ear.bus.publish(Signal(channel, "x", body=b"too early"))
        await ear.bus.listen(channel)
        ear.bus.publish(Signal(channel, "x", body=b"heard"))
        # At once, not in a while.
        assert ear.bodies == [b"heard"]
        ear.bus.publish(Signal(channel, "x", body=b"for others"), here=False)
        ear.bus.publish(Signal(f"{channel}-2", "x", body=b"elsewhere"))
        ear.bus.unlisten(channel)
        ear.bus.publish(Signal(channel, "x", body=b"too late"))
        await ear.bus.ping()
        assert ear.bodies == [b"heard"]

    async def test_listening_twice(self, ear: Ear, channel: str) -> None:
        await asyncio.gather(*(ear.bus.listen(channel) for _ in range(5)))
        ear.bus.publish(Signal(channel, "x", body=b"1"))
        assert ear.bodies == [b"1"]
        ear.bus.unlisten(channel)
        ear.bus.unlisten(channel)
        await ear.bus.listen(channel)
        ear.bus.publish(Signal(channel, "x", body=b"2"))
        assert ear.bodies == [b"1", b"2"]

    async def test_a_listener_without_a_start(self, channel: str) -> None:
        local = LocalBus()
        await local.listen(channel)
        local.publish(Signal(channel, "x"))
        await local.close()


async def connected(client_of: Callable[[], RedisBus]) -> Ear:
    """Start a bus, and return when it listens."""
    ear = Ear(client_of())
    await ear.bus.start(ear.hear)
    assert isinstance(ear.bus, RedisBus)
    async with asyncio.timeout(5):
        while ear.bus._connection is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return ear


@pytest.mark.services
class TestTwoProcesses:
    @pytest.fixture
    async def ears(self, redis_space: RedisSpace) -> AsyncIterator[tuple[Ear, Ear]]:
        here, there = [
            await connected(lambda: RedisBus(redis.from_url(redis_space.url), redis_space.prefix)) for _ in range(2)
        ]
        yield here, there
        await here.bus.close()
        await there.bus.close()

    async def test_the_other_hears_everything_in_order(self, ears: tuple[Ear, Ear], channel: str) -> None:
        here, there = ears
        await there.bus.listen(channel)
        signals = [Signal(channel, f"kind{n}", n, b"%d" % n, f"skip{n}") for n in range(1_000)]
        for signal in signals:
            here.bus.publish(signal, here=False)
        await there.until(*(signal.body for signal in signals))
        assert [msgspec.structs.replace(signal, origin="") for signal in there.heard] == signals
        assert here.heard == []

    async def test_from_the_moment_it_listens(self, ears: tuple[Ear, Ear]) -> None:
        here, there = ears
        for number in range(50):
            channel = f"channel-{uuid4()}"
            await there.bus.listen(channel)
            here.bus.publish(Signal(channel, "x", body=b"%d" % number))
        await there.until(*(b"%d" % number for number in range(50)))

    async def test_until_it_does_not_listen(self, ears: tuple[Ear, Ear], channel: str) -> None:
        here, there = ears
        for _ in range(20):
            await there.bus.listen(channel)
            there.bus.unlisten(channel)
        await there.bus.listen("last")
        here.bus.publish(Signal(channel, "x", body=b"unheard"))
        here.bus.publish(Signal("last", "x", body=b"heard"))
        await there.until(b"heard")

    async def test_coming_back_at_once(self, ears: tuple[Ear, Ear], channel: str) -> None:
        here, there = ears
        for number in range(20):
            await there.bus.listen(channel)
            there.bus.unlisten(channel)
            await there.bus.listen(channel)
            here.bus.publish(Signal(channel, "x", body=b"%d" % number))
            await there.until_last(b"%d" % number)

    async def test_another_installation(self, ears: tuple[Ear, Ear], redis_space: RedisSpace, channel: str) -> None:
        stranger = await connected(lambda: RedisBus(redis.from_url(redis_space.url), f"{redis_space.prefix}-2"))
        here, there = ears
        for ear in (there, stranger):
            await ear.bus.listen(channel)
        here.bus.publish(Signal(channel, "x", body=b"ours"))
        await there.until(b"ours")
        assert stranger.heard == []
        await stranger.bus.close()

    async def test_what_is_not_understood(self, ears: tuple[Ear, Ear], redis_space: RedisSpace, channel: str) -> None:
        """A process of another version says what it likes; the bus goes on."""
        here, there = ears
        await there.bus.listen(channel)
        client = redis.from_url(redis_space.url)
        with capture_logs() as logs:
            for junk in (b"", b"\x00\xff", b"\x80", b"\x91\x01"):
                await client.publish(f"{redis_space.prefix}:bus:{channel}", junk)
            # A field more than are known here.
            more = b"\x97" + msgspec.msgpack.encode([channel, "x", 0, b"more", "", "origin", "news"])[1:]
            await client.publish(f"{redis_space.prefix}:bus:{channel}", more)
            here.bus.publish(Signal(channel, "x", body=b"ours"))
            await there.until(b"more", b"ours")
        assert [entry["event"] for entry in logs] == ["bus.signal_fault"] * 4
        await client.aclose()

    async def test_a_listener_that_fails(self, ears: tuple[Ear, Ear], channel: str) -> None:
        here, there = ears
        await there.bus.listen(channel)
        known, there.bus._heard = there.bus._heard, lambda _: 1 / 0  # type: ignore[attr-defined]
        with capture_logs() as logs:
            here.bus.publish(Signal(channel, "x", body=b"1"))
            async with asyncio.timeout(5):
                while not logs:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        there.bus._heard = known  # type: ignore[attr-defined]
        here.bus.publish(Signal(channel, "x", body=b"2"))
        await there.until(b"2")


@pytest.mark.services
class TestRedisGoesAway:
    @pytest.fixture
    async def own(self, tmp_path: Path) -> AsyncIterator[OwnRedis]:
        async with own_redis(tmp_path) as process:
            yield process

    @pytest.fixture
    async def ears(self, own: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Ear, Ear]]:
        monkeypatch.setattr(bus, "RECONNECT_SECONDS", 0.05)
        monkeypatch.setattr(bus, "SILENCE_SECONDS", 0.3)
        here, there = [await connected(lambda: RedisBus(redis.from_url(own.url), "test")) for _ in range(2)]
        yield here, there
        await here.bus.close()
        await there.bus.close()

    async def says_until_heard(self, here: Ear, there: Ear, channel: str) -> None:
        """What is said while nobody can hear is lost. Soon somebody hears again."""
        async with asyncio.timeout(10):
            while not there.heard:
                here.bus.publish(Signal(channel, "x", body=b"again"))
                await asyncio.sleep(0.05)
        there.heard.clear()

    @pytest.mark.parametrize("times", [1, 5])
    async def test_connections_are_killed(self, times: int, ears: tuple[Ear, Ear], own: OwnRedis, channel: str) -> None:
        here, there = ears
        await there.bus.listen(channel)
        for _ in range(times):
            await own.kill_connections()
            # Whoever subscribes in the middle of it is heard by the next connection.
            await there.bus.listen(f"{channel}-{uuid4()}")
        await self.says_until_heard(here, there, channel)
        await asyncio.sleep(0.2)
        there.heard.clear()
        for number in range(5):
            here.bus.publish(Signal(channel, "x", body=b"%d" % number))
        await there.until(b"0", b"1", b"2", b"3", b"4")

    async def test_a_restart(self, ears: tuple[Ear, Ear], own: OwnRedis, channel: str) -> None:
        here, there = ears
        await there.bus.listen(channel)
        await own.kill()
        here.bus.publish(Signal(channel, "x", body=b"kept"))
        async with asyncio.timeout(1):
            await there.bus.listen(f"{channel}-2")
            there.bus.unlisten(f"{channel}-2")
        with pytest.raises((RedisError, OSError)):
            await here.bus.ping()
        await asyncio.sleep(0.3)
        await own.start()
        await self.says_until_heard(here, there, channel)
        await here.bus.ping()
        assert here.bus.dropped == 0  # type: ignore[attr-defined]

    async def test_a_pause(
        self, ears: tuple[Ear, Ear], own: OwnRedis, channel: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Redis hangs: nobody waits for long, the connection is given up, and later all is well."""
        monkeypatch.setattr(bus, "ANSWER_SECONDS", 0.3)
        here, there = ears
        await there.bus.listen(channel)
        here.bus.publish(Signal(channel, "x", body=b"before"))
        await there.until(b"before")
        there.heard.clear()
        await own.pause()
        async with asyncio.timeout(2):
            await there.bus.listen(f"{channel}-2")
        for number in range(300):
            here.bus.publish(Signal(channel, "x", body=b"%d" % number))
        await asyncio.sleep(1.5)
        assert there.bus._connection is None  # type: ignore[attr-defined]
        async with asyncio.timeout(0.1):
            await there.bus.listen(f"{channel}-3")
        await own.resume()
        await self.says_until_heard(here, there, channel)

    async def test_too_much_waits(self, ears: tuple[Ear, Ear], own: OwnRedis, channel: str) -> None:
        here, there = ears
        await there.bus.listen(channel)
        await own.kill()
        await asyncio.sleep(0.1)
        for number in range(bus.MAX_PENDING + 500):
            here.bus.publish(Signal(channel, "x", body=b"%d" % number))
        assert here.bus.dropped >= 300  # type: ignore[attr-defined]
        await own.start()
        await self.says_until_heard(here, there, channel)

    async def test_redis_refuses(self, ears: tuple[Ear, Ear], own: OwnRedis, channel: str) -> None:
        here, there = ears
        await there.bus.listen(channel)
        await own.command("ACL", "SETUSER", "default", "-publish")
        with capture_logs() as logs:
            here.bus.publish(Signal(channel, "x", body=b"refused"))
            async with asyncio.timeout(5):
                while not here.bus.dropped:  # type: ignore[attr-defined]  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert [entry["event"] for entry in logs] == ["bus.refused"]
        await own.command("ACL", "SETUSER", "default", "+publish")
        here.bus.publish(Signal(channel, "x", body=b"taken"))
        await there.until(b"taken")

    async def test_a_start_without_redis(self, own: OwnRedis, channel: str) -> None:
        await own.kill()
        ear = Ear(RedisBus(redis.from_url(own.url), "test"))
        async with asyncio.timeout(1):
            await ear.bus.start(ear.hear)
            await ear.bus.listen(channel)
        await own.start()
        other = await connected(lambda: RedisBus(redis.from_url(own.url), "test"))
        await self.says_until_heard(other, ear, channel)
        await ear.bus.close()
        await other.bus.close()


@pytest.mark.services
@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
class TestServersWithoutTheirBus:
    async def test_the_sweep_finds_what_the_bus_lost(self, server_factory: ServerFactory, tmp_path: Path) -> None:
        async with own_redis(tmp_path) as own:
            shared: dict[str, Any] = {"redis": {"url": own.url}, "events": {"sweep_seconds": 0.1}}
            here, there = [Factory(await server_factory(**shared)) for _ in range(2)]
            conversation = await here.conversation()
            visitor, slug = conversation.visitor, conversation.workspace.slug
            async with Listener(there.server.url, visitor.token, slug, conversation.topic) as listener:
                ok(await visitor.http.post(conversation.messages, json={"text": "told"}))
                await listener.reach(2, 2)
                # A sweep may come between a commit and what the bus tells of it.
                found = there.server.runtime.dispatcher.found_by_sweep
                await own.kill()
                for _ in range(5):
                    # Requests do not wait for Redis either.
                    async with asyncio.timeout(1):
                        ok(await visitor.http.post(conversation.messages, json={"text": "not told"}))
                await listener.reach(7, 2)
                assert there.server.runtime.dispatcher.found_by_sweep == found + 5
                await own.start()
                ok(await visitor.http.post(conversation.messages, json={"text": "told again"}))
                await listener.reach(8, 2)
                assert listener.faults == []
            for make in (here, there):
                await make.close()

    async def test_events_too_long_to_be_carried(self, server_factory: ServerFactory, redis_space: RedisSpace) -> None:
        shared: dict[str, Any] = {
            "redis": {"url": redis_space.url, "prefix": redis_space.prefix},
            "events": {"inline_limit_bytes": 1_000, "sweep_seconds": 60},
        }
        here, there = [Factory(await server_factory(**shared)) for _ in range(2)]
        conversation = await here.conversation()
        visitor, slug = conversation.visitor, conversation.workspace.slug
        async with Listener(there.server.url, visitor.token, slug, conversation.topic) as listener:
            for length in (10, 5_000, 10, 5_000):
                ok(await visitor.http.post(conversation.messages, json={"text": "x" * length}))
            await listener.reach(5, 5)
            assert listener.faults == []
            assert len(listener.events[-1]["data"]["message"]["text"]) == 5_000
        for make in (here, there):
            await make.close()
