"""A listener that does not give up and comes back with its last number; a client that says what no library would."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

import aiohttp
import socketio
import websockets
from socketio.exceptions import SocketIOError

from tests.sockets import Json

PAUSE_SECONDS = 0.05
# What a client runs into while the server is away.
BROKEN = (SocketIOError, aiohttp.ClientError, OSError, TimeoutError)


class Listener:
    """Listens to one topic, comes back whenever it is cut off, and takes every event as it comes.

    Attributes:
        events: what arrived, in the order of arrival; nothing is sorted out.
        faults: what should not have happened: numbers that are not the next, refused subscriptions.
        cuts: how often it was cut off.
    """

    def __init__(self, urls: str | Sequence[str], token: str, workspace: str, topic: str, *, after: int = 0) -> None:
        self._urls = itertools.cycle([urls] if isinstance(urls, str) else urls)
        self._token = token
        self._wish = {"workspace": workspace, "topic": topic}
        self.number = after
        self.events: list[Json] = []
        self.faults: list[str] = []
        self.cuts = 0
        self.subscribed = asyncio.Event()
        self._arrived = asyncio.Event()
        self._client: socketio.AsyncClient | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin, and return when it listens."""
        self._task = asyncio.create_task(self._listen())
        await asyncio.wait_for(self.subscribed.wait(), 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _hear(self, event: Json) -> None:
        if event["topic"] != self._wish["topic"]:
            self.faults.append(f"an event of {event['topic']}")
        if event["number"] != self.number + 1:
            self.faults.append(f"{event['number']} after {self.number}")
        self.number = event["number"]
        self.events.append(event)
        self._arrived.set()

    async def _listen(self) -> None:
        while True:
            client = self._client = socketio.AsyncClient(reconnection=False, handle_sigint=False)
            client.on("event", self._hear)
            ended = asyncio.Event()
            client.on("disconnect", lambda *_, ended=ended: ended.set())
            try:
                await client.connect(next(self._urls), auth={"token": self._token}, transports=["websocket"])
                answer = await client.call("subscribe", {**self._wish, "after": self.number}, timeout=10)
                if "data" in answer:
                    self.subscribed.set()
                    await ended.wait()
                elif answer["problem"]["status"] < 500:
                    self.faults.append(f"subscribe: {answer['problem']}")
            except BROKEN:
                pass
            finally:
                self.subscribed.clear()
                with contextlib.suppress(*BROKEN):
                    await client.disconnect()
            self.cuts += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def cut(self) -> None:
        """Lose the connection without a word, as soon as there is one."""
        await self.subscribed.wait()
        self.subscribed.clear()
        assert self._client is not None
        socket: Any = self._client.eio
        with contextlib.suppress(*BROKEN):
            await socket.ws.close()

    async def reach(self, number: int, seconds: float = 30) -> None:
        """Return when an event of this number has arrived."""
        async with asyncio.timeout(seconds):
            while self.number < number:
                self._arrived.clear()
                await self._arrived.wait()


class RawSocket:
    """A WebSocket on which a test says exactly what it likes.

    Args:
        websocket: the connection, after the handshake of Engine.IO.
    """

    def __init__(self, websocket: websockets.ClientConnection) -> None:
        self.websocket = websocket

    async def say(self, *packets: str | bytes) -> None:
        """Send packets as they are."""
        for packet in packets:
            await self.websocket.send(packet)

    async def hear(self, seconds: float = 5) -> str | None:
        """Return the next packet that is not about the connection itself; None where it has ended."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    packet = await self.websocket.recv()
                except websockets.ConnectionClosed:
                    return None
                if packet == "2":
                    await self.websocket.send("3")
                elif packet != "6":
                    assert isinstance(packet, str)
                    return packet

    async def ask(self, number: int, *arguments: Json) -> Json:
        """Send an event and return what its acknowledgement carries."""
        await self.say(f"42{number}{json.dumps(arguments)}")
        return await self.acknowledgement(number)

    async def acknowledgement(self, number: int) -> Json:
        """Return what the next acknowledgement carries, which must be this one. Events before it are passed over."""
        while (packet := await self.hear()) is not None and packet.startswith("42"):
            pass
        assert packet is not None, "the connection was closed"
        assert packet.startswith(f"43{number}["), packet
        (answer,) = json.loads(packet.removeprefix(f"43{number}"))
        return answer


@contextlib.asynccontextmanager
async def raw_socket(
    url: str, token: str | None = None, headers: Mapping[str, str] | None = None
) -> AsyncIterator[RawSocket]:
    """Open a WebSocket, and connect to the namespace where a token is given."""
    address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
    options: dict[str, Any] = {"compression": None, "ping_interval": None, "max_size": None, "close_timeout": 0.2}
    async with websockets.connect(address, additional_headers=headers, **options) as websocket:
        socket = RawSocket(websocket)
        opened = await socket.hear()
        assert opened is not None
        assert opened.startswith("0{"), opened
        if token is not None:
            await socket.say(f"40{json.dumps({'token': token})}")
            connected = await socket.hear()
            assert connected is not None
            assert connected.startswith("40{"), connected
        yield socket
