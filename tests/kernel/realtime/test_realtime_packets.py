"""Whatever comes in is answered with an acknowledgement or ends the connection: nobody waits, nothing is a fault."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from courtyard.kernel.realtime import engine, server
from tests.clients import RawSocket, raw_socket
from tests.conftest import ServerFactory
from tests.factories import Conversation, Factory, ok
from tests.running import RunningServer
from tests.sockets import Json

# What is behind the server makes no difference to the packets.
pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

# Everything here is a Socket.IO packet in a frame of its own.
NOT_AN_EVENT = ["string", True, None, {"name": "subscribe"}, [], [7, {}], [None], [["subscribe"], {}], [{}]]
BROKEN_FRAMES = [
    "",
    "x",
    "7",
    "9",
    "0",
    "b!!!",
    "bAAAA",
    "42[",
    '42["subscribe"',
    '421["subscribe",{]',
    '42["subscribe",NaN]',
    '42["subscribe","\\ud800"]',
    "42" + "[" * 50_000,
    "4",
    '4{"type":2}',
    "4[1]",
    "4null",
    "49[]",
    "47",
    "42" + "9" * 200 + "[]",
    "45" + "9" * 20 + "-[]",
    "44{}",
    "42/admin,[]",
    '42/admin,1["subscribe",{}]',
]


@pytest.fixture
async def raw(make: Factory) -> AsyncIterator[RawSocket]:
    """A connection of a visitor."""
    visitor = await make.visitor()
    async with raw_socket(make.server.url, visitor.token) as socket:
        yield socket


def problem_of(answer: Json, status: int, code: str) -> dict[str, Any]:
    assert set(answer) == {"problem"}
    problem: dict[str, Any] = answer["problem"]
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["request_id"]
    return problem


async def is_alive(raw: RawSocket) -> None:
    problem_of(await raw.ask(99, "no such event", {}), 404, "unknown_event")


class TestEvents:
    @pytest.mark.parametrize("data", NOT_AN_EVENT)
    async def test_what_is_no_event(self, data: Json, raw: RawSocket) -> None:
        await raw.say(f"421{json.dumps(data)}")
        problem_of(await raw.acknowledgement(1), 400, "invalid_input")
        # Without a number there is nothing to acknowledge, and nothing comes of it.
        await raw.say(f"42{json.dumps(data)}" if isinstance(data, list) else "42[]")
        await is_alive(raw)

    async def test_no_data_at_all(self, raw: RawSocket) -> None:
        await raw.say("421")
        problem_of(await raw.acknowledgement(1), 400, "invalid_input")
        await is_alive(raw)

    @pytest.mark.parametrize(
        "name", ["connect", "disconnect", "connect_error", "__disconnect_final", "message", "*", "", "\x00", "event"]
    )
    async def test_a_name_that_is_none_of_ours(self, name: str, raw: RawSocket) -> None:
        problem_of(await raw.ask(1, name, {}), 404, "unknown_event")
        problem_of(await raw.ask(2, name), 404, "unknown_event")
        problem_of(await raw.ask(3, name, "client namespace disconnect"), 404, "unknown_event")
        await is_alive(raw)

    @pytest.mark.parametrize("arguments", [(), ({}, {}), (None, None), (1, 2, 3)])
    async def test_another_number_of_arguments_than_one(self, arguments: tuple[Json, ...], raw: RawSocket) -> None:
        problem_of(await raw.ask(1, "subscribe", *arguments), 400, "invalid_input")
        await is_alive(raw)

    @pytest.mark.parametrize("payload", ["text", 7, -1.5, True, None, [], [{}], {"_placeholder": True, "num": 0}])
    @pytest.mark.parametrize("event", ["subscribe", "typing", "chat.message.send"])
    async def test_another_payload_than_an_object(self, event: str, payload: Json, raw: RawSocket) -> None:
        problem_of(await raw.ask(1, event, payload), 400, "invalid_input")
        await is_alive(raw)

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"workspace": None}, "/workspace"),
            ({"workspace": ""}, "/workspace"),
            ({"workspace": "no\x00where"}, "/workspace"),
            ({"workspace": "a" * 64}, "/workspace"),
            ({"topic": 7}, "/topic"),
            ({"topic": "Chat.Queue"}, "/topic"),
            ({"topic": "chat.queue\n"}, "/topic"),
            ({"topic": "x" * 201}, "/topic"),
            ({"after": -1}, "/after"),
            ({"after": "1"}, "/after"),
            ({"after": 1.5}, "/after"),
            ({"after": True}, "/after"),
            ({"after": None}, "/after"),
            ({"after": 2**63}, "/after"),
            ({"after": 10**400}, "/after"),
            ({"more": 1}, ""),
        ],
    )
    async def test_a_field_that_does_not_fit(self, change: dict[str, Json], pointer: str, raw: RawSocket) -> None:
        payload = {"workspace": "west", "topic": "chat.queue", **change}
        problem = problem_of(await raw.ask(1, "subscribe", payload), 400, "invalid_input")
        (error,) = problem["errors"]
        assert error["pointer"] == pointer
        assert error["detail"]

    async def test_a_workspace_that_does_not_exist(self, raw: RawSocket) -> None:
        payload = {"workspace": "nowhere", "topic": "chat.queue"}
        problem_of(await raw.ask(1, "subscribe", payload), 404, "not_found")

    @pytest.mark.parametrize(
        "head", ['51-1["subscribe",{"_placeholder":true,"num":0}]', '51-1["subscribe",{"_placeholder":true,"num":9}]']
    )
    async def test_binary_parts(self, head: str, raw: RawSocket) -> None:
        await raw.say(f"4{head}", b"part")
        problem_of(await raw.acknowledgement(1), 400, "invalid_input")
        await raw.say(b"", b"2", b"one more", f"4{head.replace('51-', '5999999999-')}", b"part")
        problem_of(await raw.acknowledgement(1), 400, "invalid_input")
        await is_alive(raw)

    async def test_acknowledgements_that_nobody_waits_for(self, raw: RawSocket) -> None:
        await raw.say("431[]", "43[]", '439999999["x"]', "461-1[]", "43{}", "43")
        await is_alive(raw)

    async def test_answers_come_in_the_order_of_the_questions(self, make: Factory) -> None:
        conversation = await make.conversation()
        target = {"workspace": conversation.workspace.slug, "conversation_id": str(conversation.id)}
        async with raw_socket(make.server.url, conversation.visitor.token) as raw:
            for number in range(100):
                # Slow ones and quick ones.
                event = ["chat.message.send", {**target, "text": str(number)}] if number % 3 else ["unknown", {}]
                await raw.say(f"42{number}{json.dumps(event)}")
            answers = [await raw.acknowledgement(number) for number in range(100)]
        sent = [answer["data"] for answer in answers if "data" in answer]
        assert [message["text"] for message in sent] == [str(number) for number in range(100) if number % 3]
        assert [message["number"] for message in sent] == list(range(1, len(sent) + 1))

    async def test_a_fault_of_ours_is_answered(
        self, raw: RawSocket, make: Factory, monkeypatch: pytest.MonkeyPatch, expected_faults: list[str]
    ) -> None:
        async def fail(*_: object) -> None:
            raise ZeroDivisionError

        workspace = await make.workspace()
        monkeypatch.setattr(make.server.runtime.identity, "access", fail)
        payload = {"workspace": workspace.slug, "topic": "chat.queue"}
        problem_of(await raw.ask(1, "subscribe", payload), 500, "internal_error")
        expected_faults.append("ZeroDivisionError")

    async def test_what_takes_too_long_is_answered(self, server_factory: ServerFactory) -> None:
        make = Factory(await server_factory(server={"request_timeout_seconds": 0.2}))
        workspace = await make.workspace()
        async with raw_socket(make.server.url, workspace.owner.token) as raw:
            readers = make.server.runtime.placement.main.readers
            held = [await readers.acquire() for _ in range(readers.size)]
            payload = {"workspace": workspace.slug, "topic": "chat.queue"}
            problem_of(await raw.ask(1, "subscribe", payload), 503, "event_timeout")
            for connection in held:
                readers.release(connection)
            assert "data" in await raw.ask(2, "subscribe", payload)
        await make.close()


class TestFrames:
    @pytest.mark.parametrize("frame", BROKEN_FRAMES, ids=lambda frame: repr(frame[:20]))
    async def test_what_is_no_packet_ends_the_connection(self, frame: str, raw: RawSocket) -> None:
        await raw.say(frame)
        assert await raw.hear() is None

    @pytest.mark.parametrize(
        "frame", ["4\u0663[]", "2", "2probe", "3", "5", "40", '40{"token":1}', "40/admin,", "41/admin,"]
    )
    async def test_what_is_out_of_place_does_no_harm(self, frame: str, raw: RawSocket) -> None:
        await raw.say(frame)
        while (packet := await self.next(raw)) is not None:
            assert packet.startswith("44"), packet
        await is_alive(raw)

    @staticmethod
    async def next(raw: RawSocket) -> str | None:
        try:
            return await raw.hear(0.05)
        except TimeoutError:
            return None

    async def test_saying_good_bye_ends_the_connection(self, raw: RawSocket) -> None:
        await raw.say("1")
        assert await raw.hear() is None

    async def test_leaving_the_namespace_and_coming_back(self, make: Factory) -> None:
        visitor = await make.visitor()
        async with raw_socket(make.server.url, visitor.token) as raw:
            for _ in range(3):
                await raw.say("41", f"40{json.dumps({'token': visitor.token})}")
                connected = await raw.hear()
                assert connected is not None
                assert connected.startswith("40{")
                await is_alive(raw)

    async def test_an_event_before_the_connection(self, make: Factory) -> None:
        async with raw_socket(make.server.url) as raw:
            await raw.say('421["subscribe",{}]')
            assert await raw.hear() is None

    @pytest.mark.parametrize("size", [65_537, 66_000, 70_000, 1_000_000])
    async def test_too_long(self, size: int, raw: RawSocket) -> None:
        await raw.say("42" + "x" * (size - 2))
        assert await raw.hear() is None

    async def test_as_long_as_allowed(self, make: Factory) -> None:
        conversation = await make.conversation()
        target = {"workspace": conversation.workspace.slug, "conversation_id": str(conversation.id)}
        async with raw_socket(make.server.url, conversation.visitor.token) as raw:
            answer = await raw.ask(1, "chat.message.send", {**target, "text": "é" * 10_000})
            assert len(answer["data"]["text"]) == 10_000
            answer = await raw.ask(2, "chat.message.send", {**target, "text": "é" * 10_001})
            problem_of(answer, 400, "invalid_input")

    async def test_who_never_says_who_it_is(
        self, server_factory: ServerFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(server, "CONNECT_SECONDS", 0.2)
        make = Factory(await server_factory())
        visitor = await make.visitor()
        async with (
            raw_socket(make.server.url) as stranger,
            raw_socket(make.server.url) as refused,
            raw_socket(make.server.url, visitor.token) as friend,
        ):
            await refused.say('40{"token":"forged"}')
            assert '"token_invalid"' in (await refused.hear() or "")
            assert await stranger.hear() is None
            assert await refused.hear() is None
            await is_alive(friend)
        await make.close()

    async def test_who_does_not_agree_to_the_end(self, make: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client that ignores the closing frame is cut all the same."""
        monkeypatch.setattr(engine, "CLOSE_SECONDS", 0.2)
        visitor = await make.visitor()
        reader, writer = await asyncio.open_connection(*make.server.url.removeprefix("http://").split(":"))
        writer.write(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        packet = f"40{json.dumps({'token': visitor.token})}".encode()
        # A masked text frame with a mask of zeros.
        writer.write(b"\x81\xfe" + len(packet).to_bytes(2, "big") + bytes(4) + packet)
        await reader.readuntil(b"40{")
        ok(await visitor.http.delete("/sessions/current"))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await asyncio.wait_for(reader.readexactly(10_000), 5)
        writer.close()


class Polling:
    """A client that polls, by hand."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client
        self.address = "/socket.io/?EIO=4&transport=polling"

    async def open(self, token: str) -> None:
        opened = await self.poll()
        self.address += f"&sid={json.loads(opened[1:])['sid']}"
        assert (await self.post(f"40{json.dumps({'token': token})}")).status_code == 200
        assert (await self.poll()).startswith("40{")

    async def poll(self) -> str:
        answer = await self.client.get(self.address)
        assert answer.status_code == 200, answer.text
        return answer.text

    async def post(self, body: str | bytes, **options: Any) -> httpx2.Response:
        return await self.client.post(self.address, content=body, **options)


class TestPolling:
    @pytest.fixture
    async def polling(self, server: RunningServer, make: Factory) -> AsyncIterator[Polling]:
        visitor = await make.visitor()
        async with server.network_client() as client:
            polling = Polling(client)
            await polling.open(visitor.token)
            yield polling

    async def test_many_packets_at_once(self, polling: Polling) -> None:
        await polling.post("\x1e".join(f'42{number}["x",{{}}]' for number in range(300)))
        text = ""
        while text.count("43") < 300:
            text += await polling.poll()
        assert '43299[{"problem"' in text

    @pytest.mark.parametrize(
        "body",
        [b"\xff\xfe", b"x", b"0", b"42[]\x1e", b"\x1e", b'd=4%5B"x"%5D', b"d=", b"4" * 70_000, b"3\x1e" * 1_001 + b"3"],
        ids=lambda body: repr(body[:12]),
    )
    async def test_what_is_no_packet_ends_the_connection(self, body: bytes, polling: Polling) -> None:
        waiting = asyncio.create_task(polling.client.get(polling.address))
        await asyncio.sleep(0)
        assert (await polling.post(body)).status_code == 400
        # Whether it had begun to wait or not, it does not wait any more.
        assert (await asyncio.wait_for(waiting, 5)).status_code in {200, 400}
        assert (await polling.client.get(polling.address)).status_code == 400

    @pytest.mark.parametrize("frame", [frame for frame in BROKEN_FRAMES if frame.startswith("4")])
    async def test_what_is_no_message_ends_the_connection(self, frame: str, polling: Polling) -> None:
        await polling.post(frame)
        assert (await polling.client.get(polling.address)).status_code == 400

    async def test_binary_parts_are_passed_over(self, polling: Polling) -> None:
        body = '451-1["x",{"_placeholder":true,"num":0}]\x1eb!!!'
        assert (await polling.post(body)).status_code == 200
        assert "invalid_input" in await polling.poll()
        assert (await polling.post("bAAA=")).status_code == 200

    async def test_a_body_in_chunks(self, polling: Polling) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield b'421["x'
            yield b'",{}]'

        answer = await polling.client.post(polling.address, content=chunks())
        assert answer.status_code == 200
        assert "unknown_event" in await polling.poll()

    async def test_good_bye(self, polling: Polling) -> None:
        waiting = asyncio.create_task(polling.client.get(polling.address))
        await polling.post("1")
        assert (await asyncio.wait_for(waiting, 5)).status_code in {200, 400}

    @pytest.mark.parametrize(
        "query",
        [
            "",
            "EIO=3&transport=polling",
            "EIO=4&transport=smoke-signals",
            "EIO=4&transport=polling&sid=unknown",
            "EIO=4&transport=websocket",
            "EIO=4&transport=polling&j=x",
        ],
    )
    async def test_a_request_that_makes_no_sense(self, query: str, server: RunningServer) -> None:
        async with server.network_client() as client:
            for method in ("GET", "POST"):
                assert (await client.request(method, f"/socket.io/?{query}")).status_code == 400
            assert (await client.request("DELETE", "/socket.io/?EIO=4")).status_code in {400, 405}

    async def test_who_does_not_wait_for_an_answer(self, server: RunningServer) -> None:
        host, port = server.url.removeprefix("http://").split(":")
        for rest in (b"", b"POST body that never ends"):
            _, writer = await asyncio.open_connection(host, port)
            writer.write(b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n")
            writer.write(rest)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        async with server.network_client() as client:
            assert (await client.get("/socket.io/?EIO=4&transport=polling")).status_code == 200


async def test_a_conversation_by_polling(make: Factory) -> None:
    conversation: Conversation = await make.conversation()
    socket = await make.socket(conversation.visitor, transports=["polling"])
    await socket.ok("subscribe", workspace=conversation.workspace.slug, topic=conversation.topic, after=0)
    for number in range(30):
        ok(await conversation.visitor.http.post(conversation.messages, json={"text": str(number)}))
    events = await socket.wait_for("event", 31)
    assert [event["number"] for event in events] == list(range(1, 32))
