"""Load that does not give up, and the check at its end: everything once, in order, for everyone."""

import asyncio
import contextlib
import secrets
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import aiohttp
import httpx2
import socketio
from typing_extensions import override

from courtyard.kernel.http import API
from tests.clients import BROKEN, Listener
from tests.factories import PASSWORD, Conversation, Factory, Person, Workspace, ok
from tests.mailbox import Mailbox
from tests.processes import PROGRAM, Process, ServerProcess
from tests.running import RunningServer
from tests.sockets import Json

DEADLINE_SECONDS = 60
# Between two tries; many clients that knock more often keep a small machine from starting the server.
PAUSE_SECONDS = 0.2
# What is told of a conversation before its first message: that it was opened, and claimed.
EVENTS_BEFORE = 2


def quiet_port() -> int:
    """Return a port on which nobody listens, and which no outgoing connection is given.

    A server that comes back needs its port again; and a client that knocks at a port of the other kind while nobody
    listens there may, one day, find itself.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class Server(ServerProcess):
    """`courtyard serve` on a port that stays its own while it is dead."""

    def __init__(self, folder: Path, name: str, settings: dict[str, str]) -> None:
        port = quiet_port()
        defaults = {
            "SERVER__PORT": str(port),
            "SECURITY__ARGON2_PARALLELISM": "1",
            "DATABASE__POOL_SIZE": "5",
            "DATABASE__READ_POOL_SIZE": "5",
            "EVENTS__REPLAY_LIMIT": "100000",
        }
        super().__init__(folder, name, {**defaults, **settings})
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._clients: list[httpx2.AsyncClient] = []

    async def migrate(self) -> None:
        """Build its database, as an operator does."""
        migration = Process([*PROGRAM, "migrate", "up"], self.output.with_suffix(".migrate.log"), self._environment)
        await migration.start()
        assert migration._process is not None
        status = await asyncio.wait_for(migration._process.wait(), DEADLINE_SECONDS)
        assert status == 0, migration.output.read_text()

    def client(self, **options: Any) -> httpx2.AsyncClient:
        """Return a client; it is closed with the server."""
        client = httpx2.AsyncClient(trust_env=False, timeout=10, **options)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """End it, whatever it does."""
        for client in self._clients:
            await client.aclose()
        await self.kill()

    async def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        async with httpx2.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"{self.url}/metrics")).text
        (value,) = (line.split()[1] for line in text.splitlines() if line.startswith(f"{name} "))
        return float(value)


class ProcessFactory(Factory):
    """Makes what tests need on a server whose insides are out of reach: people register there, by mail."""

    def __init__(self, server: Server) -> None:
        super().__init__(cast("RunningServer", server))
        self._mailbox = Mailbox(server.folder / "data")

    @override
    async def account(self, email: str, name: str, password: str = PASSWORD) -> UUID:
        new = {"email": email, "password": password, "name": name}
        started = ok(await self.nobody.post("/accounts", json=new))
        code = (await self._mailbox.wait_for(email)).code
        proof = {"by": "code", "challenge_id": started["challenge_id"], "code": code}
        return UUID(ok(await self.nobody.post("/accounts/confirm", json=proof))["id"])


@dataclass
class Room:
    """A claimed conversation, with the two who talk in it."""

    conversation: Conversation
    visitor: Person
    volunteer: Person

    @classmethod
    async def open(cls, server: Server, workspace: Workspace | None = None) -> "Room":
        """Make one, in a workspace of its own unless told in which."""
        factory = ProcessFactory(server)
        workspace = workspace or await factory.workspace()
        volunteer = await factory.member(workspace)
        visitor = await factory.visitor()
        conversation = await factory.conversation(workspace, visitor=visitor, claimed_by=volunteer)
        return cls(conversation, visitor, volunteer)

    def listener(self, urls: str | Sequence[str], *, staff: bool = False) -> Listener:
        """Return somebody who listens from the beginning."""
        token = (self.volunteer if staff else self.visitor).token
        return Listener(urls, token, self.conversation.workspace.slug, self.conversation.topic)

    async def stored(self, url: str) -> list[Json]:
        """Return all messages, the oldest first."""
        messages: list[Json] = []
        async with httpx2.AsyncClient(trust_env=False, timeout=30, headers=self.visitor.headers) as client:
            cursor: dict[str, str] = {}
            while True:
                page = ok(await client.get(url + API + self.conversation.messages, params={"limit": "100", **cursor}))
                messages += page["items"]
                if page["next"] is None:
                    return messages[::-1]
                cursor = {"cursor": page["next"]}


Deliver = Callable[[Json], Awaitable[Json | None]]


class Load:
    """People who write as fast as they are answered, and send each message again until it is acknowledged.

    Args:
        room: where.
        urls: of the servers, among which the writers are spread.

    Attributes:
        acknowledged: what the server confirmed, by writer, in the order in which it was written.
        retries: how often something was sent again.
        refusals: the problems that the server answered with.
        longest_seconds: the longest time between the first try of a message and its acknowledgement.
    """

    def __init__(self, room: Room, urls: Sequence[str]) -> None:
        self.room = room
        self.acknowledged: dict[str, list[Json]] = {}
        self.retries = 0
        self.refusals: Counter[str] = Counter()
        self.longest_seconds = 0.0
        self._ended = False
        self._tasks: list[asyncio.Task[None]] = []
        self._urls = urls

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator["Load"]:
        """Write until the block ends, then until the last message is acknowledged."""
        kinds: list[Callable[[str, Person], contextlib.AbstractAsyncContextManager[Deliver]]]
        kinds = [self._by_http, self._by_keyed_http, self._by_socket, self._by_socket]
        people = (self.room.visitor, self.room.volunteer)
        for place, by in enumerate(kinds):
            url = self._urls[place % len(self._urls)]
            self._tasks.append(asyncio.create_task(self._write(f"writer-{place}", by(url, people[place // 2 % 2]))))
        try:
            yield self
            self._ended = True
            async with asyncio.timeout(DEADLINE_SECONDS):
                await asyncio.gather(*self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def count(self) -> int:
        """How many messages were acknowledged."""
        return sum(map(len, self.acknowledged.values()))

    async def more(self, count: int) -> None:
        """Return when so many more are acknowledged."""
        goal = self.count + count
        async with asyncio.timeout(DEADLINE_SECONDS):
            while self.count < goal:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.005)

    async def _write(self, name: str, by: contextlib.AbstractAsyncContextManager[Deliver]) -> None:
        mine = self.acknowledged[name] = []
        async with by as deliver:
            while not self._ended:
                wish = {"text": f"{name}: {len(mine) + 1}", "client_message_id": str(uuid4())}
                started = time.monotonic()
                while (answer := await deliver(wish)) is None:
                    self.retries += 1
                    await asyncio.sleep(PAUSE_SECONDS)
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)
                assert {key: answer[key] for key in wish} == wish
                mine.append(answer)

    @contextlib.asynccontextmanager
    async def _by_http(self, url: str, person: Person, *, keyed: bool = False) -> AsyncIterator[Deliver]:
        address = url + API + self.room.conversation.messages
        async with httpx2.AsyncClient(trust_env=False, timeout=10, headers=person.headers) as client:

            async def deliver(wish: Json) -> Json | None:
                headers = {"Idempotency-Key": wish["client_message_id"]} if keyed else {}
                try:
                    response = await client.post(address, json=wish, headers=headers)
                except httpx2.TransportError:
                    return None
                if response.status_code == 201:
                    return response.json()
                self.refusals[f"{response.status_code} {response.text}"] += 1
                return None

            yield deliver

    def _by_keyed_http(self, url: str, person: Person) -> contextlib.AbstractAsyncContextManager[Deliver]:
        return self._by_http(url, person, keyed=True)

    @contextlib.asynccontextmanager
    async def _by_socket(self, url: str, person: Person) -> AsyncIterator[Deliver]:
        to = {
            "workspace": self.room.conversation.workspace.slug,
            "conversation_id": str(self.room.conversation.id),
        }
        async with aiohttp.ClientSession() as session:
            client = socketio.AsyncClient(reconnection=False, handle_sigint=False, http_session=session)
            gone = asyncio.Event()
            client.on("disconnect", lambda *_: gone.set())

            async def deliver(wish: Json) -> Json | None:
                try:
                    if not client.connected:
                        await client.disconnect()
                        await client.connect(url, auth={"token": person.token}, transports=["websocket"])
                        gone.clear()
                    answer = await _unless(gone, client.call("chat.message.send", {**to, **wish}, timeout=10))
                except BROKEN:
                    return None
                if answer is not None and "problem" in answer:
                    self.refusals[f"{answer['problem']['status']} {answer['problem']}"] += 1
                    return None
                return None if answer is None else answer["data"]

            yield deliver
            await client.disconnect()


async def _unless(gone: asyncio.Event, call: Awaitable[Json]) -> Json | None:
    """Wait for an answer, but not once the connection is gone, of which the library tells a waiting call nothing."""
    answer, end = asyncio.ensure_future(call), asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait({answer, end}, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        for task in (answer, end):
            task.cancel()
        await asyncio.gather(answer, end, return_exceptions=True)


async def check_stored(room: Room, url: str, acknowledged: Sequence[Json]) -> list[Json]:
    """Compare the messages of a conversation with those that were acknowledged, which must all be there, once."""
    stored = await room.stored(url)
    assert [message["number"] for message in stored] == [*range(1, len(stored) + 1)]
    ids = [message["client_message_id"] for message in stored]
    assert len({*ids}) == len(ids), "a message is there twice"
    by_id = dict(zip(ids, stored, strict=True))
    assert [by_id.get(message["client_message_id"]) for message in acknowledged] == [*acknowledged]
    return stored


async def check_heard(room: Room, url: str, stored: Sequence[Json], listeners: Sequence[Listener]) -> None:
    """Compare the log, and what each listener has seen, with the messages: all of them, once, in order."""
    async with room.listener(url) as log:
        for listener in (log, *listeners):
            await listener.reach(len(stored) + EVENTS_BEFORE)
            assert listener.faults == []
            names = [event["name"] for event in listener.events[:EVENTS_BEFORE]]
            assert names == ["chat.conversation.opened", "chat.conversation.claimed"]
            assert [event["number"] for event in listener.events] == [*range(1, len(stored) + EVENTS_BEFORE + 1)]
            assert {event["name"] for event in listener.events[EVENTS_BEFORE:]} <= {"chat.message.sent"}
            assert [event["data"]["message"] for event in listener.events[EVENTS_BEFORE:]] == [*stored]
            assert [event["id"] for event in listener.events] == [event["id"] for event in log.events]


async def check(load: Load, url: str, listeners: Sequence[Listener]) -> None:
    """Check everything, after the load has ended."""
    assert {refusal for refusal in load.refusals if not refusal.startswith("503 ")} == set()
    acknowledged = [message for messages in load.acknowledged.values() for message in messages]
    stored = await check_stored(load.room, url, acknowledged)
    # With that somebody of the staff has joined.
    assert len(stored) == len(acknowledged) + 1
    for messages in load.acknowledged.values():
        numbers = [message["number"] for message in messages]
        assert numbers == sorted(numbers), "messages of one writer have changed places"
    await check_heard(load.room, url, stored, listeners)
