"""A Socket.IO client for tests: the official Python one, with what came in kept in order."""

import asyncio
import contextlib
from typing import Any, TypeAlias

import aiohttp
import socketio

TIMEOUT_SECONDS = 10.0
# What decoded JSON is.
Json: TypeAlias = Any


class Socket:
    """A connection.

    Attributes:
        received: name and data of everything that the server sent, in order.
        client: the client of the library.
        refusal: what the server said when it refused the connection.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[tuple[str, Json]] = []
        self.client = socketio.AsyncClient(reconnection=False, handle_sigint=False)
        self._arrived = asyncio.Condition()
        self.refusal: Json = None
        self.client.on("*", self._hear)
        self.client.on("connect_error", self._refused)

    async def _hear(self, name: str, data: Json) -> None:
        async with self._arrived:
            self.received.append((name, data))
            self._arrived.notify_all()

    async def _refused(self, data: Json) -> None:
        self.refusal = data

    async def connect(self, token: str | None, **options: Any) -> None:
        """Connect with an access token, None for none.

        Raises:
            socketio.exceptions.ConnectionError: the server refuses.
        """
        options.setdefault("transports", ["websocket"])
        await self.client.connect(self.url, auth={"token": token} if token else None, **options)

    async def call(self, event: str, payload: Json = None) -> Json:
        """Send an event with one argument and return the acknowledgement."""
        return await self.client.call(event, payload, timeout=TIMEOUT_SECONDS)

    async def ok(self, event: str, **payload: Json) -> Json:
        """Send an event that must succeed, and return the `data` of its acknowledgement."""
        answer = await self.call(event, payload)
        assert "problem" not in answer, answer
        return answer["data"]

    async def wait_for(self, name: str, count: int = 1) -> list[Json]:
        """Return the data of the first messages of a name, as soon as there are so many."""
        async with asyncio.timeout(TIMEOUT_SECONDS), self._arrived:
            await self._arrived.wait_for(lambda: len(self.all(name)) >= count)
        return self.all(name)[:count]

    def all(self, name: str) -> list[Json]:
        """Return the data of all messages of a name that have come in."""
        return [data for received, data in self.received if received == name]

    async def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(aiohttp.ClientError):
            await self.client.disconnect()
