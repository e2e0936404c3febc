"""One server process on a core of its own: start, readiness, CPU time, memory, end.

The load generator is this very process, on the other core.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks.contest import BenchmarkError

SERVER_CORE, GENERATOR_CORE = (min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0)))
REPOSITORY: Final = Path(__file__).parent.parent
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0


@dataclass
class ServerProcess:
    """A running server with its children."""

    root: psutil.Popen
    port: int
    seconds_to_ready: float

    def tree(self) -> list[psutil.Process]:
        """Return the process and everything it started."""
        return [self.root, *self.root.children(recursive=True)]

    def ended(self) -> bool:
        """Return whether the process itself is over."""
        return self.root.poll() is not None

    def cpu_seconds(self) -> float:
        """Return the user and system time that the tree has used so far."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self.tree()))

    def resident_bytes(self) -> int:
        """Return the resident memory of the tree."""
        return sum(process.memory_info().rss for process in self.tree())


@dataclass(frozen=True)
class Seat:
    """What one HTTP connection works on: the path of a conversation's messages, and a bearer token where needed."""

    path: str
    token: str | None = None


@dataclass(frozen=True)
class Room:
    """What the sockets meet in, and the tokens of those who may enter, or none where nobody asks."""

    workspace: str
    conversation_id: str
    tokens: tuple[str, ...] = ()

    @property
    def topic(self) -> str:
        """The topic that the room subscribes to."""
        return f"chat.conversation:{self.conversation_id}"


@dataclass(frozen=True)
class Live:
    """A running server and what there is to do with it."""

    process: ServerProcess
    seats: tuple[Seat, ...] = ()
    room: Room = Room("bench", "01890000-0000-7000-8000-000000000002")


@contextmanager
def pinned(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None, directory: Path = REPOSITORY
) -> Iterator[ServerProcess]:
    """Run a process on the core of the servers until the block is left. It may not have begun to do anything.

    Args:
        command: the program and its arguments.
        log: the file that gets its output.
        environment: variables beside those of this process.
        directory: where it runs.
    """
    # A child is born with the affinity of its parent, so no thread of it ever runs on the other core.
    os.sched_setaffinity(0, {SERVER_CORE})
    with log.open("ab") as output:
        variables = {**os.environ, **(environment or {})}
        child = psutil.Popen(
            command, env=variables, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    os.sched_setaffinity(0, {GENERATOR_CORE})
    server = ServerProcess(child, 0, 0.0)
    try:
        yield server
    finally:
        _end(server)


@contextmanager
def serving(
    command: Sequence[str],
    *,
    port: int,
    log: Path,
    ready: str = "/",
    environment: Mapping[str, str] | None = None,
    directory: Path = REPOSITORY,
) -> Iterator[ServerProcess]:
    """Run a server until the block is left.

    Args:
        command: the program and its arguments; it must listen on `port` of 127.0.0.1.
        port: a free port.
        log: the file that gets its output.
        ready: the path that is asked until it answers 200; of `/` any answer below 500 will do.
        environment: variables beside those of this process.
        directory: where it runs.

    Raises:
        BenchmarkError: the server ended, or was not ready within START_SECONDS; with the end of its log.
    """
    started = time.perf_counter()
    with pinned(command, log=log, environment=environment, directory=directory) as server:
        server.port = port
        while not _answers(port, ready):
            if server.ended() or time.perf_counter() - started > START_SECONDS:
                raise BenchmarkError(f"{' '.join(command)} did not become ready. {end_of(log)}")
            time.sleep(0.005)
        server.seconds_to_ready = time.perf_counter() - started
        yield server


def end_of(log: Path) -> str:
    """Return the last lines of what a process said."""
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    return f"The end of what it said:\n{tail}"


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except OSError:
        return False
    finally:
        connection.close()
    # The peers have no health path: any answer of the application shows that it listens.
    return status < 500 if path == "/" else status == 200


def _end(server: ServerProcess) -> None:
    family = [] if server.ended() else server.tree()
    if family:
        server.root.terminate()
    for straggler in psutil.wait_procs(family, timeout=STOP_SECONDS)[1]:
        straggler.kill()
    server.root.wait()
