"""Backup, destroy, restore: every row, every file, every key, and people come in as before."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from courtyard.kernel.backup.archive import Contents
from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.backup.making import Source, make
from courtyard.kernel.backup.places import Place
from courtyard.kernel.backup.restoring import KEEP, Choices, restore
from courtyard.kernel.database import Database, sqlite_path
from courtyard.kernel.relocation.files import move_files
from courtyard.kernel.settings import DatabaseSettings, StorageSettings
from courtyard.kernel.settings_sources import SECRETS_FILE
from courtyard.kernel.shards import ShardedPlacement, ShardedStorage, encoded
from tests.buckets import S3Server, s3_server
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, ok
from tests.kernel.files.conftest import Files, installed
from tests.kernel.relocation.conftest import Street, Writer
from tests.running import RunningServer
from tests.services import Databases, Kind

# A fixture that stands elsewhere.
__all__ = ["installed"]

pytestmark = pytest.mark.slow
PASSPHRASE = "correct horse battery"
TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename",
}


async def everything(url: str) -> dict[str, list[str]]:
    """Return every row of every table."""
    database = Database(url, DatabaseSettings())
    connection = await database.readers.acquire()
    try:
        names = [row[0] for row in await connection.fetch(TABLES[database.dialect.name], ())]
        return {
            name: sorted(repr(tuple(row)) for row in await connection.fetch(f'SELECT * FROM "{name}"', ()))  # noqa: S608
            for name in names
        }
    finally:
        database.readers.release(connection)
        await database.close()


async def carry_out(url: str, statement: str) -> None:
    """Change a database behind everybody's back."""
    database = Database(url, DatabaseSettings())
    connection = await database.writers.acquire()
    try:
        await connection.begin()
        await connection.execute(statement, ())
        await connection.commit()
    finally:
        database.writers.release(connection)
        await database.close()


async def destroy(url: str) -> None:
    """Remove a database, and make an empty one in its place."""
    if url.startswith("sqlite:"):
        for suffix in ("", "-wal", "-shm"):
            await asyncio.to_thread(Path(f"{sqlite_path(url)}{suffix}").unlink, missing_ok=True)
        return
    server, _, name = url.rpartition("/")
    connection = await asyncpg.connect(f"{server}/postgres", timeout=5)
    try:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()


async def back_up(server: RunningServer, place: Place) -> tuple[str, Contents]:
    runtime = server.runtime
    assert isinstance(runtime.placement, ShardedPlacement)
    assert isinstance(runtime.storage, ShardedStorage)
    source = Source(runtime.placement, runtime.storage, server.settings.data_path / SECRETS_FILE, PASSPHRASE)
    return await make(source, place, datetime.now(UTC), lambda _: None)


async def bring_back(
    server: RunningServer, place: Place, name: str, choices: Choices | None = None, passphrase: str = PASSPHRASE
) -> list[str]:
    """Restore, and return what was said."""
    said: list[str] = []

    async def opened() -> AsyncGenerator[bytes]:
        async for part in place.read(name):
            yield part

    settings, parts = server.settings, list(server.runtime.parts)
    await restore(opened, passphrase, settings, choices or Choices(), said.append, lambda: (settings, parts))
    return said


