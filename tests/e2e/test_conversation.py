"""A visitor with the official JavaScript client and a volunteer with the Python one, on real server processes."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
import socketio

from tests.e2e.javascript import JS, JavaScriptClient
from tests.factories import ok, unique
from tests.mailbox import Mailbox
from tests.processes import ServerProcess
from tests.services import Databases, RedisSpace, missing
from tests.sockets import Json, Socket

TRANSPORTS = {"polling, then websocket": (), "websocket": ("websocket",)}


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js with the official client."""
    found = shutil.which("node")
    if found is None or not (JS / "node_modules" / "socket.io-client").is_dir():
        missing("socket.io-client", "run `make node`")
    return found


@asynccontextmanager
async def serving(folder: Path, settings: dict[str, str], *options: str) -> AsyncIterator[ServerProcess]:
    """Run `courtyard serve` until the block is left."""
    server = ServerProcess(folder, unique("server"), {"REALTIME__PRESENCE_GRACE_SECONDS": "0.3", **settings}, *options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def shared_settings(databases: Databases, redis_space: RedisSpace) -> dict[str, str]:
    """Settings of many processes of one installation."""
    return {
        "DATABASE__URL": await databases.new("postgresql"),
        "REDIS__URL": redis_space.url,
        "REDIS__PREFIX": redis_space.prefix,
    }


@pytest.fixture(params=["one process", pytest.param("two processes", marks=pytest.mark.services)])
async def servers(
    request: pytest.FixtureRequest, tmp_path: Path, databases: Databases
) -> AsyncIterator[tuple[ServerProcess, ServerProcess]]:
    """Where the visitor and where the volunteer connects."""
    async with AsyncExitStack() as stack:
        if request.param == "one process":
            server = await stack.enter_async_context(serving(tmp_path, {}))
            yield server, server
            return
        space: RedisSpace = await _space()
        stack.push_async_callback(space.clear)
        settings = await shared_settings(databases, space)
        first, second = serving(tmp_path, settings), serving(tmp_path, settings)
        yield await stack.enter_async_context(first), await stack.enter_async_context(second)


async def _space() -> RedisSpace:
    space = RedisSpace()
    await space.check()
    return space


class Stage:
    """A workspace with a volunteer, on two servers of one installation."""

    def __init__(self, front: ServerProcess, back: ServerProcess) -> None:
        self.front = httpx2.AsyncClient(base_url=f"{front.url}/api/v1", timeout=20)
        self.back = httpx2.AsyncClient(base_url=f"{back.url}/api/v1", timeout=20)
        self.slug = unique("line")
        # Both have one data directory, so it does not matter which of them delivers.
        self.mailbox = Mailbox(back.folder / "data")
        self.volunteer = self.visitor = ""

    async def prepare(self) -> None:
        person = {"email": f"{uuid4()}@example.org", "password": "correct horse battery"}
        started = ok(await self.back.post("/accounts", json={**person, "name": "Volunteer"}))
        code = (await self.mailbox.wait_for(person["email"])).code
        proof = {"by": "code", "challenge_id": started["challenge_id"], "code": code}
        ok(await self.back.post("/accounts/confirm", json=proof))
        self.volunteer = ok(await self.back.post("/sessions", json=person))["access_token"]
        new = {"slug": self.slug, "name": "Line"}
        ok(await self.back.post("/workspaces", json=new, headers=bearer(self.volunteer)))
        self.visitor = ok(await self.front.post("/sessions/anonymous", json={"name": "Visitor"}))["access_token"]

    async def log(self, conversation_id: str) -> list[Json]:
        """Return the messages of a conversation, oldest first."""
        path = f"/workspaces/{self.slug}/chat/conversations/{conversation_id}/messages"
        return list(reversed(ok(await self.back.get(path, headers=bearer(self.volunteer)))["items"]))

    async def close(self) -> None:
        await self.front.aclose()
        await self.back.aclose()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def stage(servers: tuple[ServerProcess, ServerProcess]) -> AsyncIterator[Stage]:
    made = Stage(*servers)
    await made.prepare()
    yield made
    await made.close()


@pytest.mark.node
@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS)
async def test_the_official_clients_hold_a_conversation(
    node: str, servers: tuple[ServerProcess, ServerProcess], stage: Stage, transports: tuple[str, ...]
) -> None:
    front, back = servers
    volunteer = Socket(back.url)
    await volunteer.connect(stage.volunteer)
    visitor = await JavaScriptClient.start(node, front.url, stage.visitor, *transports)
    try:
        where = {"workspace": stage.slug}
        await volunteer.ok("subscribe", **where, topic="chat.queue")
        opened = await visitor.ok("chat.conversation.open", **where, message={"text": "Is anybody there?"})
        (seen,) = await volunteer.wait_for("event")
        assert (seen["name"], seen["data"]["case"]["id"]) == ("chat.case.changed", opened["id"])

        topic, named = f"chat.conversation:{opened['id']}", {**where, "conversation_id": opened["id"]}
        await visitor.ok("subscribe", **where, topic=topic, after=0)
        await volunteer.ok("chat.conversation.claim", **named)
        present = (await volunteer.ok("subscribe", **where, topic=topic, after=0))["present"]
        assert opened["visitor_id"] in present
        assert len(present) == 2
        await visitor.wait_until(lambda: any(change["present"] for change in visitor.all("presence")))

        await volunteer.ok("typing", **where, topic=topic, typing=True)
        await visitor.wait_until(lambda: visitor.all("typing"))
        for number in range(5):
            await volunteer.ok("chat.message.send", **named, text=f"volunteer {number}")
            await visitor.ok("chat.message.send", **named, text=f"visitor {number}")

        await visitor.wait_until(lambda: len(visitor.all("event")) == 14)
        assert await visitor.tell(transport=True) == "websocket"
        await visitor.tell(cut=True)
        for number in range(5, 10):
            await volunteer.ok("chat.message.send", **named, text=f"volunteer {number}")
        await visitor.wait_until(lambda: visitor.said.count({"connected": True}) == 2)
        await visitor.ok("chat.message.send", **named, text="back again")
        await visitor.wait_until(lambda: len(visitor.all("event")) == 20)
        # With the two of the queue: opened and claimed.
        await volunteer.wait_for("event", 22)

        numbers = [event["number"] for event in visitor.all("event")]
        assert numbers == list(range(1, 21))
        heard = [event for event in volunteer.all("event") if event["topic"] == topic]
        assert heard == visitor.all("event")
        told = [event["data"]["message"] for event in heard if event["name"] == "chat.message.sent"]
        assert told == await stage.log(opened["id"])
        assert [message["number"] for message in told] == list(range(1, 19))
    finally:
        await visitor.close()
        await volunteer.close()


