"""Who may connect, and whose connection ends when."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import socketio
import websockets

from courtyard.kernel.realtime import connection as connections
from tests.clients import Listener, raw_socket
from tests.conftest import ServerFactory
from tests.factories import Conversation, Factory, ok
from tests.running import MovableClock
from tests.services import RedisSpace
from tests.sockets import Json, Socket

TRANSPORTS = pytest.mark.parametrize("transport", ["websocket", "polling"])


async def gone(socket: Socket, seconds: float = 5) -> None:
    """Return when a client has noticed that it was cut off."""
    async with asyncio.timeout(seconds):
        while socket.client.connected:  # noqa: ASYNC110 - the library has no event for it
            await asyncio.sleep(0.01)


async def refused(make: Factory, token: str | None, **options: Json) -> Json:
    """Try to connect, and return what the server says when it refuses."""
    socket = Socket(make.server.url)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await socket.connect(token, **options)
    await socket.close()
    return socket.refusal


async def refusal(make: Factory, token: str | None, **options: Json) -> dict[str, Any]:
    """Return the problem with which a connection is refused."""
    said = await refused(make, token, **options)
    assert said["message"] == said["data"]["code"]
    problem: dict[str, Any] = said["data"]
    return problem


class TestRefusal:
    @TRANSPORTS
    async def test_without_a_token(self, transport: str, make: Factory) -> None:
        problem = await refusal(make, None, transports=[transport])
        assert (problem["status"], problem["code"]) == (401, "unauthenticated")

    async def test_a_forged_token(self, make: Factory) -> None:
        visitor = await make.visitor()
        head, body, signature = visitor.token.split(".")
        for token in ("x", "a.b.c", f"{head}.{body}.{signature[::-1]}", f"{head}.{body}.", "é" * 20, "x" * 9_000):
            problem = await refusal(make, token)
            assert (problem["status"], problem["reason"]) == (401, "token_invalid")

    async def test_an_expired_token(self, server_factory: ServerFactory, clock: MovableClock) -> None:
        make = Factory(await server_factory(clock=clock))
        visitor = await make.visitor()
        clock.move(seconds=make.server.settings.security.access_token_seconds + 1)
        problem = await refusal(make, visitor.token)
        assert (problem["status"], problem["reason"]) == (401, "token_expired")
        await make.close()

    async def test_a_session_that_is_over(self, make: Factory) -> None:
        visitor = await make.visitor()
        ok(await visitor.http.delete("/sessions/current"))
        problem = await refusal(make, visitor.token)
        assert (problem["status"], problem["reason"]) == (401, "session_ended")

    @pytest.mark.parametrize(
        "auth", ["text", 7, [], [1], {"token": None}, {"token": 7}, {"token": ["x"]}, {"other": 1}]
    )
    async def test_an_auth_of_another_shape(self, auth: Json, make: Factory) -> None:
        socket = Socket(make.server.url)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await socket.client.connect(socket.url, auth=auth, transports=["websocket"])
        await socket.close()
        assert socket.refusal["data"]["status"] == 401

    @pytest.mark.parametrize("cookie", ["courtyard_access=x", "=; ;;=", "courtyard_access", "a=\x01b", '"' * 50])
    async def test_a_broken_cookie(self, cookie: str, make: Factory) -> None:
        problem = await refusal(make, None, headers={"Cookie": cookie})
        assert problem["status"] == 401

    async def test_the_database_does_not_answer(self, make: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
        visitor = await make.visitor()
        make.server.runtime.identity.forget()
        database = make.server.runtime.placement.main
        monkeypatch.setattr(database.readers, "_timeout", 0.05)
        held = [await database.readers.acquire() for _ in range(database.readers.size)]
        try:
            problem = await refusal(make, visitor.token)
        finally:
            for each in held:
                database.readers.release(each)
        assert (problem["status"], problem["code"]) == (503, "database_unavailable")

    async def test_a_fault_of_ours(
        self, make: Factory, monkeypatch: pytest.MonkeyPatch, expected_faults: list[str]
    ) -> None:
        async def fail(*_: object) -> None:
            raise ZeroDivisionError

        visitor = await make.visitor()
        monkeypatch.setattr(make.server.runtime.identity, "authenticate", fail)
        problem = await refusal(make, visitor.token)
        assert (problem["status"], problem["code"]) == (500, "internal_error")
        expected_faults.append("ZeroDivisionError")

    @pytest.mark.parametrize("namespace", ["/admin", "/courtyard"])
    async def test_another_namespace(self, namespace: str, make: Factory) -> None:
        visitor = await make.visitor()
        assert await refused(make, visitor.token, namespaces=[namespace]) is None

    async def test_a_page_of_another_site(self, make: Factory) -> None:
        visitor = await make.visitor()
        for transport in ("websocket", "polling"):
            await refused(make, visitor.token, headers={"Origin": "https://evil.example"}, transports=[transport])
        own = await make.socket(visitor, headers={"Origin": make.server.url})
        assert own.client.connected

    async def test_allowed_sites_and_the_own(self, server_factory: ServerFactory) -> None:
        make = Factory(
            await server_factory(
                server={"cors_origins": ["https://app.example"], "public_url": "https://courtyard.example"}
            )
        )
        visitor = await make.visitor()
        for origin in ("https://app.example", "https://courtyard.example"):
            assert (await make.socket(visitor, headers={"Origin": origin})).client.connected
        await refused(make, visitor.token, headers={"Origin": "https://evil.example"})
        await make.close()


class TestCookie:
    async def test_the_cookie_of_a_login_will_do(self, make: Factory) -> None:
        for transport in ("websocket", "polling"):
            socket = await make.socket(None, headers={"Cookie": await self.cookies(make)}, transports=[transport])
            assert socket.client.connected

    @staticmethod
    async def cookies(make: Factory) -> str:
        """Log in as a browser does, and return the cookies that it sends from then on."""
        answer = await make.nobody.post("/sessions/anonymous", json={"name": "Visitor", "cookies": True})
        return "; ".join(f"{name}={value}" for name, value in answer.cookies.items())

    @pytest.mark.parametrize("others", ["theme=dark; ", "a:b=1; [x]; ;=; ", "name=\xfc; ", '"; ', "courtyard_access; "])
    async def test_whatever_cookies_others_have_set(self, others: str, make: Factory) -> None:
        headers = {"Cookie": others + await self.cookies(make)}
        async with raw_socket(make.server.url, headers=headers) as raw:
            await raw.say("40")
            assert (await raw.hear() or "").startswith("40{")

    async def test_the_token_goes_before_the_cookie(self, make: Factory) -> None:
        conversation, other = await make.conversation(), await make.visitor()
        socket = await make.socket(conversation.visitor, headers={"Cookie": f"courtyard_access={other.token}"})
        await socket.ok("subscribe", workspace=conversation.workspace.slug, topic=conversation.topic)


class TestEndOfSession:
    @TRANSPORTS
    async def test_logging_out_cuts_the_connections_of_that_session(self, transport: str, make: Factory) -> None:
        person = await make.person()
        credentials = {"email": person.email, "password": "correct horse battery"}
        other = make.signed_in(ok(await make.nobody.post("/sessions", json=credentials)))
        first, second = [await make.socket(person, transports=[transport]) for _ in range(2)]
        witness = await make.socket(other, transports=[transport])
        ok(await person.http.delete("/sessions/current"))
        # At once, and not when sessions are next looked at.
        await gone(first, 0.5)
        await gone(second, 0.5)
        assert witness.client.connected
        assert (await witness.call("unknown", {}))["problem"]["status"] == 404

    @pytest.mark.services
    async def test_on_another_process(self, server_factory: ServerFactory, redis_space: RedisSpace) -> None:
        shared = {"url": redis_space.url, "prefix": redis_space.prefix}
        here, there = [Factory(await server_factory(redis=shared)) for _ in range(2)]
        visitor, other = await here.visitor(), await here.visitor()
        socket, witness = await there.socket(visitor), await there.socket(other)
        ok(await visitor.http.delete("/sessions/current"))
        await gone(socket, 0.5)
        assert (await refusal(there, visitor.token))["reason"] == "session_ended"
        assert witness.client.connected
        for make in (here, there):
            await make.close()

    async def test_on_a_process_that_is_not_told(self, server_factory: ServerFactory) -> None:
        """Nothing joins the two, so the other one finds out by itself, within a second or two."""
        here, there = [Factory(await server_factory()) for _ in range(2)]
        visitor, other = await here.visitor(), await here.visitor()
        socket, witness = await there.socket(visitor), await there.socket(other)
        ok(await visitor.http.delete("/sessions/current"))
        await gone(socket, 3)
        assert witness.client.connected
        for make in (here, there):
            await make.close()

    async def test_a_session_that_runs_out(self, server_factory: ServerFactory, clock: MovableClock) -> None:
        make = Factory(await server_factory(clock=clock))
        socket = await make.socket(await make.visitor())
        # A connection outlives the access token that it began with.
        clock.offset += timedelta(seconds=make.server.settings.security.access_token_seconds + 1)
        assert (await socket.call("unknown", {}))["problem"]["status"] == 404
        clock.offset += timedelta(seconds=make.server.settings.security.refresh_token_seconds)
        await gone(socket, 3)
        await make.close()

    async def test_an_event_after_the_end(self, make: Factory) -> None:
        conversation = await make.conversation()
        async with raw_socket(make.server.url, conversation.visitor.token) as raw:
            ok(await conversation.visitor.http.delete("/sessions/current"))
            with contextlib.suppress(Exception):
                await raw.say('421["subscribe",{"workspace":"x","topic":"chat.queue"}]')
            answer = await raw.hear()
            assert answer is None or "unauthenticated" in answer


class TestEndOfRights:
    """Who loses a role hears nothing any more, though the session goes on."""

    @pytest.fixture(params=["this process", pytest.param("another process", marks=pytest.mark.services)])
    async def there(
        self,
        request: pytest.FixtureRequest,
        make: Factory,
        server_factory: ServerFactory,
        redis_space_of_process: RedisSpace,
    ) -> AsyncIterator[tuple[Factory, Factory]]:
        """Where the role is taken away, and where its sockets are."""
        if request.param == "this process":
            yield make, make
            return
        await redis_space_of_process.check()
        shared = {"url": redis_space_of_process.url, "prefix": redis_space_of_process.prefix}
        pair = [Factory(await server_factory(redis=shared)) for _ in range(2)]
        yield pair[0], pair[1]
        for each in pair:
            await each.close()

    @pytest.mark.parametrize("how", ["removed", "changed"])
    async def test_a_member(self, how: str, there: tuple[Factory, Factory]) -> None:
        here, elsewhere = there
        workspace = await here.workspace()
        member, other = await here.member(workspace), await here.member(workspace)
        conversation = await here.conversation(workspace)
        socket, witness = await elsewhere.socket(member), await elsewhere.socket(other)
        for each in (socket, witness):
            for topic in ("chat.queue", conversation.topic):
                await each.ok("subscribe", workspace=workspace.slug, topic=topic)
        path = f"{workspace.path}/members/{member.id}"
        if how == "removed":
            ok(await workspace.owner.http.delete(path))
        else:
            ok(await workspace.owner.http.patch(path, json={"roles": ["member"]}))
        await gone(socket, 0.5)
        ok(await conversation.visitor.http.post(conversation.messages, json={"text": "hello"}))
        await witness.wait_for("event")
        assert socket.all("event") == []
        # The session goes on, without the role.
        again = await elsewhere.socket(member)
        for topic, code in (("chat.queue", "forbidden"), (conversation.topic, "not_found")):
            answer = await again.call("subscribe", {"workspace": workspace.slug, "topic": topic, "after": 0})
            assert answer["problem"]["code"] == code

    async def test_the_own_conversation_stays(self, make: Factory) -> None:
        workspace = await make.workspace()
        member = await make.member(workspace)
        conversation = await make.conversation(workspace, visitor=member)
        async with Listener(make.server.url, member.token, workspace.slug, conversation.topic) as listener:
            ok(await member.http.delete(f"{workspace.path}/members/{member.id}"))
            ok(await member.http.post(conversation.messages, json={"text": "hello"}))
            await listener.reach(2)
            assert listener.faults == []


class TestSlowClient:
    """A client that does not read while much is said."""

    @pytest.fixture
    async def conversation(self, make: Factory, monkeypatch: pytest.MonkeyPatch) -> Conversation:
        monkeypatch.setattr(connections, "MAX_WAITING_BYTES", 200_000)
        return await make.conversation()

    async def test_it_is_cut_and_comes_back_without_loss(self, make: Factory, conversation: Conversation) -> None:
        dispatcher = make.server.runtime.dispatcher
        before = dispatcher.topics
        slug, token = conversation.workspace.slug, conversation.visitor.token
        async with raw_socket(make.server.url, token) as raw:
            answer = await raw.ask(1, "subscribe", {"workspace": slug, "topic": conversation.topic})
            assert answer["data"]["number"] == 1
            raw.websocket.transport.pause_reading()
            sent = 0
            while dispatcher.topics > before:
                assert sent < 900, "it was not cut"
                text = f"{sent} {'x' * 9_900}"
                ok(await conversation.visitor.http.post(conversation.messages, json={"text": text}))
                sent += 1
            raw.websocket.transport.resume_reading()
            seen = 1
            while (packet := await raw.hear()) is not None:
                number = int(packet.partition('"number":')[2].partition(",")[0])
                assert number == seen + 1
                seen = number
        assert seen < sent + 1
        async with Listener(make.server.url, token, slug, conversation.topic, after=seen) as listener:
            await listener.reach(sent + 1)
            assert listener.faults == []

    async def test_others_do_not_wait_for_it(self, make: Factory, conversation: Conversation) -> None:
        slug, token = conversation.workspace.slug, conversation.visitor.token
        async with (
            raw_socket(make.server.url, token) as raw,
            Listener(make.server.url, token, slug, conversation.topic) as listener,
        ):
            await raw.ask(1, "subscribe", {"workspace": slug, "topic": conversation.topic})
            raw.websocket.transport.pause_reading()
            for number in range(2, 302):
                ok(await conversation.visitor.http.post(conversation.messages, json={"text": "x" * 9_900}))
                await listener.reach(number, 2)
            assert listener.faults == []
            raw.websocket.transport.resume_reading()

    async def test_one_that_polls(self, server_factory: ServerFactory) -> None:
        make = Factory(await server_factory(realtime={"max_queued_messages": 10}))
        conversation = await make.conversation()
        slug, visitor = conversation.workspace.slug, conversation.visitor
        async with make.server.network_client() as client:
            address = "/socket.io/?EIO=4&transport=polling"
            opened = await client.get(address)
            address += f"&sid={json.loads(opened.text[1:])['sid']}"
            subscribe = ["subscribe", {"workspace": slug, "topic": conversation.topic}]
            await client.post(
                address, content=f"40{json.dumps({'token': visitor.token})}\x1e421{json.dumps(subscribe)}"
            )
            assert '431[{"data"' in (await client.get(address)).text
            for _ in range(11):
                ok(await visitor.http.post(conversation.messages, json={"text": "hello"}))
            assert (await client.get(address)).status_code == 400
        async with Listener(make.server.url, visitor.token, slug, conversation.topic, after=1) as listener:
            await listener.reach(12)
            assert listener.faults == []
        await make.close()

    async def test_a_long_replay_waits_for_the_client(self, make: Factory, conversation: Conversation) -> None:
        """What is replayed goes out as fast as it is read, so it cuts nobody."""
        visitor, slug = conversation.visitor, conversation.workspace.slug
        for _ in range(300):
            # More in all than the machine keeps for a client on the way.
            ok(await visitor.http.post(conversation.messages, json={"text": "😀" * 10_000}))
        async with raw_socket(make.server.url, visitor.token) as raw:
            raw.websocket.transport.pause_reading()
            await raw.say(f'421["subscribe",{{"workspace":"{slug}","topic":"{conversation.topic}","after":0}}]')
            await asyncio.sleep(0.3)
            raw.websocket.transport.resume_reading()
            for number in range(1, 302):
                packet = await raw.hear()
                assert packet is not None, number
                assert f'"number":{number},' in packet
            assert (await raw.acknowledgement(1))["data"]["number"] == 301


async def test_an_upgrade_in_the_middle_of_everything(make: Factory) -> None:
    """From polling to WebSocket while much is said: nothing is lost, doubled, or overtaken."""
    conversation = await make.conversation()
    visitor, slug = conversation.visitor, conversation.workspace.slug
    total = 240
    numbers: list[int] = []

    async def write() -> None:
        for _ in range(total):
            await asyncio.sleep(0)
            ok(await visitor.http.post(conversation.messages, json={"text": "hello"}))

    async with make.server.network_client() as client:
        address = "/socket.io/?EIO=4&transport=polling"
        opened = await client.get(address)
        sid = json.loads(opened.text[1:])["sid"]
        address += f"&sid={sid}"
        subscribe = ["subscribe", {"workspace": slug, "topic": conversation.topic}]
        await client.post(address, content=f"40{json.dumps({'token': visitor.token})}\x1e42{json.dumps(subscribe)}")
        writing = asyncio.create_task(write())
        while len(numbers) < total // 4:
            numbers += numbers_in((await client.get(address)).text)
        url = make.server.url.replace("http", "ws", 1) + f"/socket.io/?EIO=4&transport=websocket&sid={sid}"
        async with websockets.connect(url, compression=None, close_timeout=0.2) as websocket:
            await websocket.send("2probe")
            assert await websocket.recv() == "3probe"
            # What waits is fetched before the transport is changed, as clients do it.
            while (text := (await client.get(address)).text) != "6":
                numbers += numbers_in(text)
            await websocket.send("5")
            async with asyncio.timeout(20):
                while len(numbers) < total:
                    packet = str(await websocket.recv())
                    if packet == "2":
                        await websocket.send("3")
                    numbers += numbers_in(packet)
            (connection,) = (each for each in make.server.app.realtime._connections.values() if each.socket.sid == sid)
            assert connection._wire is not None
        await writing
    assert numbers == list(range(2, total + 2))


def numbers_in(text: str) -> list[int]:
    """Return the numbers of the events among packets."""
    packets = [packet for packet in text.split("\x1e") if packet.startswith('42["event"')]
    return [json.loads(packet[2:])[1]["number"] for packet in packets]


async def test_a_client_that_is_gone_in_the_middle_of_subscribing(
    make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await make.conversation()
    runtime = make.server.runtime
    before, waits, goes_on = runtime.dispatcher.topics, asyncio.Event(), asyncio.Event()
    known = runtime.bus.listen

    async def listen(channel: str) -> None:
        waits.set()
        await goes_on.wait()
        await known(channel)

    monkeypatch.setattr(runtime.bus, "listen", listen)
    socket = await make.socket(conversation.visitor)
    subscribing = asyncio.create_task(
        socket.call("subscribe", {"workspace": conversation.workspace.slug, "topic": conversation.topic})
    )
    await waits.wait()
    ok(await conversation.visitor.http.delete("/sessions/current"))
    await gone(socket)
    goes_on.set()
    subscribing.cancel()
    async with asyncio.timeout(5):
        while runtime.dispatcher.topics > before:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_a_client_that_is_gone_before_it_is_known(make: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = await make.visitor()
    engine: Any = make.server.app.realtime._engine
    known = make.server.runtime.identity.authenticate
    waits, goes_on = asyncio.Event(), asyncio.Event()

    async def authenticate(*arguments: Any) -> object:
        waits.set()
        await goes_on.wait()
        return await known(*arguments)

    monkeypatch.setattr(make.server.runtime.identity, "authenticate", authenticate)
    async with raw_socket(make.server.url) as raw:
        await raw.say(f'40{{"token":"{visitor.token}"}}')
        await waits.wait()
        connected, open_sockets = len(make.server.app.realtime._connections), set(engine.eio.sockets)
        for eio_sid in open_sockets:
            if engine.manager.eio_sid_from_sid(eio_sid, "/") is None:
                await engine.cut(eio_sid)
        goes_on.set()
        assert await raw.hear() is None
    await nobody_pending(engine)
    assert len(make.server.app.realtime._connections) <= connected


async def test_unknown_tokens_leave_nothing_behind(make: Factory) -> None:
    for _ in range(3):
        await refusal(make, f"x{uuid4().hex}")
    await nobody_pending(make.server.app.realtime._engine)


async def nobody_pending(engine: Any) -> None:  # noqa: ANN401 - the library has no types
    async with asyncio.timeout(5):
        while engine.manager.pending_connect or engine.manager.pending_disconnect:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
