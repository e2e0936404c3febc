"""What many tests use: databases, servers on them, people and things.

Every test that asks for `server` or `make` runs on SQLite and, marked `services`, on PostgreSQL. The server and its
database are shared by all tests of a process: what a test makes has names of its own, so tests do not see each other.
"""

from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from typing import Any, NoReturn, Protocol

import httpx2
import pytest
import structlog

from courtyard.kernel.clock import Clock
from courtyard.kernel.database import Placement
from tests.commands import place, run
from tests.factories import Factory
from tests.mailbox import Mailbox
from tests.openid import Browser, OpenidStandIn
from tests.running import MovableClock, RunningServer, make_settings
from tests.services import Databases, Kind, RedisSpace

# Fixtures that stand elsewhere.
__all__ = ["place", "run"]


@pytest.fixture(scope="session", autouse=True)
def quiet_logs() -> None:
    """Keep logs off the screen; a test that wants to see them uses `structlog.testing.capture_logs`."""
    structlog.configure(processors=[_drop], cache_logger_on_first_use=False)


def _drop(_logger: object, _method: str, _event: object) -> NoReturn:
    raise structlog.DropEvent


@pytest.fixture(scope="session")
async def databases(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Databases]:
    """The databases of this test process."""
    made = Databases(tmp_path_factory.mktemp("databases"))
    yield made
    await made.drop()


@pytest.fixture(scope="session")
async def redis_space_of_process() -> AsyncIterator[RedisSpace]:
    """The part of Redis that belongs to this test process."""
    space = RedisSpace()
    yield space
    await space.clear()


@pytest.fixture
async def redis_space(redis_space_of_process: RedisSpace) -> RedisSpace:
    """A part of Redis; mark the test with `services`."""
    await redis_space_of_process.check()
    return redis_space_of_process


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def database_kind(request: pytest.FixtureRequest) -> Kind:
    """What is behind the server."""
    kind: Kind = request.param
    return kind


@pytest.fixture(scope="session")
async def stand_ins() -> AsyncIterator[dict[str, OpenidStandIn]]:
    """The OpenID providers that the servers of this process know, by name."""
    started = {"company": OpenidStandIn(), "partner": OpenidStandIn()}
    for each in started.values():
        await each.start()
    yield started
    for each in started.values():
        await each.stop()


class Servers:
    """The servers that tests share, one for each kind of database, started when they are first needed."""

    def __init__(self, databases: Databases, stand_ins: Mapping[str, OpenidStandIn]) -> None:
        self._databases = databases
        self._providers = {name: each.settings() for name, each in stand_ins.items()}
        self._running: dict[Kind, RunningServer] = {}

    async def of(self, kind: Kind) -> RunningServer:
        """Return the server on a kind of database."""
        if kind not in self._running:
            url = await self._databases.shared(kind)
            accounts = {"oidc": self._providers}
            server = RunningServer(make_settings(self._databases.data_dir(url), url, accounts=accounts))
            await server.start()
            self._running[kind] = server
        return self._running[kind]

    async def stop(self) -> None:
        """Stop them all."""
        for server in self._running.values():
            await server.stop()


@pytest.fixture(scope="session")
async def servers(databases: Databases, stand_ins: dict[str, OpenidStandIn]) -> AsyncIterator[Servers]:
    """The servers that tests share."""
    started = Servers(databases, stand_ins)
    yield started
    await started.stop()


@pytest.fixture
async def server(servers: Servers, database_kind: Kind) -> RunningServer:
    """A server as `courtyard serve` starts it. Tests share it."""
    return await servers.of(database_kind)


@pytest.fixture
def server_url(server: RunningServer) -> str:
    """Where the server listens, without a slash at the end."""
    return server.url


@pytest.fixture
def mailbox(server: RunningServer) -> Mailbox:
    """The mail that the server has delivered, to whoever a test made up."""
    return Mailbox(server.settings.data_path)


@pytest.fixture
async def make(server: RunningServer) -> AsyncIterator[Factory]:
    """Makes people, workspaces and conversations on the server."""
    factory = Factory(server)
    yield factory
    await factory.close()


@pytest.fixture
def nobody(make: Factory) -> httpx2.AsyncClient:
    """A client without a login; paths begin behind `/api/v1`."""
    return make.nobody


@pytest.fixture
def company(stand_ins: dict[str, OpenidStandIn]) -> Iterator[OpenidStandIn]:
    """The OpenID provider `company`, which knows nothing of other tests: some log in there without this fixture."""
    stand_ins["company"].behave()
    yield stand_ins["company"]
    stand_ins["company"].behave()


@pytest.fixture
def partner(stand_ins: dict[str, OpenidStandIn]) -> Iterator[OpenidStandIn]:
    """Another OpenID provider, `partner`."""
    stand_ins["partner"].behave()
    yield stand_ins["partner"]
    stand_ins["partner"].behave()


@pytest.fixture
def browser(server: RunningServer) -> Browser:
    """A browser of somebody who has never been here."""
    return Browser(server)


@pytest.fixture
def clock() -> MovableClock:
    """A clock for a server of one's own."""
    return MovableClock()


class ServerFactory(Protocol):
    """Starts servers for one test."""

    def __call__(
        self,
        *,
        database: str | None = None,
        clock: Clock | None = None,
        placement: Placement | None = None,
        **sections: Mapping[str, Any],
    ) -> Awaitable[RunningServer]:
        """Start a server.

        Args:
            database: the URL of its main database; that of the shared server unless another is given.
            clock: its clock.
            placement: its databases.
            sections: changes to the settings: `server={"max_body_bytes": 2_000}`.
        """
        ...


@pytest.fixture
async def server_factory(databases: Databases, database_kind: Kind) -> AsyncIterator[ServerFactory]:
    """Starts servers with other settings, a clock or a placement. They are stopped with the test."""
    started: list[RunningServer] = []

    async def start(
        *,
        database: str | None = None,
        clock: Clock | None = None,
        placement: Placement | None = None,
        **sections: Mapping[str, Any],
    ) -> RunningServer:
        url = database or await databases.shared(database_kind)
        server = RunningServer(
            make_settings(databases.data_dir(url), url, **sections), clock=clock, placement=placement
        )
        started.append(server)
        await server.start()
        return server

    yield start
    for server in reversed(started):
        await server.stop()
