"""Processes that tests start, and that end with them: a Redis of one's own, and servers as operators run them."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import redis.asyncio as redis
from redis.exceptions import RedisError
from typing_extensions import override

from tests.services import missing

PROGRAM = [sys.executable, "-c", "from courtyard.cli import program; program()"]
START_SECONDS = 60


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class Process:
    """A program that runs beside the test.

    Attributes:
        output: the file into which it writes all that it has to say.
    """

    def __init__(self, arguments: Sequence[str], output: Path, environment: dict[str, str] | None = None) -> None:
        self.arguments = list(arguments)
        self.output = output
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it. What it writes is appended."""
        with self.output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.arguments, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, env=self._environment
            )

    async def wait(self) -> int:
        """Return its status when it ends by itself."""
        assert self._process is not None
        return await self._process.wait()

    async def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def kill(self) -> None:
        """End it at once (kill -9)."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def stop(self) -> int:
        """Ask it to end, and return its status."""
        assert self._process is not None
        await self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self._process.wait(), 30)
        finally:
            await self.kill()


class ServerProcess(Process):
    """`courtyard serve`.

    Args:
        folder: its working directory: data, and what it writes.
        name: of the file that it writes to.
        settings: variables without the prefix: `{"DATABASE__URL": …}`.
        options: of the command.

    Attributes:
        url: where it listens, without a slash at the end.
    """

    def __init__(self, folder: Path, name: str, settings: dict[str, str], *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        own = {
            "DATA_DIR": str(folder / "data"),
            "SERVER__PORT": str(self.port),
            "LIMITS__ENABLED": "false",
            "TELEMETRY__ACCESS_LOG": "false",
            "TELEMETRY__LOG_FORMAT": "json",
            "SECURITY__ARGON2_TIME_COST": "1",
            "SECURITY__ARGON2_MEMORY_KIB": "64",
            **settings,
        }
        # Without bytecode, every start would compile every module anew.
        unwanted = ("COURTYARD_", "PYTHONDONTWRITEBYTECODE")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
        environment |= {f"COURTYARD_{key}": value for key, value in own.items()}
        super().__init__([*PROGRAM, "serve", *options], folder / f"{name}.log", environment)

    @override
    async def start(self) -> None:
        """Start it, and return when it answers."""
        await super().start()
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._answers():
                    assert self.runs, self.output.read_text()
                    await asyncio.sleep(0.05)
        except BaseException:
            await self.kill()
            raise

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return (await reader.readline()).startswith(b"HTTP/1.1 200")
        except OSError:
            return False
        finally:
            writer.close()

    @property
    def faults(self) -> list[str]:
        """What it logged that it should not have."""
        lines = self.output.read_text().splitlines() if self.output.exists() else []
        return [line for line in lines if '"level":"error"' in line or "Traceback" in line or "ERROR" in line]


class OwnRedis(Process):
    """A Redis that a test may pause, flush and kill.

    Attributes:
        url: its address.
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            missing("redis-server", "not installed")
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        options = ["--port", str(port), "--save", "", "--dir", str(folder), "--bind", "127.0.0.1"]
        super().__init__([program, *options], folder / "redis.log")

    @override
    async def start(self) -> None:
        """Start it, and return when it answers."""
        await super().start()
        async with asyncio.timeout(10), self.client() as client:
            while True:
                try:
                    await client.ping()
                except (RedisError, OSError):
                    await asyncio.sleep(0.02)
                else:
                    return

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[redis.Redis]:
        """Open a client."""
        client = redis.from_url(self.url, socket_timeout=5.0)
        try:
            yield client
        finally:
            await client.aclose()

    async def command(self, *words: str) -> None:
        """Run one command."""
        async with self.client() as client:
            await client.execute_command(*words)  # type: ignore[no-untyped-call]

    async def pause(self) -> None:
        """Let it hang: connections stay open, and nothing is answered."""
        await self.signal(signal.SIGSTOP)

    async def resume(self) -> None:
        """Let it go on."""
        await self.signal(signal.SIGCONT)

    async def kill_connections(self) -> None:
        """Close every connection that it has."""
        for kind in ("normal", "pubsub"):
            await self.command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


@contextlib.asynccontextmanager
async def own_redis(folder: Path) -> AsyncIterator[OwnRedis]:
    """Start a Redis for one test."""
    process = OwnRedis(folder)
    await process.start()
    try:
        yield process
    finally:
        await process.resume()
        await process.kill()
