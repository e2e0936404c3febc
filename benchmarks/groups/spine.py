"""The skeleton with one real job on it: read and post messages, one full room, many idle sockets, a quick start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from typing import Final
from uuid import uuid4

import msgspec

from benchmarks import servers
from benchmarks.bench import Bench
from benchmarks.contest import CPU, OURS, Bar, BenchmarkError, Contestant, Reading, Work
from benchmarks.databases import TEXT
from benchmarks.http_load import Request, drive, fetch, request
from benchmarks.process import Seat
from benchmarks.servers import Server
from benchmarks.socket_load import ASTRAY, CHAT, TYPING, Flow, Kind, clients, enter, hold

PAGE_SIZE: Final = 50
FIELDS: Final = {"id", "conversation_id", "number", "author_id", "text", "client_message_id", "created_at"}
RECEIVERS: Final = 200
SENDERS: Final = 16
# Messages into the room per second at which latencies are compared: half of 0.7 x the 144,000 of Node.
STEADY_RATE: Final = 250
IDLE_SOCKETS: Final = 2_000
# Longer than Engine.IO's 25 seconds between pings, so that every idle socket has been pinged and has answered.
IDLE_SECONDS: Final = 27.0


def page(server: Server) -> Contestant:
    """Read the newest page of a conversation, each connection of one of its own."""

    def measure(bench: Bench) -> Reading:
        with server(bench) as live:
            requests = [request("GET", f"{seat.path}?limit={PAGE_SIZE}", token=seat.token) for seat in live.seats]
            answer = msgspec.json.decode(fetch(live.process.port, requests[0]))
            if len(answer["items"]) != PAGE_SIZE or any(set(item) != FIELDS for item in answer["items"]):
                raise BenchmarkError(f"This is not the page that the peers are compared by: {str(answer)[:500]}")
            return drive(live.process, [repeat(message).__next__ for message in requests], seconds=bench.seconds)

    return measure


def post(server: Server, *, conversations: int = 32) -> Contestant:
    """Post messages over 32 connections, into as many conversations or into fewer."""

    def poster(seat: Seat) -> Request:
        head, rest = f'{{"text":"{TEXT}","client_message_id":"', '"}'
        return lambda: request("POST", seat.path, token=seat.token, body=f"{head}{uuid4()}{rest}".encode())

    def measure(bench: Bench) -> Reading:
        with server(bench) as live:
            seats = [live.seats[number % conversations] for number in range(len(live.seats))]
            return drive(live.process, [poster(seat) for seat in seats], seconds=bench.seconds)

    return measure


@contextmanager
def in_room(server: Server, kind: Kind, bench: Bench) -> Iterator[Flow]:
    """Fill a room of a fresh server and connect those who will send into it."""
    with server(bench) as live, clients(live, RECEIVERS) as receivers, clients(live, SENDERS) as senders:
        enter(live, receivers if kind is CHAT else [*receivers, *senders])
        yield Flow(live, receivers, senders, kind)


def saturated(server: Server, kind: Kind) -> Contestant:
    """Send into one room as fast as it is delivered."""

    def measure(bench: Bench) -> Reading:
        with in_room(server, kind, bench) as flow:
            return flow.saturate(window=SENDERS, seconds=bench.seconds, warm_up=1.0)

    return measure


def steady(server: Server) -> Contestant:
    """Send into one room at a fixed rate."""

    def measure(bench: Bench) -> Reading:
        with in_room(server, CHAT, bench) as flow:
            return flow.at_rate(per_second=STEADY_RATE, seconds=bench.seconds, warm_up=1.0)

    return measure


def idle(server: Server) -> Contestant:
    """Connect many sockets, wait for a heartbeat, and see what each takes."""

    def measure(bench: Bench) -> Reading:
        with server(bench) as live:
            empty = live.process.resident_bytes()
            with clients(live, IDLE_SOCKETS) as connected:
                standing = hold(connected, IDLE_SECONDS)
                grown = live.process.resident_bytes() - empty
        return {"connected": standing, "kB each": grown / 1000 / IDLE_SOCKETS}

    return measure


def start(bench: Bench) -> Reading:
    """Start `courtyard serve` on SQLite with data in it."""
    with bench.embedded_courtyard.running() as live:
        cpu = live.process.cpu_seconds() * 1e3
        return {"s to ready": live.process.seconds_to_ready, "MB": live.process.resident_bytes() / 1e6, CPU: cpu}


HTTP: Final = {
    OURS: servers.courtyard,
    "fastapi": servers.fastapi,
    "flask": servers.flask,
    "starlette": servers.starlette,
}
SOCKETS: Final = {
    OURS: servers.courtyard,
    "node": servers.node_socketio,
    "python-socketio": servers.python_socketio,
}

WORKS: Final = (
    Work(
        "page of 50 messages",
        {name: page(server) for name, server in HTTP.items()},
        (
            Bar("requests/s", "fastapi", at_least=4.0),
            Bar("requests/s", "starlette", at_least=0.6),
            Bar("requests/s", "flask"),
            Bar("p99 ms", "fastapi"),
        ),
    ),
    Work(
        "post a message",
        {name: post(server) for name, server in HTTP.items()},
        (
            Bar("requests/s", "fastapi", at_least=1.5),
            Bar("requests/s", "starlette"),
            Bar("requests/s", "flask"),
            Bar("p99 ms", "fastapi"),
        ),
    ),
    Work(
        "post a message, all into one conversation",
        {name: post(HTTP[name], conversations=1) for name in (OURS, "fastapi")},
        (Bar("requests/s", "fastapi"),),
    ),
    Work(
        f"one room, {RECEIVERS} sockets, as fast as it goes",
        {name: saturated(server, CHAT) for name, server in SOCKETS.items()},
        (
            Bar("deliveries/s", "node", at_least=0.7),
            Bar("deliveries/s", "python-socketio"),
            Bar("p99 ms", "node", at_most=1.0),
            Bar(ASTRAY, at_most=0, of=max),
        ),
    ),
    Work(
        f"one room, {RECEIVERS} sockets, {STEADY_RATE} messages/s",
        {name: steady(SOCKETS[name]) for name in (OURS, "node")},
        (
            Bar("p99 ms", "node", at_most=1.0),
            Bar("p50 ms", "node"),
            Bar("deliveries/s", "node"),
            Bar(ASTRAY, at_most=0, of=max),
        ),
    ),
    Work(
        f"one room, {RECEIVERS} sockets, typing (nothing stored)",
        {name: saturated(server, TYPING) for name, server in SOCKETS.items()},
        (Bar("deliveries/s", "node"), Bar("deliveries/s", "python-socketio")),
    ),
    Work(
        f"{IDLE_SOCKETS:,} idle sockets",
        {OURS: idle(servers.courtyard)},
        (Bar("connected", at_least=IDLE_SOCKETS, of=min), Bar("kB each", at_most=60)),
    ),
    Work(
        "start on SQLite with data",
        {OURS: start},
        (Bar("s to ready", at_most=1.5), Bar("MB", at_most=150)),
    ),
)
