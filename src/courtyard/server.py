"""Assembles the ASGI application: the kernel first, then each application that is installed and configured."""

import gc
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.types import Message, Receive, Scope, Send

from courtyard import site
from courtyard.kernel.accounts import SESSIONS_CHANNEL, accounts
from courtyard.kernel.application import Application, installed
from courtyard.kernel.audit import Keeper, audit
from courtyard.kernel.backup import backups
from courtyard.kernel.clock import Clock
from courtyard.kernel.database import Placement
from courtyard.kernel.events import Background, Signal, events
from courtyard.kernel.files import files
from courtyard.kernel.http import EXCEPTION_HANDLERS, TRUSTED, Edge, StrictRequest, idempotency
from courtyard.kernel.key_watch import KeyWatch
from courtyard.kernel.mail import mail
from courtyard.kernel.quotas import quotas
from courtyard.kernel.realtime import PATH, Realtime, realtime
from courtyard.kernel.relocation import relocation
from courtyard.kernel.residence import residence
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import Settings, load_settings
from courtyard.kernel.shards import PLACEMENTS_CHANNEL, placements, shards
from courtyard.kernel.storage import StoragePlacement
from courtyard.kernel.tasks import TASKS_CHANNEL, Runner, Scheduler, Sender, operations, tasks
from courtyard.kernel.telemetry import begin_telemetry, configure_logs, end_telemetry
from courtyard.kernel.webhooks import Fanout, webhooks
from courtyard.kernel.workspaces import DatabaseIdentity, workspaces

# Not among the types of scopes that the framework's annotations name.
LIFESPAN: str = "lifespan"
# A new key signs some seconds after it was written (`courtyard.keys`), so every process has to look more often.
KEY_WATCH_SECONDS = 1.0

# In the order in which their tables are made.
KERNEL = (
    accounts,
    workspaces,
    placements,
    shards,
    relocation,
    residence,
    quotas,
    files,
    events,
    idempotency,
    tasks,
    operations,
    mail,
    realtime,
    webhooks,
    audit,
)


def parts(settings: Settings) -> list[Application]:
    """Return the modules of the kernel and the configured applications."""
    return [*KERNEL, backups(settings), *installed(settings.applications)]


class Server:
    """The ASGI application: sockets below `/socket.io`, everything else over HTTP.

    Attributes:
        runtime: the process.
        audit: keeps the audit logs.
        realtime: its sockets.
        tasks: what runs background work, where the settings have it run here.
        webhooks: what thinks of whom to tell.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        placement: Placement | None = None,
        storage: StoragePlacement | None = None,
    ) -> None:
        declared = parts(settings)
        self.runtime = Runtime.create(
            settings, declared, DatabaseIdentity(), clock=clock, placement=placement, storage=storage
        )
        self.audit = Keeper(self.runtime)
        self.realtime = Realtime(self.runtime, [handler for part in declared for handler in part.sockets])
        self.tasks = Runner(self.runtime)
        self._scheduler = Scheduler(self.runtime)
        self._sender = Sender(self.runtime) if settings.tasks.runner == "celery" else None
        self.webhooks = Fanout(self.runtime)
        self._keys = KeyWatch(settings, self.runtime.signing, self.runtime.encryption)
        self._background = Background()
        self._census = site.Census(self.runtime)
        self._workers = site.Workers.of_environment(partial(site.exposition, self.runtime, self._census))
        self.http = web_application(declared, settings, lifespan=[self._lifespan])
        self.http.state[site.WORKERS] = self._workers
        self._edge = Edge(self.http, self.runtime)
        self._refusal: site.CannotStart | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, a socket, or the life-cycle of the server."""
        if scope["type"] == LIFESPAN:
            await self._edge(scope, receive, self._in_a_line(send))
            return
        scope[TRUSTED] = self.runtime.proxies.correct(scope)  # type: ignore[arg-type, literal-required]  # a scope is a mapping to everybody else
        if scope["path"].startswith(PATH):
            await self.realtime(scope, receive, send)
        else:
            await self._edge(scope, receive, send)

    def _in_a_line(self, send: Send) -> Send:
        """Let a refusal to start be told by its reason alone: the framework would send the traceback."""

        async def told(message: Message) -> None:
            if self._refusal is not None and "message" in message:
                message["message"] = str(self._refusal)  # type: ignore[typeddict-unknown-key]
            await send(message)

        return told

    @asynccontextmanager
    async def _lifespan(self, _: Litestar) -> AsyncGenerator[None]:
        try:
            await site.prepare(self.runtime)
        except site.CannotStart as refusal:
            self._refusal = refusal
            await self.runtime.close()
            raise
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def start(self) -> None:
        """Begin to listen to other processes, to look after sockets and to run tasks."""
        await self._workers.start()
        await self.runtime.bus.start(self._heard)
        await self.runtime.bus.listen(SESSIONS_CHANNEL)
        await self.runtime.bus.listen(TASKS_CHANNEL)
        await self.runtime.bus.listen(PLACEMENTS_CHANNEL)
        self.runtime.placement.start()
        self.runtime.dispatcher.start()
        self.realtime.start()
        if self.runtime.settings.tasks.runner == "embedded":
            self.tasks.start()
            self._scheduler.start()
            self._census.start()
        if self._sender is not None:
            self._sender.start()
        self.webhooks.start()
        self.audit.start()
        self._background.every(KEY_WATCH_SECONDS, self._keys.look)
        # What is there now stays: the collector need not look at it again, nor so often (a fifth to a third more
        # requests per second was measured).
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)

    async def stop(self) -> None:
        """Cut the sockets and let go of everything."""
        await self._background.end()
        await self._workers.stop()
        await self.realtime.stop()
        await self._scheduler.stop()
        await self._census.stop()
        if self._sender is not None:
            await self._sender.stop()
        await self.webhooks.stop()
        await self.tasks.stop(self.runtime.settings.server.shutdown_timeout_seconds)
        await self.audit.stop()
        await self.runtime.close()
        await end_telemetry()

    def _heard(self, signal: Signal) -> None:
        if signal.channel == SESSIONS_CHANNEL:
            self.realtime.heard(signal)
        elif signal.channel == TASKS_CHANNEL:
            self.tasks.heard(signal)
            if self._sender is not None:
                self._sender.heard(signal)
        elif signal.channel == PLACEMENTS_CHANNEL:
            self.runtime.placement.forget()
        else:
            self.runtime.dispatcher.heard(signal)


