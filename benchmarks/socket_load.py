"""The client program of the sockets: Socket.IO over WebSocket, spoken with plain sockets and epoll.

One core has to receive more than the fastest server sends, so nothing is decoded while it counts: a message carries
the time at which it was due in its text, and a pattern finds these stamps in whatever bytes arrive.
"""

from __future__ import annotations

import base64
import gc
import os
import re
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from statistics import quantiles
from typing import Any, Final
from uuid import uuid4

import msgspec

from benchmarks.contest import CPU, BenchmarkError, Reading
from benchmarks.process import Live, Room

CHUNK: Final = 1 << 18
# A text frame that holds Engine.IO's ping, and the masked frame of the pong. The mask is nought: it guards proxies
# against scripts of browsers, and neither is here.
PING: Final = b"\x81\x012"
MASK: Final = b"\x00\x00\x00\x00"
# How long deliveries may lag behind the last message before they count as lost.
GRACE_SECONDS: Final = 10.0
ASTRAY: Final = "lost or doubled"


def frame(packet: bytes) -> bytes:
    """Return the masked text frame of a packet of less than 64 kB."""
    size = len(packet)
    head = struct.pack("!BB", 0x81, 0x80 | size) if size < 126 else struct.pack("!BBH", 0x81, 0xFE, size)
    return head + MASK + packet


PONG: Final = frame(b"3")


@dataclass(frozen=True)
class Kind:
    """A kind of message: how it is written, and how its deliveries are recognised in a stream of bytes.

    Every match of `pattern` has `width` bytes; if `stamped`, its group is the time at which the message was due, in
    nanoseconds of this machine's monotonic clock.
    """

    packets: Callable[[Room], Callable[[int], bytes]]
    pattern: re.Pattern[bytes]
    width: int
    stamped: bool


def _chat_packets(room: Room) -> Callable[[int], bytes]:
    head = f'421["chat.message.send",{{"workspace":"{room.workspace}","conversation_id":"{room.conversation_id}",'
    words = "what people write to one another when they have time for it"
    return lambda due: f'{head}"text":"@{due:019d}@ {words}","client_message_id":"{uuid4()}"}}]'.encode()


def _typing_packets(room: Room) -> Callable[[int], bytes]:
    head = f'421["typing",{{"workspace":"{room.workspace}","topic":"{room.topic}","typing":'
    # In turns, as a server may leave out what says nothing new.
    turns = cycle([f"{head}true}}]".encode(), f"{head}false}}]".encode()])
    return lambda _due: next(turns)


CHAT: Final = Kind(_chat_packets, re.compile(rb"@(\d{19})@"), 21, stamped=True)
TYPING: Final = Kind(_typing_packets, re.compile(rb'42\["typing",'), 12, stamped=False)


class Client:
    """One Socket.IO connection, connected to the default namespace."""

    def __init__(self, port: int, token: str | None = None) -> None:
        """Connect.

        Raises:
            BenchmarkError: the server refused.
        """
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.calls = 0
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while b"\r\n\r\n" not in self.received:
            self._read()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise BenchmarkError(f"The server refused a WebSocket: {head[:300]!r}")
        self._expect(b"0")
        self.send(b"40" + msgspec.json.encode({"token": token} if token else {}))
        self._expect(b"40")

    def send(self, packet: bytes) -> None:
        """Send one packet."""
        self.socket.sendall(frame(packet))

    def call(self, event: str, data: dict[str, Any]) -> object:
        """Emit an event, wait for its acknowledgement, and return what it carries.

        Raises:
            BenchmarkError: the acknowledgement is a problem.
        """
        self.calls += 1
        self.send(b"42%d" % self.calls + msgspec.json.encode([event, data]))
        answer = self._expect(b"43%d[" % self.calls)
        (acknowledged,) = msgspec.json.decode(b"[" + answer)
        if "problem" in acknowledged:
            raise BenchmarkError(f"{event} was refused: {acknowledged['problem']}")
        return acknowledged["data"]

    def read_idle(self) -> bool:
        """Read what came while nothing was asked, answer pings, and say whether the connection still stands."""
        arrived = self.socket.recv(CHUNK)
        if PING in arrived:
            self.socket.sendall(PONG)
        return bool(arrived)

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def _read(self) -> None:
        arrived = self.socket.recv(CHUNK)
        if not arrived:
            raise BenchmarkError(f"The server hung up on a socket; the last it said: {self.received[-300:]!r}")
        self.received += arrived

    def _packet(self) -> bytes:
        while (cut := _first_frame(self.received)) is None:
            self._read()
        begin, end = cut
        packet, self.received = self.received[begin:end], self.received[end:]
        return packet

    def _expect(self, start: bytes) -> bytes:
        """Pass over packets until one begins as expected; return the rest of it."""
        while not (packet := self._packet()).startswith(start):
            if packet == b"2":
                self.send(b"3")
            elif packet.startswith((b"1", b"41", b"44")):
                raise BenchmarkError(f"The server refused a Socket.IO connection: {packet[:300]!r}")
        return packet[len(start) :]


def _first_frame(received: bytes) -> tuple[int, int] | None:
    """Return where the payload of the first frame begins and ends, or None while it is not whole."""
    size, begin = received[1] & 0x7F if len(received) > 1 else 0, 2
    # RFC 6455, 5.2: 126 and 127 say that the size stands in the next two or eight bytes.
    if size >= 126:
        begin = 4 if size == 126 else 10
        size = int.from_bytes(received[2:begin])
    return (begin, begin + size) if len(received) >= begin + size else None


