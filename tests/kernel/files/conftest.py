"""An application with files, installed beside the others: an album, whose pages everybody or nobody may see."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import pytest

import courtyard.server
from courtyard.kernel.application import Application, Role
from courtyard.kernel.clock import Clock
from courtyard.kernel.context import EVERYBODY, Context, ReadContext
from courtyard.kernel.errors import NotFound
from courtyard.kernel.files import FileKind, attach, detach
from courtyard.kernel.ids import new_id
from courtyard.kernel.settings import Settings, StorageSettings
from courtyard.kernel.storage import Storage
from tests.buckets import Azurite, S3Server
from tests.conftest import ServerFactory
from tests.factories import Factory, Person, Workspace, ok
from tests.running import RunningServer, make_settings
from tests.services import Databases, Kind

MIB = 1 << 20
PAGES: dict[UUID, set[UUID]] = {}


async def may_see(context: ReadContext, page_id: UUID) -> None:
    """Let those see a page who are on its list."""
    if context.account_id not in PAGES.get(page_id, set()):
        raise NotFound


PAPER = FileKind(
    name="album.paper",
    description="Anything, on a page of an album.",
    permission="album.paper.upload",
    authorise=may_see,
    content_types=frozenset({"*/*"}),
    max_bytes=4 * MIB,
)
PICTURE = FileKind(
    name="album.picture",
    description="A picture on a page of an album.",
    permission="album.paper.upload",
    authorise=may_see,
    content_types=frozenset({"image/*"}),
    max_bytes=32 * MIB,
    thumbnails={"small": 64, "large": 400},
)
SECRET = FileKind(
    name="album.secret",
    description="What only owners of workspaces put there.",
    permission="album.secret.upload",
    authorise=may_see,
    content_types=frozenset({"*/*"}),
    max_bytes=2_000 * MIB,
)
ALBUM = Application(
    name="album",
    description="Pages with files.",
    permissions={"album.paper.upload": "Put something there.", "album.secret.upload": "Put secrets there."},
    roles={
        EVERYBODY: Role(description="", permissions=frozenset({"album.paper.upload"}), assignable=False),
        "owner": Role(description="", permissions=frozenset({"album.secret.upload"})),
    },
    files=(PAPER, PICTURE, SECRET),
)


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the application in the servers that a test starts."""
    parts = courtyard.server.parts

    def with_album(settings: Settings) -> list[Application]:
        return [*parts(settings), ALBUM]

    monkeypatch.setattr(courtyard.server, "parts", with_album)


@dataclass
class Files:
    """A server, and a workspace in it.

    Attributes:
        server: which runs.
        make: makes people there.
        workspace: with its owner.
    """

    server: RunningServer
    make: Factory
    workspace: Workspace
    _sent: int = field(default=0)

    @property
    def path(self) -> str:
        """Where the files of the workspace are."""
        return f"{self.workspace.path}/files"

    @property
    def owner(self) -> Person:
        """Of the workspace."""
        return self.workspace.owner

    async def upload(
        self,
        content: bytes,
        *,
        person: Person | None = None,
        kind: str = "album.paper",
        name: str = "a.bin",
        **more: Any,
    ) -> dict[str, Any]:
        """Upload a file, and return what is known of it."""
        http = (person or self.owner).http
        answer: dict[str, Any] = ok(
            await http.post(self.path, params={"kind": kind, "name": name}, content=content, **more)
        )
        return answer

    async def context(self, person: Person | None = None) -> Context:
        """Open a context of somebody in the workspace."""
        runtime, person = self.server.runtime, person or self.owner
        principal = await runtime.identity.authenticate(runtime, person.token)
        access = await runtime.identity.access(runtime, principal, self.workspace.slug)
        return Context(runtime, principal, access, "test")

    async def put_on_page(self, *file_ids: str, readers: set[UUID], kind: FileKind = PAPER) -> UUID:
        """Make a page with files of the owner, and return its id."""
        page_id = new_id()
        PAGES[page_id] = readers
        context = await self.context()
        try:
            await attach(context, kind, [UUID(each) for each in file_ids], page_id)
            await context.commit()
        finally:
            await context.rollback()
        return page_id

    async def remove_page(self, page_id: UUID, kind: FileKind = PAPER) -> None:
        """Remove a page."""
        context = await self.context()
        try:
            await detach(context, kind, [page_id])
            await context.commit()
        finally:
            await context.rollback()

    async def storage(self) -> Storage:
        """Return where the bytes are."""
        return await self.server.runtime.storage.storage_of(self.workspace.id)

    async def keys(self) -> list[str]:
        """Return what is stored for this workspace."""
        storage = await self.storage()
        listed = [one.key async for lot in storage.everything() for one in lot]
        return sorted(key for key in listed if key.startswith(str(self.workspace.id)))

    async def used(self) -> int:
        """Return how many bytes of its quota the workspace has."""
        quotas = ok(await self.owner.http.get(f"{self.workspace.path}/quotas"))
        (use,) = [quota["used"] for quota in quotas if quota["name"] == "files.bytes"]
        return int(use)