@pytest.mark.node
async def test_a_burst_of_messages_where_only_polling_gets_through(node: str, tmp_path: Path) -> None:
    """The client packs them into few requests; each is answered, in order, and heard."""
    async with serving(tmp_path, {}) as server:
        stage = Stage(server, server)
        await stage.prepare()
        visitor = await JavaScriptClient.start(node, server.url, stage.visitor, "polling")
        where = {"workspace": stage.slug}
        opened = await visitor.ok("chat.conversation.open", **where)
        await visitor.ok("subscribe", **where, topic=f"chat.conversation:{opened['id']}", after=0)
        named = {**where, "conversation_id": opened["id"]}
        texts = [str(number) for number in range(60)]
        sent = await asyncio.gather(*(visitor.ok("chat.message.send", **named, text=text) for text in texts))
        assert [(message["number"], message["text"]) for message in sent] == [*enumerate(texts, 1)]
        await visitor.wait_until(lambda: len(visitor.all("event")) == 61)
        assert [event["number"] for event in visitor.all("event")] == list(range(1, 62))
        assert await visitor.tell(transport=True) == "polling"
        await visitor.close()
        await stage.close()


async def test_the_end_of_a_session_cuts_its_sockets_on_every_process(
    servers: tuple[ServerProcess, ServerProcess], stage: Stage
) -> None:
    front, _ = servers
    listening = Socket(front.url)
    await listening.connect(stage.volunteer)
    gone = asyncio.Event()

    async def disconnected(_reason: str) -> None:
        gone.set()

    listening.client.on("disconnect", disconnected)
    async with asyncio.timeout(1.5):
        # On the other process, where there are two.
        assert (await stage.back.delete("/sessions/current", headers=bearer(stage.volunteer))).status_code == 204
        await gone.wait()
    again = Socket(front.url)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await again.connect(stage.volunteer)


@pytest.mark.services
async def test_workers_share_a_port(tmp_path: Path, databases: Databases, redis_space: RedisSpace) -> None:
    async with serving(tmp_path, await shared_settings(databases, redis_space), "--workers", "2") as server:
        stage = Stage(server, server)
        await stage.prepare()
        where = {"workspace": stage.slug}
        # So many that both workers have some of them.
        listeners = [Socket(server.url) for _ in range(8)]
        for listener in listeners:
            await listener.connect(stage.volunteer)
            await listener.ok("subscribe", **where, topic="chat.queue", after=0)
        path = f"/workspaces/{stage.slug}/chat/conversations"
        for number in range(6):
            opened = ok(await stage.front.post(path, json={"subject": f"Case {number}"}, headers=bearer(stage.visitor)))
            ok(await stage.front.post(f"{path}/{opened['id']}/close", headers=bearer(stage.visitor)))
        for listener in listeners:
            events = await listener.wait_for("event", 12)
            assert [event["number"] for event in events] == list(range(1, 13))
            await listener.close()
        await stage.close()


async def test_many_workers_need_what_they_share(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"needs PostgreSQL .* and Redis"):
        async with serving(tmp_path, {}, "--workers", "2"):
            pass
