"""A server in this very process and loop: real sockets, real databases, and its insides within reach."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx2
import uvicorn
from typing_extensions import override

from courtyard.kernel.clock import Clock
from courtyard.kernel.context import Context
from courtyard.kernel.database import Placement
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import (
    AccountSettings,
    AuditSettings,
    BackupSettings,
    DatabaseSettings,
    EventSettings,
    FileSettings,
    Key,
    LimitSettings,
    MailSettings,
    RealtimeSettings,
    RedisSettings,
    SecuritySettings,
    ServerSettings,
    Settings,
    ShardSettings,
    TaskSettings,
    TelemetrySettings,
    WebhookSettings,
    WorkspaceSettings,
)
from courtyard.kernel.settings_sources import new_key
from courtyard.server import Server
from courtyard.serving import listen

SECTIONS: dict[str, Any] = {
    "server": ServerSettings,
    "database": DatabaseSettings,
    "redis": RedisSettings,
    "security": SecuritySettings,
    "accounts": AccountSettings,
    "workspaces": WorkspaceSettings,
    "shards": ShardSettings,
    "events": EventSettings,
    "realtime": RealtimeSettings,
    "mail": MailSettings,
    "files": FileSettings,
    "tasks": TaskSettings,
    "webhooks": WebhookSettings,
    "limits": LimitSettings,
    "audit": AuditSettings,
    "backup": BackupSettings,
    "telemetry": TelemetrySettings,
}
# The servers of one test process are processes of one installation.
KEYS = {"signing_keys": (Key(**new_key()),), "encryption_keys": (Key(**new_key()),)}
DEFAULTS: dict[str, dict[str, Any]] = {
    # A hash costs nothing, and somebody who was cut off is soon known to be gone.
    "security": {**KEYS, "argon2_time_cost": 1, "argon2_memory_kib": 64, "argon2_parallelism": 1},
    "realtime": {"presence_grace_seconds": 0.2},
    "server": {"shutdown_timeout_seconds": 2},
    # PostgreSQL has a hundred connections for all of them.
    "database": {"pool_size": 6, "read_pool_size": 6},
    # Tests come from one address, and are in a hurry. Those of limits have servers of their own.
    "limits": {"enabled": False},
    # A browser is made to find each server there (`tests/e2e`), on whichever port it listens.
    "accounts": {"passkey_origins": ("http://localhost:8000",)},
}


class MovableClock:
    """The clock of the machine, moved by as much as a test likes."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def now(self) -> datetime:
        """Return the time, moved."""
        return datetime.now(UTC) + self.offset

    def move(self, **amount: float) -> None:
        """Move the time: `move(minutes=5)`."""
        self.offset += timedelta(**amount)


def make_settings(data_dir: Path, database_url: str, **sections: Mapping[str, Any]) -> Settings:
    """Return settings that no environment and no file of this machine has a part in.

    Args:
        data_dir: of files that are kept.
        database_url: the main database.
        sections: changes to sections of the settings: `server={"max_body_bytes": 2_000}`.
    """
    sections = {**sections, "database": {"url": database_url, **sections.get("database", {})}}
    return Settings.model_construct(
        data_dir=data_dir,
        **{name: section(**{**DEFAULTS.get(name, {}), **sections.get(name, {})}) for name, section in SECTIONS.items()},
    )


async def finish(runtime: Runtime, step: Callable[[Context], Awaitable[bool]]) -> None:
    """Take steps of background work until it says that there is no more, each in a transaction of its own."""
    is_more = True
    while is_more:
        context = Context(runtime, None, None, "test")
        try:
            is_more = await step(context)
            await context.commit()
        finally:
            await context.rollback()


class WebServer(uvicorn.Server):
    """A web server in a task of this loop. `ready` is set when it listens, or has failed to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @override
    async def startup(self, sockets: Any = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()

    @contextlib.contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        # Signals belong to pytest.
        yield


class RunningServer:
    """A server that listens.

    Attributes:
        app: the ASGI application.
        url: where it listens, without a slash at the end.
        settings: what it was started with.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None, placement: Placement | None = None) -> None:
        self._listener = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        if settings.server.public_url is None:
            # What it sends to others leads back to it.
            here = settings.server.model_copy(update={"public_url": self.url})
            settings = settings.model_copy(update={"server": here})
        self.settings = settings
        try:
            self.app = Server(settings, clock=clock, placement=placement)
        except BaseException:
            self._listener.close()
            raise
        self._web_server = WebServer(
            # As `courtyard serve` does it.
            uvicorn.Config(
                self.app,
                http="httptools",
                ws="courtyard.kernel.realtime.wire:FrameProtocol",
                ws_max_size=settings.realtime.max_message_bytes + 1_024,
                ws_ping_interval=None,
                ws_per_message_deflate=False,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=settings.server.shutdown_timeout_seconds,
            )
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def runtime(self) -> Runtime:
        """The process, as the server sees it."""
        return self.app.runtime

    async def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._web_server.serve(sockets=[self._listener]))
        await self._web_server.ready.wait()
        if not self._web_server.started:
            await self._task
            self._listener.close()
            raise RuntimeError("the server did not start")

    async def stop(self) -> None:
        """Stop, and let go of everything."""
        self._web_server.should_exit = True
        if self._task is not None:
            await self._task

    def client(self, **options: Any) -> httpx2.AsyncClient:
        """Return a client that calls the application directly, which is the quickest; its paths begin at `/`."""
        options.setdefault("base_url", self.url)
        transport = httpx2.ASGITransport(cast("Any", self.app))
        return httpx2.AsyncClient(transport=transport, trust_env=False, timeout=30, **options)

    def network_client(self, **options: Any) -> httpx2.AsyncClient:
        """Return a client that goes through the web server; close it."""
        options.setdefault("base_url", self.url)
        return httpx2.AsyncClient(trust_env=False, timeout=30, verify=False, **options)
