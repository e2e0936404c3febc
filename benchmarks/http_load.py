"""The HTTP load generator: keep-alive connections that each send the next request when the last is answered.

Plain sockets and epoll without an event loop: a tenth of a core at the rate of the fastest peer (see README.md).
"""

from __future__ import annotations

import gc
import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from statistics import quantiles
from typing import Final

from benchmarks.contest import CPU, BenchmarkError, Reading
from benchmarks.process import ServerProcess

CHUNK: Final = 1 << 18
LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
HEAD_END: Final = b"\r\n\r\n"

Request = Callable[[], bytes]


def request(method: str, path: str, *, token: str | None = None, body: bytes = b"") -> bytes:
    """Return the bytes of a request."""
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}{content}\r\n".encode() + body


class Connection:
    """One keep-alive connection with at most one request under way."""

    def __init__(self, port: int, next_request: Request) -> None:
        """Connect to a port of this machine; `next_request` makes each request."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.next_request = next_request
        self.received = b""
        self.sent_at = 0.0

    def send(self) -> None:
        """Send the next request."""
        self.received = b""
        self.socket.sendall(self.next_request())
        self.sent_at = time.perf_counter()

    def receive(self) -> bytes | None:
        """Read what is there and return the body once it is whole.

        Raises:
            BenchmarkError: the answer is not a success, has no length, or the server hung up.
        """
        chunk = self.socket.recv(CHUNK)
        self.received += chunk
        end = self.received.find(HEAD_END)
        if end < 0 and chunk:
            return None
        length = LENGTH.search(self.received, 0, end)
        if not chunk or length is None or not self.received.startswith(b"HTTP/1.1 20"):
            head, _, body = self.received.partition(HEAD_END)
            raise BenchmarkError(f"An answer that is not one of work done: {head[:30]!r}, {body[:500]!r}")
        begin = end + len(HEAD_END)
        return self.received[begin:] if len(self.received) - begin >= int(length[1]) else None


def fetch(port: int, message: bytes) -> bytes:
    """Send one request and return the body of its answer."""
    connection = Connection(port, lambda: message)
    try:
        connection.send()
        while (body := connection.receive()) is None:
            pass
        return body
    finally:
        connection.socket.close()


def drive(process: ServerProcess, requests: Sequence[Request], *, seconds: float, warm_up: float = 1.0) -> Reading:
    """Load a server with one connection per request maker.

    Returns:
        "requests/s", "p50 ms" and "p99 ms" from send to last byte, and the server's CPU time of one request.
    """
    opened = [Connection(process.port, next_request) for next_request in requests]
    connections = {connection.socket.fileno(): connection for connection in opened}
    try:
        _rounds_of(connections, warm_up)
        cpu, began = process.cpu_seconds(), time.perf_counter()
        latencies = _rounds_of(connections, seconds)
        elapsed, cpu = time.perf_counter() - began, process.cpu_seconds() - cpu
    finally:
        for connection in connections.values():
            connection.socket.close()
    cuts = quantiles(latencies, n=100)
    return {
        "requests/s": len(latencies) / elapsed,
        "p50 ms": cuts[49] * 1e3,
        "p99 ms": cuts[98] * 1e3,
        CPU: cpu * 1e3 / len(latencies),
    }


def _rounds_of(connections: dict[int, Connection], seconds: float) -> list[float]:
    """Keep every connection busy for a time, let the last requests end, and return all latencies in seconds."""
    latencies: list[float] = []
    poll = select.epoll()
    gc.disable()
    try:
        for number, connection in connections.items():
            poll.register(number, select.EPOLLIN)
            connection.send()
        end = time.perf_counter() + seconds
        open_requests = len(connections)
        while open_requests:
            ready = poll.poll(30)
            if not ready:
                raise BenchmarkError("The server has not answered for 30 seconds.")
            for number, _ in ready:
                connection = connections[number]
                if connection.receive() is None:
                    continue
                now = time.perf_counter()
                latencies.append(now - connection.sent_at)
                if now < end:
                    connection.send()
                else:
                    open_requests -= 1
    finally:
        gc.enable()
        poll.close()
    return latencies