class Setting(NamedTuple):
    """What is behind a server with files."""

    database: Kind
    storage: str


@pytest.fixture(
    params=[
        pytest.param(Setting("sqlite", "local"), id="sqlite-local"),
        pytest.param(Setting("postgresql", "local"), id="postgresql-local", marks=pytest.mark.services),
        pytest.param(Setting("postgresql", "s3"), id="postgresql-s3", marks=[pytest.mark.services, pytest.mark.slow]),
        pytest.param(
            Setting("sqlite", "azure"),
            id="sqlite-azure",
            marks=[pytest.mark.services, pytest.mark.node, pytest.mark.slow],
        ),
    ]
)
def setting(request: pytest.FixtureRequest) -> Setting:
    """What is behind the server: the same tests, whatever it is."""
    found: Setting = request.param
    return found


@pytest.fixture
def database_kind(setting: Setting) -> Kind:
    """The database of the setting."""
    return setting.database


class Buckets:
    """Makes storages of each kind; the servers that speak for them start with the first, and end with the tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._s3: S3Server | None = None
        self._azurite: Azurite | None = None

    async def new(self, kind: str) -> StorageSettings:
        """Make one with nothing in it; the local one is that of the data of the server."""
        if kind == "s3":
            self._s3 = self._s3 or S3Server()
            return self._s3.bucket()
        if kind == "azure":
            if self._azurite is None:
                self._azurite = Azurite(self._folder)
                await self._azurite.start()
            return await self._azurite.container()
        return StorageSettings()

    async def close(self) -> None:
        """End what was started."""
        if self._s3 is not None:
            self._s3.stop()
        if self._azurite is not None:
            await self._azurite.kill()


@pytest.fixture(scope="package")
async def buckets(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Buckets]:
    """Storages of each kind."""
    made = Buckets(tmp_path_factory.mktemp("azurite"))
    yield made
    await made.close()


class FilesFactory(Protocol):
    """Starts servers with files."""

    async def __call__(self, *, clock: Clock | None = None, **sections: Mapping[str, Any]) -> Files:
        """Start one, with another clock and changes to its settings, and make a workspace."""
        ...


@pytest.fixture
async def files_on(
    server_factory: ServerFactory, databases: Databases, setting: Setting, buckets: Buckets
) -> AsyncIterator[FilesFactory]:
    """Starts servers with files, each on a database of its own: others would look for thumbnails in other storages."""
    factories: list[Factory] = []

    async def start(*, clock: Clock | None = None, **sections: Mapping[str, Any]) -> Files:
        own = {"storage": await buckets.new(setting.storage), **sections.pop("files", {})}
        database = await databases.new(setting.database)
        server = await server_factory(database=database, clock=clock, files=own, **sections)  # type: ignore[arg-type]  # sections alone
        make = Factory(server)
        factories.append(make)
        return Files(server, make, await make.workspace())

    yield start
    for each in factories:
        await each.close()


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[dict[Setting, RunningServer]]:
    """The servers that the tests of a module share."""
    started: dict[Setting, RunningServer] = {}
    yield started
    for each in started.values():
        await each.stop()


@pytest.fixture
async def files(
    shared: dict[Setting, RunningServer], databases: Databases, setting: Setting, buckets: Buckets
) -> AsyncIterator[Files]:
    """A workspace of one's own, on a server with files, on either database and each kind of storage."""
    if setting not in shared:
        url = await databases.new(setting.database)
        own = {"storage": await buckets.new(setting.storage)}
        server = RunningServer(make_settings(databases.data_dir(url), url, files=own))
        await server.start()
        shared[setting] = server
    make = Factory(shared[setting])
    yield Files(make.server, make, await make.workspace())
    await make.close()
