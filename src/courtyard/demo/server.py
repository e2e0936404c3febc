"""A `courtyard serve` in a process and a folder of its own."""

import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from courtyard.demo.failure import DemoFailed

HOST = "127.0.0.1"
PROGRAM = "from courtyard.cli import program; program()"
READY_SECONDS = 30.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.05


class ServerProcess:
    """Runs while its block runs.

    Args:
        folder: for its data and its log.
        port: where it listens on 127.0.0.1.

    Attributes:
        url: its address.
        log_path: what it says.
        outbox: the folder of the mails that it sends.
        start_seconds: how long it took to be ready.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"http://{HOST}:{port}"
        self.log_path = folder / "server.log"
        self.outbox = folder / "data" / "outbox"
        self.start_seconds = 0.0
        self._folder = folder
        self._port = port
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Start the process."""
        # Settings of the shell are not for the demo; those in files are not found from its folder.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COURTYARD_")}
        environment["COURTYARD_DATA_DIR"] = str(self._folder / "data")
        with self.log_path.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-c", PROGRAM, "serve", "--host", HOST, "--port", str(self._port)),
                cwd=self._folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C reaches the demo alone, which then stops the server.
                start_new_session=True,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the process in good order, or kill it where it does not stop or a second Ctrl-C comes."""
        process = self._running
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except (TimeoutError, asyncio.CancelledError):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @property
    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process

    async def ready(self) -> None:
        """Wait until it answers.

        Raises:
            DemoFailed: it ended, or it does not become ready.
        """
        started = time.monotonic()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READY_SECONDS)) as session:
            while time.monotonic() - started < READY_SECONDS:
                if self._running.returncode is not None:
                    raise DemoFailed(f"the server ended with status {self._running.returncode}")
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.url}/health/ready") as answer:
                        if answer.ok:
                            self.start_seconds = time.monotonic() - started
                            return
                await asyncio.sleep(LOOK_SECONDS)
        raise DemoFailed(f"the server is not ready after {READY_SECONDS:.0f} s")

    async def ended(self) -> None:
        """Wait for the process to end, which it should not do by itself.

        Raises:
            DemoFailed: it has.
        """
        raise DemoFailed(f"the server ended by itself, with status {await self._running.wait()}")

    def log_tail(self, lines: int) -> list[str]:
        """Return the last lines that it wrote."""
        try:
            with self.log_path.open(encoding="utf-8", errors="replace") as log:
                return [line.rstrip() for line in deque(log, lines)]
        except OSError:
            return []
