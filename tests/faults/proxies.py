"""A network between a server and its database that a test cuts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

from tests.processes import free_port

LOT = 65_536


class Proxy:
    """Hands on what comes in on a port of this machine, until it is told otherwise.

    Args:
        url: of a database.

    Attributes:
        url: of the same database through here.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 5432
        self._own = free_port()
        user, at, _ = parts.netloc.rpartition("@")
        self.url = urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{self._own}"))
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Let everybody through."""
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._own)

    async def cut(self) -> None:
        """End every connection, and refuse others."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    def hang(self) -> None:
        """Take connections and what comes, and hand nothing on."""
        self._flows.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there: asyncio.StreamWriter | None = None
        self._writers.add(writer)
        try:
            back, there = await asyncio.open_connection(self._host, self._port)
            self._writers.add(there)
            await asyncio.gather(self._hand_on(reader, there), self._hand_on(back, writer))
        except OSError:
            pass
        finally:
            for each in (writer, there):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(LOT):
            await self._flows.wait()
            writer.write(part)
            await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy(url: str) -> AsyncIterator[Proxy]:
    """Stand between everybody and a database for the length of a block."""
    between = Proxy(url)
    await between.open()
    try:
        yield between
    finally:
        await between.open()
        await between.cut()
