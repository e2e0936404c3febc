"""`/metrics` and `/health/live` of a process that answers nothing else, such as a worker."""

import asyncio
import contextlib
import ipaddress
from http import HTTPStatus

from courtyard.kernel.crypto import same
from courtyard.kernel.runtime import Runtime
from courtyard.site.census import Census
from courtyard.site.metrics import exposition

LONGEST_HEAD = 16_384
HEAD_SECONDS = 5.0
CONNECTIONS = 16
# A proxy on this machine asks for others.
FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-real-ip"})


class MetricsServer:
    """Listens where `telemetry.worker_metrics_port` says, on the address of `server.host`.

    Args:
        runtime: the process.
        census: what it counts in the databases; None for nothing.
    """

    def __init__(self, runtime: Runtime, census: Census | None = None) -> None:
        self._runtime = runtime
        self._census = census
        self._server: asyncio.Server | None = None
        self._room = asyncio.Semaphore(CONNECTIONS)

    async def start(self) -> None:
        """Begin to listen, where the settings name a port.

        Raises:
            OSError: the port is taken.
        """
        settings = self._runtime.settings
        if settings.telemetry.worker_metrics_port is not None:
            self._server = await asyncio.start_server(
                self._answer, settings.server.host, settings.telemetry.worker_metrics_port, limit=LONGEST_HEAD
            )

    @property
    def port(self) -> int | None:
        """Where it listens; None for nowhere."""
        return None if self._server is None else int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(HEAD_SECONDS), self._room:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                status, body = self._respond(head, str(writer.get_extra_info("peername")[0]))
                lines = [
                    f"HTTP/1.1 {status.value} {status.phrase}",
                    "Content-Type: text/plain; version=0.0.4; charset=utf-8",
                    f"Content-Length: {len(body)}",
                    "Cache-Control: no-store",
                    "Connection: close",
                ]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        writer.close()

    def _respond(self, head: str, peer: str) -> tuple[HTTPStatus, bytes]:
        request, *lines = head.split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if method != "GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, b""
        if path == "/health/live":
            return HTTPStatus.OK, b"live\n"
        if path != "/metrics":
            return HTTPStatus.NOT_FOUND, b""
        token = self._runtime.settings.telemetry.metrics_token
        if token is not None:
            if not same(headers.get("authorization", ""), f"Bearer {token.get_secret_value()}"):
                return HTTPStatus.UNAUTHORIZED, b""
        elif FORWARDED & headers.keys() or not ipaddress.ip_address(peer.partition("%")[0]).is_loopback:
            return HTTPStatus.NOT_FOUND, b""
        return HTTPStatus.OK, exposition(self._runtime, self._census)