def web_application(declared: Sequence[Application], settings: Settings, **options: object) -> Litestar:
    """Return the framework's application with the routes of every part."""
    return Litestar(
        route_handlers=[*site.ROUTES, *(route for part in declared for route in part.routes)],
        request_class=StrictRequest,
        exception_handlers=EXCEPTION_HANDLERS,
        request_max_body_size=settings.server.max_body_bytes,
        # The document is made from our own declarations (`site`).
        openapi_config=None,
        cors_config=_cross_origin(settings) if settings.server.cors_origins else None,
        # Faults are logged at the edge, with their request id.
        logging_config=None,
        **options,  # type: ignore[arg-type]
    )


async def prepare(settings: Settings) -> None:
    """Bring the databases up to date, or refuse to start, before there is a server.

    Raises:
        CannotStart: with one line for the operator.
    """
    configure_logs(settings)
    runtime = Runtime.create(settings, parts(settings), DatabaseIdentity())
    try:
        await site.prepare(runtime)
    finally:
        await runtime.close()


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document of the configured applications."""
    return site.openapi_document(parts(load_settings(make_secrets=False)))


def asyncapi_document() -> dict[str, Any]:
    """Return the AsyncAPI document of the configured applications."""
    return site.asyncapi_document(parts(load_settings(make_secrets=False)))


def permissions_page() -> str:
    """Return the reference page of the permissions and roles of the configured applications."""
    return site.permissions_page(parts(load_settings(make_secrets=False)))


def limits_page() -> str:
    """Return the reference page of the limits and quotas of the configured applications."""
    return site.limits_page(parts(load_settings(make_secrets=False)))


def metrics_page() -> str:
    """Return the reference page of the metrics of the kernel and the configured applications."""
    # What an application declares is known once it is loaded.
    parts(load_settings(make_secrets=False))
    return site.metrics_page()


def audit_names_page() -> str:
    """Return the reference page of the names in the audit log of the configured applications."""
    return site.audit_names_page(parts(load_settings(make_secrets=False)))


def _cross_origin(settings: Settings) -> CORSConfig:
    return CORSConfig(
        allow_origins=list(settings.server.cors_origins),
        allow_credentials=True,
        # Pages of other origins read no other headers than these.
        expose_headers=["ETag", "Idempotent-Replayed", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID"],
        max_age=600,
    )


def create_app() -> Server:
    """Return the application of one server process, configured from the environment; the factory for uvicorn."""
    settings = load_settings()
    begin_telemetry(settings)
    return Server(settings)
