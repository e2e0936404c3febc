"""Who is there, and what is told about it."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio as redis

from courtyard.kernel.realtime.presence import (
    MAX_PRESENT,
    TTL_SECONDS,
    Entry,
    MemoryPresence,
    PresenceStore,
    RedisPresence,
)
from tests.conftest import ServerFactory
from tests.factories import Conversation, Factory, Person, ok
from tests.processes import own_redis
from tests.running import MovableClock
from tests.services import RedisSpace
from tests.sockets import Json, Socket

NOW = 1_800_000_000.0
CAME, LEFT = "came", "left"


class TestStore:
    """The contract of all stores."""

    @pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
    async def stores(
        self, request: pytest.FixtureRequest, redis_space_of_process: RedisSpace
    ) -> AsyncIterator[tuple[PresenceStore, PresenceStore]]:
        """The store as two processes see it."""
        if request.param == "memory":
            store = MemoryPresence()
            yield store, store
            return
        space = redis_space_of_process
        await space.check()
        clients = [redis.from_url(space.url), redis.from_url(space.url)]
        yield RedisPresence(clients[0], space.prefix), RedisPresence(clients[1], space.prefix)
        for client in clients:
            await client.aclose()

    @pytest.fixture
    def room(self) -> str:
        return f"room-{uuid4()}"

    async def test_the_first_connection_and_the_last(
        self, stores: tuple[PresenceStore, PresenceStore], room: str
    ) -> None:
        here, there = stores
        first, second, other = Entry(room, "ada", "1"), Entry(room, "ada", "2"), Entry(room, "bob", "3")
        assert await here.enter(first, NOW)
        assert not await there.enter(second, NOW)
        assert not await here.enter(first, NOW)
        assert await there.enter(other, NOW)
        assert await here.present(room, NOW) == await there.present(room, NOW) == ["ada", "bob"]
        assert not await here.leave(first, NOW)
        assert await there.present(room, NOW) == ["ada", "bob"]
        assert await there.leave(second, NOW)
        assert await here.present(room, NOW) == ["bob"]

    async def test_rooms_are_apart(self, stores: tuple[PresenceStore, PresenceStore], room: str) -> None:
        here, there = stores
        assert await here.enter(Entry(room, "ada", "1"), NOW)
        assert await there.enter(Entry(room + "2", "ada", "1"), NOW)
        assert await there.leave(Entry(room, "ada", "1"), NOW)
        assert await here.present(room, NOW) == []
        assert await here.present(room + "2", NOW) == ["ada"]

    async def test_one_name_that_begins_like_another(
        self, stores: tuple[PresenceStore, PresenceStore], room: str
    ) -> None:
        here, _ = stores
        assert await here.enter(Entry(room, "ada", "1"), NOW)
        assert await here.enter(Entry(room, "ad", "2"), NOW)
        assert await here.leave(Entry(room, "ad", "2"), NOW)
        assert await here.present(room, NOW) == ["ada"]

    async def test_what_a_killed_process_leaves_runs_out(
        self, stores: tuple[PresenceStore, PresenceStore], room: str
    ) -> None:
        killed, alive = stores
        entries = [Entry(room, "ada", "1"), Entry(room, "ada", "2"), Entry(room, "bob", "3")]
        for entry in entries:
            await killed.enter(entry, NOW)
        await alive.enter(Entry(room, "bob", "4"), NOW + 20)
        later = NOW + TTL_SECONDS
        assert await alive.expire([room], later - 1) == []
        assert await alive.present(room, later) == ["bob"]
        assert await alive.expire([room], later) == [(room, "ada")]
        # Each is told once.
        assert await alive.expire([room], later) == []
        assert await alive.present(room, later) == ["bob"]

    async def test_a_beat_puts_it_off(self, stores: tuple[PresenceStore, PresenceStore], room: str) -> None:
        here, there = stores
        entry = Entry(room, "ada", "1")
        await here.enter(entry, NOW)
        assert await here.beat([entry], NOW + 60) == []
        assert await there.expire([room, "another"], NOW + 59) == []
        assert await there.expire([room, "another"], NOW + 60) == [(room, "ada")]

    async def test_a_beat_adds_what_was_lost(self, stores: tuple[PresenceStore, PresenceStore], room: str) -> None:
        here, there = stores
        kept, lost = Entry(room, "ada", "1"), Entry(room, "bob", "2")
        await here.enter(kept, NOW)
        assert await here.beat([kept, lost], NOW + 60) == [lost]
        assert await there.present(room, NOW) == ["ada", "bob"]

    async def test_leaving_what_was_lost(self, stores: tuple[PresenceStore, PresenceStore], room: str) -> None:
        here, _ = stores
        assert await here.leave(Entry(room, "ada", "1"), NOW)
        await here.enter(Entry(room, "ada", "2"), NOW)
        assert not await here.leave(Entry(room, "ada", "1"), NOW)

    async def test_many(self, stores: tuple[PresenceStore, PresenceStore], room: str) -> None:
        here, there = stores
        entries = [Entry(f"{room}-{number % 700}", f"{number:04}", "1") for number in range(2_500)]
        assert await here.beat(entries, NOW + 10) == entries
        assert await there.beat(entries, NOW + 10) == []
        gone = await there.expire({entry.room for entry in entries}, NOW + 10)
        assert sorted(gone) == sorted((entry.room, entry.account) for entry in entries)
        crowd = [Entry(room, f"{number:04}", "1") for number in range(MAX_PRESENT + 50)]
        await here.beat(crowd, NOW + 10)
        assert len(await there.present(room, NOW)) == MAX_PRESENT

    async def test_at_once(self, stores: tuple[PresenceStore, PresenceStore], room: str) -> None:
        """However many come and go at once, exactly one is the first and exactly one the last."""
        entries = [Entry(room, "ada", str(number)) for number in range(40)]
        entered = await asyncio.gather(*(stores[n % 2].enter(entry, NOW) for n, entry in enumerate(entries)))
        assert entered.count(True) == 1
        left = await asyncio.gather(*(stores[n % 2].leave(entry, NOW) for n, entry in enumerate(entries)))
        assert left.count(True) == 1
        await asyncio.gather(*(stores[0].enter(entry, NOW) for entry in entries))
        gone = await asyncio.gather(*(stores[n % 2].expire([room], NOW + 99) for n in range(10)))
        assert list(itertools.chain(*gone)) == [(room, "ada")]


def changes(socket: Socket, person: Person) -> list[str]:
    """Return what a socket was told about somebody."""
    told = [told["present"] for told in socket.all("presence") if told["account_id"] == str(person.id)]
    return [CAME if present else LEFT for present in told]


async def told(socket: Socket, person: Person, *expected: str, seconds: float = 5) -> None:
    """Return when a socket was told exactly this about somebody."""
    async with asyncio.timeout(seconds):
        while changes(socket, person) != list(expected):  # noqa: ASYNC110 - what is told once more must be seen too
            await asyncio.sleep(0.01)


async def settle(socket: Socket, seconds: float) -> None:
    """Let a time pass in which something might be told that must not."""
    await asyncio.sleep(seconds)
    await socket.call("nothing", {})


class Company:
    """A conversation with somebody in it who watches the other come and go."""

    def __init__(self, make: Factory, conversation: Conversation, watching: Person, there: Factory) -> None:
        self.make = make
        self.conversation = conversation
        self.watching = watching
        self.visitor = conversation.visitor
        self.there = there

    async def enter(self, person: Person | None = None, make: Factory | None = None) -> tuple[Socket, list[str]]:
        """Connect and subscribe; return who is said to be there."""
        socket = await (make or self.there).socket(person or self.visitor)
        answer = await socket.ok("subscribe", **self.wish())
        return socket, answer["present"]

    def wish(self, **more: Json) -> dict[str, Json]:
        return {"workspace": self.conversation.workspace.slug, "topic": self.conversation.topic, **more}


@pytest.fixture(params=["one process", pytest.param("two processes", marks=pytest.mark.services)])
async def company(
    request: pytest.FixtureRequest,
    server_factory: ServerFactory,
    clock: MovableClock,
    redis_space_of_process: RedisSpace,
) -> AsyncIterator[Company]:
    shared: dict[str, Any] = {}
    if request.param == "two processes":
        await redis_space_of_process.check()
        shared = {"redis": {"url": redis_space_of_process.url, "prefix": redis_space_of_process.prefix}}
    here = Factory(await server_factory(clock=clock, **shared))
    there = Factory(await server_factory(clock=clock, **shared)) if shared else here
    workspace = await here.workspace()
    watching = await here.member(workspace)
    yield Company(here, await here.conversation(workspace), watching, there)
    for make in {here, there}:
        await make.close()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
class TestWhatIsTold:
    async def test_the_first_connection_and_the_last(self, company: Company) -> None:
        watcher, present = await company.enter(company.watching, company.make)
        assert present == [str(company.watching.id)]
        visitor = company.visitor
        first, present = await company.enter()
        assert sorted(present) == sorted([str(company.watching.id), str(visitor.id)])
        await told(watcher, visitor, CAME)
        second, _ = await company.enter()
        third, _ = await company.enter(make=company.make)
        await first.close()
        await second.close()
        await settle(watcher, 0.5)
        assert changes(watcher, visitor) == [CAME]
        await third.close()
        await told(watcher, visitor, CAME, LEFT)
        # Nobody is told of themselves.
        assert changes(watcher, company.watching) == []
        assert changes(first, visitor) == []

    async def test_a_change_says_everything(self, company: Company) -> None:
        watcher, _ = await company.enter(company.watching, company.make)
        await company.enter()
        (change,) = await watcher.wait_for("presence")
        assert change == {
            "workspace_id": str(company.conversation.workspace.id),
            "topic": company.conversation.topic,
            "account_id": str(company.visitor.id),
            "present": True,
        }

    async def test_coming_back_within_the_grace_is_not_told(self, company: Company) -> None:
        watcher, _ = await company.enter(company.watching, company.make)
        for _ in range(3):
            socket, _ = await company.enter()
            await socket.close()
        last, _ = await company.enter()
        await settle(watcher, 0.5)
        assert changes(watcher, company.visitor) == [CAME]
        await last.close()
        await told(watcher, company.visitor, CAME, LEFT)

    async def test_a_lost_connection_is_told_after_the_grace(self, company: Company) -> None:
        watcher, _ = await company.enter(company.watching, company.make)
        socket, _ = await company.enter()
        await told(watcher, company.visitor, CAME)
        engine: Any = socket.client.eio
        await engine.ws.close()
        await settle(watcher, 0.05)
        assert changes(watcher, company.visitor) == [CAME]
        await told(watcher, company.visitor, CAME, LEFT)

    async def test_unsubscribing_is_told_at_once(self, server_factory: ServerFactory) -> None:
        make = Factory(await server_factory(realtime={"presence_grace_seconds": 60}))
        workspace = await make.workspace()
        company = Company(make, await make.conversation(workspace), await make.member(workspace), make)
        watcher, _ = await company.enter(company.watching)
        socket, _ = await company.enter()
        for _ in range(3):
            await socket.ok("unsubscribe", **company.wish())
            await socket.ok("subscribe", **company.wish())
        await told(watcher, company.visitor, *([CAME, LEFT] * 3), CAME)
        await make.close()

    async def test_logging_out(self, company: Company) -> None:
        watcher, _ = await company.enter(company.watching, company.make)
        await company.enter()
        await told(watcher, company.visitor, CAME)
        ok(await company.visitor.http.delete("/sessions/current"))
        await told(watcher, company.visitor, CAME, LEFT)

    async def test_subscribing_again_is_not_told(self, company: Company) -> None:
        watcher, _ = await company.enter(company.watching, company.make)
        socket, _ = await company.enter()
        for _ in range(3):
            await socket.ok("subscribe", **company.wish(after=1))
        await settle(watcher, 0.3)
        assert changes(watcher, company.visitor) == [CAME]

    async def test_a_subscription_that_fails_leaves(self, company: Company) -> None:
        watcher, _ = await company.enter(company.watching, company.make)
        socket, _ = await company.enter()
        answer = await socket.call("subscribe", company.wish(after=99))
        assert answer["problem"]["code"] == "ahead_of_log"
        await told(watcher, company.visitor, CAME, LEFT)

    async def test_the_queue(self, company: Company) -> None:
        workspace = company.conversation.workspace
        queue = {"workspace": workspace.slug, "topic": "chat.queue"}
        watcher = await company.make.socket(company.watching)
        await watcher.ok("subscribe", **queue)
        owner = await company.there.socket(workspace.owner)
        answer = await owner.ok("subscribe", **queue)
        assert len(answer["present"]) == 2
        await told(watcher, workspace.owner, CAME)


@pytest.mark.services
@pytest.mark.parametrize("company", ["two processes"], indirect=True)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
class TestTwoProcesses:
    async def test_a_killed_process(self, company: Company, clock: MovableClock) -> None:
        """What it leaves behind is told by the others, when it has run out."""
        watcher, _ = await company.enter(company.watching, company.make)
        here, there = company.make.server.app.realtime.presence, company.there.server.app.realtime.presence
        await company.enter()
        await told(watcher, company.visitor, CAME)
        clock.move(seconds=TTL_SECONDS - 1)
        await there.beat()
        await here.beat()
        # From here on the other process is as good as dead: it neither beats nor leaves.
        there._entries.clear()
        clock.move(seconds=TTL_SECONDS - 1)
        await here.beat()
        await settle(watcher, 0.1)
        assert changes(watcher, company.visitor) == [CAME]
        clock.move(seconds=2)
        await here.beat()
        await told(watcher, company.visitor, CAME, LEFT)

    async def test_a_process_that_stops_in_good_order(self, company: Company, clock: MovableClock) -> None:
        """Its clients have the time of the grace to come back to another one."""
        watcher, _ = await company.enter(company.watching, company.make)
        await company.enter()
        await told(watcher, company.visitor, CAME)
        await company.there.server.app.realtime.stop()
        await company.enter(make=company.make)
        clock.move(seconds=1)
        await company.make.server.app.realtime.presence.beat()
        await settle(watcher, 0.1)
        assert changes(watcher, company.visitor) == [CAME]

    async def test_a_process_that_stops_and_nobody_comes_back(self, company: Company, clock: MovableClock) -> None:
        watcher, _ = await company.enter(company.watching, company.make)
        await company.enter()
        await told(watcher, company.visitor, CAME)
        await company.there.server.app.realtime.stop()
        clock.move(seconds=1)
        await company.make.server.app.realtime.presence.beat()
        await told(watcher, company.visitor, CAME, LEFT)

    async def test_redis_has_forgotten_everything(self, company: Company, redis_space: RedisSpace) -> None:
        watcher, _ = await company.enter(company.watching, company.make)
        socket, _ = await company.enter()
        await redis_space.clear()
        for make in (company.make, company.there):
            await make.server.app.realtime.presence.beat()
        _, present = await company.enter(company.watching, company.make)
        assert len(present) == 2
        await socket.ok("unsubscribe", **company.wish())
        # Told again that somebody is there, as nobody can know who had heard it; and then that they are not.
        await told(watcher, company.visitor, CAME, CAME, LEFT)


@pytest.mark.services
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_nobody_waits_for_redis(server_factory: ServerFactory, tmp_path: Path) -> None:
    async with own_redis(tmp_path) as process:
        make = Factory(await server_factory(redis={"url": process.url}))
        workspace = await make.workspace()
        company = Company(make, await make.conversation(workspace), await make.member(workspace), make)
        watcher, _ = await company.enter(company.watching)
        await process.pause()
        async with asyncio.timeout(5):
            socket, present = await company.enter()
            assert present == [str(company.visitor.id)]
            await socket.ok("typing", **company.wish(typing=True))
            await socket.ok("unsubscribe", **company.wish())
            await socket.ok("subscribe", **company.wish())
        await process.resume()
        async with asyncio.timeout(15):
            while changes(watcher, company.visitor)[-1:] != [CAME]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await make.server.app.realtime.presence.beat()
        _, present = await company.enter(company.watching)
        assert len(present) == 2
        await make.close()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
class TestTyping:
    async def test_the_others_are_told_and_oneself_is_not(self, company: Company) -> None:
        watcher, _ = await company.enter(company.watching, company.make)
        second, _ = await company.enter(company.watching, company.there)
        socket, _ = await company.enter()
        assert await socket.ok("typing", **company.wish(typing=True)) is None
        await socket.ok("typing", **company.wish(typing=False))
        for each in (watcher, second):
            begun, ended = await each.wait_for("typing", 2)
            assert begun == {
                "workspace_id": str(company.conversation.workspace.id),
                "topic": company.conversation.topic,
                "account_id": str(company.visitor.id),
                "typing": True,
            }
            assert ended == {**begun, "typing": False}
        await settle(socket, 0.05)
        assert socket.all("typing") == []

    async def test_only_who_listens_may_type(self, company: Company) -> None:
        watcher, _ = await company.enter(company.watching, company.make)
        socket = await company.there.socket(company.visitor)
        for _ in range(2):
            answer = await socket.call("typing", company.wish(typing=True))
            assert (answer["problem"]["status"], answer["problem"]["code"]) == (409, "not_subscribed")
            await socket.ok("subscribe", **company.wish())
            await socket.ok("unsubscribe", **company.wish())
        await settle(watcher, 0.05)
        assert watcher.all("typing") == []

    async def test_typing_is_not_in_the_log(self, company: Company) -> None:
        socket, _ = await company.enter()
        await socket.ok("typing", **company.wish(typing=True))
        late = await company.make.socket(company.watching)
        answer = await late.ok("subscribe", **company.wish(after=0))
        assert answer["number"] == 1
        assert [name for name, _ in late.received if name != "presence"] == ["event"]