@contextmanager
def clients(live: Live, count: int) -> Iterator[list[Client]]:
    """Connect a number of sockets, taking turns with the tokens of the room, and hang them all up at the end."""
    tokens = live.room.tokens or (None,)
    connected: list[Client] = []
    try:
        # One by one, so that all that stand are hung up if one is refused.
        for number in range(count):
            connected.append(Client(live.process.port, tokens[number % len(tokens)]))  # noqa: PERF401
        yield connected
    finally:
        for client in connected:
            client.close()


class Flow:
    """Messages from a few senders to everybody in a room, and the count of what arrives.

    Only what the receivers get is counted; to the senders come acknowledgements, and deliveries if they have entered.
    """

    def __init__(self, live: Live, receivers: Sequence[Client], senders: Sequence[Client], kind: Kind) -> None:
        """Take connected sockets; the receivers have entered the room."""
        self.process = live.process
        self.receivers = len(receivers)
        self.senders = senders
        self.kind = kind
        self.make = kind.packets(live.room)
        self.tails = {client.socket.fileno(): client.received for client in receivers}
        self.sockets = {client.socket.fileno(): client.socket for client in (*receivers, *senders)}
        self.sent = 0
        self.delivered = 0
        self.arrivals: list[tuple[int, list[bytes]]] = []

    def saturate(self, *, window: int, seconds: float, warm_up: float) -> Reading:
        """Keep `window` messages under way: the next is sent when as many deliveries as the room has have come in."""
        return self._run(lambda _now: self.delivered // self.receivers + window, seconds, warm_up)

    def at_rate(self, *, per_second: float, seconds: float, warm_up: float) -> Reading:
        """Send at a fixed rate whatever happens; a latency counts from when the message was due."""
        began = time.perf_counter_ns()
        return self._run(lambda now: int((now - began) * per_second / 1e9), seconds, warm_up, 1e9 / per_second, began)

    def _run(
        self, allowed: Callable[[int], int], seconds: float, warm_up: float, interval: float = 0.0, began: int = 0
    ) -> Reading:
        poll = select.epoll()
        for number in self.sockets:
            poll.register(number, select.EPOLLIN)
        measured_from = time.perf_counter_ns() + int(warm_up * 1e9)
        measured_to = measured_from + int(seconds * 1e9)
        give_up = measured_to + int(GRACE_SECONDS * 1e9)
        cpu = [0.0, 0.0]
        gc.disable()
        try:
            while (now := time.perf_counter_ns()) < measured_to:
                if now >= measured_from and not cpu[0]:
                    cpu[0] = self.process.cpu_seconds()
                for _ in range(allowed(now) - self.sent):
                    self._send(int(began + self.sent * interval) if interval else now)
                self._receive(poll, 0.001)
            cpu[1] = self.process.cpu_seconds()
            while self.delivered < self.sent * self.receivers and time.perf_counter_ns() < give_up:
                self._receive(poll, 0.1)
        finally:
            gc.enable()
            poll.close()
        return self._reading(measured_from, measured_to, cpu[1] - cpu[0])

    def _send(self, due: int) -> None:
        self.senders[self.sent % len(self.senders)].socket.sendall(frame(self.make(due)))
        self.sent += 1

    def _receive(self, poll: select.epoll, timeout: float) -> None:
        for number, _ in poll.poll(timeout):
            arrived = self.sockets[number].recv(CHUNK)
            if not arrived:
                raise BenchmarkError("The server hung up on a socket of the room.")
            if PING in arrived:
                self.sockets[number].sendall(PONG)
            if number not in self.tails:
                continue
            # Nothing is counted twice: what is kept is shorter than any match.
            arrived = self.tails[number] + arrived
            self.tails[number] = arrived[1 - self.kind.width :]
            if found := self.kind.pattern.findall(arrived):
                self.delivered += len(found)
                self.arrivals.append((time.perf_counter_ns(), found))

    def _reading(self, measured_from: int, measured_to: int, cpu: float) -> Reading:
        measured = [(at, found) for at, found in self.arrivals if measured_from <= at < measured_to]
        count = sum(len(found) for _, found in measured)
        if not count:
            raise BenchmarkError("Nothing that was sent into the room arrived.")
        reading = {"deliveries/s": count * 1e9 / (measured_to - measured_from), CPU: cpu * 1e3 / count}
        if self.kind.stamped:
            cuts = quantiles([(at - int(stamp)) / 1e6 for at, found in measured for stamp in found], n=100)
            reading |= {"p50 ms": cuts[49], "p99 ms": cuts[98]}
        reading[ASTRAY] = abs(self.sent * self.receivers - self.delivered)
        return reading


def enter(live: Live, receivers: Sequence[Client]) -> None:
    """Let every socket subscribe to the room's topic."""
    for client in receivers:
        client.call("subscribe", {"workspace": live.room.workspace, "topic": live.room.topic})


def hold(connected: Sequence[Client], seconds: float) -> int:
    """Keep sockets idle for a time, answering pings only, and return how many are still connected."""
    by_number = {client.socket.fileno(): client for client in connected}
    poll = select.epoll()
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        for number, _ in poll.poll(left):
            if not by_number[number].read_idle():
                poll.unregister(number)
                del by_number[number]
    poll.close()
    return len(by_number)