def bytes_in(*folders: Path) -> dict[str, bytes]:
    """Return every file below some folders."""
    return {str(path): path.read_bytes() for each in folders for path in each.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


class House:
    """An installation with a workspace in the main database, and one with a database and a storage of its own.

    Attributes:
        street: the server and who writes there.
        main: the URL of the main database.
        shard: of the other one.
        folder: of the storage of its own.
    """

    def __init__(self, street: Street, main: str, shard: str, folder: Path) -> None:
        self.street = street
        self.server = street.make.server
        self.main = main
        self.shard = shard
        self.folder = folder
        self.secrets = self.server.settings.data_path / SECRETS_FILE
        self.shared = self.server.settings.files_path

    async def rows(self) -> dict[str, dict[str, list[str]]]:
        """Return every row of every table."""
        return {url: await everything(url) for url in (self.main, self.shard)}

    async def destroy(self) -> None:
        """Remove everything."""
        for url in (self.main, self.shard):
            await destroy(url)
        for folder in (self.server.settings.data_path, self.folder):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@pytest.fixture
async def house(databases: Databases, database_kind: Kind, server_factory: ServerFactory, tmp_path: Path) -> House:
    main = await databases.new(database_kind)
    street = Street(Factory(await server_factory(database=main)), databases, database_kind)
    server = street.make.server
    away = await street.conversation()
    shard, folder = await street.empty_database(), tmp_path / "own"
    await street.move(away.workspace.id, shard)
    await move_files(server.runtime, away.workspace.id, StorageSettings(kind="local", path=folder), street.said.append)
    for workspace in (away.workspace, (await street.conversation()).workspace):
        await Files(server, street.make, workspace).upload(b"of " + workspace.id.bytes)
    (server.settings.data_path / SECRETS_FILE).write_text("{}")
    return House(street, main, shard, folder)


async def test_what_was_acknowledged_before_it_is_behind_it(
    house: House, server_factory: ServerFactory, tmp_path: Path
) -> None:
    street, place = house.street, Place.of_folder(tmp_path / "kept")
    conversation = await street.conversation()
    owner = conversation.workspace.owner
    async with Writer(street, conversation, "late") as writer:
        name, _ = await back_up(house.server, place)
    await street.make.close()
    await house.server.stop()
    await house.destroy()
    await bring_back(house.server, place, name)

    again = await server_factory(database=house.main)
    street.make = Factory(again)
    login = ok(await street.make.nobody.post("/sessions", json={"email": owner.email, "password": PASSWORD}))
    assert login["access_token"]
    conversation.visitor.http = again.client(base_url=f"{again.url}/api/v1", headers=dict(conversation.visitor.headers))
    texts = await street.texts(conversation)
    assert {"0", "1", "2"} <= {*texts} <= {"0", "1", "2", *writer.sent}
    await street.send(conversation, "and it goes on")
    await street.make.close()


async def test_every_row_file_and_key_is_as_it_was(
    house: House, database_kind: Kind, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = Place.of_folder(tmp_path / "kept")
    if database_kind == "postgresql":
        s3: S3Server = request.getfixturevalue("s3")
        place = Place(s3.bucket(prefix="house"), None)
    await house.street.make.close()
    await house.server.stop()
    name, contents = await back_up(house.server, place)
    assert (contents.databases, contents.files) == (2, 2)
    before, files = await house.rows(), bytes_in(house.shared, house.folder)
    # What is compared is something.
    assert len(files) == 2
    assert min(len(rows["chat_message"]) for rows in before.values()) == 3
    assert sum(len(rows["file"]) for rows in before.values()) == 2

    await house.destroy()
    said = await bring_back(house.server, place, name)
    assert said[-1] == "2 files"
    assert await house.rows() == before
    assert bytes_in(house.shared, house.folder) == files
    assert house.secrets.read_text() == "{}"
    assert house.secrets.stat().st_mode & 0o777 == 0o600


async def test_a_shard_goes_elsewhere_or_stays_as_it_is(
    house: House, databases: Databases, database_kind: Kind, server_factory: ServerFactory, tmp_path: Path
) -> None:
    place = Place.of_folder(tmp_path / "kept")
    await house.street.make.close()
    await house.server.stop()
    name, _ = await back_up(house.server, place)
    before, files = await house.rows(), bytes_in(house.shared, house.folder)
    elsewhere, folder = await databases.new(database_kind, main=False, migrated=False), tmp_path / "elsewhere"
    await destroy(house.main)
    shutil.rmtree(house.server.settings.data_path)

    moved = Choices({1: elsewhere}, {1: StorageSettings(kind="local", path=folder)})
    said = await bring_back(house.server, place, name, moved)
    assert any("lives in" in line for line in said)
    assert any("keeps its files elsewhere" in line for line in said)
    assert await everything(elsewhere) == before[house.shard]
    assert await everything(house.shard) == before[house.shard]
    assert sorted(bytes_in(house.shared, folder).values()) == sorted(files.values())
    again = await server_factory(database=house.main)
    assert [each.url for each in again.runtime.placement.databases()] == [house.main, elsewhere]
    assert isinstance(again.runtime.placement, ShardedPlacement)
    ((written, also_read, is_also_read),) = again.runtime.placement.stored.values()
    assert (written, also_read, is_also_read) == (encoded(StorageSettings(kind="local", path=folder)), None, True)
    await again.stop()

    # The shard is better than the archive: it stays.
    await destroy(house.main)
    shutil.rmtree(house.server.settings.data_path)
    await bring_back(house.server, place, name, Choices({1: KEEP}, {1: KEEP}))
    after = await house.rows()
    assert after[house.shard] == before[house.shard]
    assert after[house.main]["workspace_placement"] == before[house.main]["workspace_placement"]


async def test_a_place_that_is_not_free_is_left_alone(
    databases: Databases, database_kind: Kind, server_factory: ServerFactory, tmp_path: Path
) -> None:
    main = await databases.new(database_kind)
    server = await server_factory(database=main)
    place = Place.of_folder(tmp_path / "kept")
    await server.stop()
    name, _ = await back_up(server, place)
    before = await everything(main)
    with pytest.raises(BackupRefused, match=r"is not empty \(it is of this installation\): --force"):
        await bring_back(server, place, name)
    for chosen, said in (
        (Choices({0: main}), "it can only be kept"),
        (Choices({7: main}), "there is no database 7 in it: they are 0 to 0"),
        (Choices({}, {1: KEEP}), "there is no storage 1 in it"),
    ):
        with pytest.raises(BackupRefused, match=said):
            await bring_back(server, place, name, chosen)
    with pytest.raises(BackupRefused, match="the passphrase is another one"):
        await bring_back(server, place, name, Choices(force=True), "another passphrase")
    damaged = bytearray((tmp_path / "kept" / name).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "kept" / name).write_bytes(bytes(damaged))
    with pytest.raises(BackupRefused, match="damaged"):
        await bring_back(server, place, name, Choices(force=True))
    assert await everything(main) == before


async def test_what_belongs_to_others_is_told_apart(
    databases: Databases, database_kind: Kind, server_factory: ServerFactory, tmp_path: Path
) -> None:
    main, other = await databases.new(database_kind), await databases.new(database_kind)
    server = await server_factory(database=main)
    place = Place.of_folder(tmp_path / "kept")
    await server.stop()
    name, _ = await back_up(server, place)
    before = await everything(main)

    stranger = await server_factory(database=other)
    with pytest.raises(BackupRefused, match="is not empty, and not of Courtyard: --force"):
        await bring_back(stranger, place, name)
    await back_up(stranger, Place.of_folder(tmp_path / "others"))
    with pytest.raises(BackupRefused, match="belongs to another installation: --force"):
        await bring_back(stranger, place, name)
    await stranger.stop()

    # A table of a later version, which the migrations to come would stumble over.
    await carry_out(other, "CREATE TABLE later (id integer)")
    await bring_back(stranger, place, name, Choices(force=True))
    assert await everything(other) == before
