"""Receivers of webhooks, and servers that may tell them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from tests.conftest import ServerFactory
from tests.factories import Factory, Workspace, ok
from tests.kernel.tasks.crews import WHOLE, Crew, Sections, open_crew, redis_of
from tests.services import Databases, Kind, RedisSpace

LONG = {"access_token_seconds": 86_400}
LOCAL = ("127.0.0.0/8",)
SOON = {"allowed_networks": LOCAL, "sweep_seconds": 0.02, "timeout_seconds": 5}
EMBEDDED = ["embedded-sqlite", pytest.param("embedded-postgresql", marks=pytest.mark.services)]
# Where a test moves the clock of what tells, or changes what is around it: a worker is another process.
IN_PROCESS = pytest.mark.parametrize("engine", EMBEDDED, indirect=True)


@dataclass
class Told:
    """One message, as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A program that is told what happens.

    Attributes:
        url: where it listens.
        told: what it was told, in this order.
        status: what it answers.
        answer: the body of the answer.
        headers: of the answer.
        seconds: how long it takes.
    """

    url: str = ""
    told: list[Told] = field(default_factory=list)
    status: int = 204
    answer: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    async def handle(self, request: web.Request) -> web.Response:
        """Take a message."""
        self.told.append(Told(request.path, dict(request.headers), await request.read()))
        await asyncio.sleep(self.seconds)
        return web.Response(status=self.status, body=self.answer, headers=self.headers)

    async def reach(self, count: int) -> list[Told]:
        """Return what it was told, as soon as it is so much."""
        async with asyncio.timeout(15):
            while len(self.told) < count:  # noqa: ASYNC110 - it is told by others
                await asyncio.sleep(0.01)
        return self.told

    def verified(self, secret: str, number: int = -1) -> dict[str, Any]:
        """Return a message after the library that receivers use has believed it."""
        told = self.told[number]
        message: dict[str, Any] = Webhook(secret).verify(told.body.decode(), told.headers)
        return message


@asynccontextmanager
async def listening(host: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    """Run a receiver until the block is left."""
    receiver = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", receiver.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    (address,) = runner.addresses
    receiver.url = f"http://{host}:{address[1]}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that is told what happens."""
    async with listening() as one:
        yield one


@pytest.fixture(scope="module", params=[*EMBEDDED, pytest.param(WHOLE, marks=pytest.mark.services)])
def engine(request: pytest.FixtureRequest) -> str:
    """What runs tasks, and what is behind the servers."""
    name: str = request.param
    return name


@pytest.fixture
def database_kind(engine: str) -> Kind:
    """What is behind the servers."""
    return cast("Kind", engine.partition("-")[2])


@pytest.fixture(scope="module")
async def whole(
    engine: str,
    databases: Databases,
    tmp_path_factory: pytest.TempPathFactory,
    redis_space_of_process: RedisSpace,
) -> AsyncIterator[Crew | None]:
    """PostgreSQL, Redis, and a worker of Celery over RabbitMQ that tells; None where a server does it all."""
    if engine != WHOLE:
        yield None
        return
    sections: Sections = {"webhooks": SOON, **await redis_of(engine, redis_space_of_process)}
    async with open_crew(engine, databases, tmp_path_factory.mktemp("crew"), sections) as crew:
        yield crew


@pytest.fixture
async def settings(databases: Databases, database_kind: Kind, whole: Crew | None) -> dict[str, Any]:
    """Settings with which receivers on this machine may be told, soon.

    With a database of its own: a server of other tests would take up what is to be sent, and refuse to send it there.
    """
    if whole is not None:
        shared = {name: whole.sections[name] for name in ("redis", "tasks", "webhooks")}
        return {"database": whole.url, **shared, "security": LONG}
    return {
        "database": await databases.new(database_kind),
        "webhooks": SOON,
        "tasks": {"sweep_seconds": 0.02},
        "security": LONG,
    }


@pytest.fixture
async def make(server_factory: ServerFactory, settings: dict[str, Any], clock: Any) -> Factory:  # noqa: ANN401
    """What tests need, on a server that tells."""
    return Factory(await server_factory(clock=clock, **settings))


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    """A workspace that tells."""
    return await make.workspace()


async def name(workspace: Workspace, url: str, *events: str) -> dict[str, Any]:
    """Name an endpoint, and return it with its secret."""
    new = {"url": url, "events": events or ["*"]}
    made: dict[str, Any] = ok(await workspace.owner.http.post(f"{workspace.path}/webhooks/endpoints", json=new))
    return made


async def deliveries(workspace: Workspace, endpoint: dict[str, Any], **filters: str) -> list[dict[str, Any]]:
    """Return what was sent to an endpoint, newest first."""
    path = f"{workspace.path}/webhooks/endpoints/{endpoint['endpoint']['id']}/deliveries"
    found: list[dict[str, Any]] = ok(await workspace.owner.http.get(path, params=filters))["items"]
    return found


async def detail(workspace: Workspace, delivery_id: str) -> dict[str, Any]:
    """Return a delivery with its attempts."""
    found: dict[str, Any] = ok(await workspace.owner.http.get(f"{workspace.path}/webhooks/deliveries/{delivery_id}"))
    return found


async def until(condition: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it returns
    """Return what a condition returns, as soon as that is something."""
    async with asyncio.timeout(15):
        while not (found := await condition()):  # noqa: ASYNC110 - the database has no event
            await asyncio.sleep(0.02)
    return found
