"""Files from storage to storage, while they are read and uploaded."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from courtyard.kernel.relocation.errors import CannotMove
from courtyard.kernel.relocation.files import clean_files, move_files
from courtyard.kernel.settings import StorageSettings
from courtyard.kernel.shards import ShardedStorage
from courtyard.kernel.storage import Storage
from tests.buckets import S3Server, s3_server
from tests.conftest import ServerFactory
from tests.factories import Factory
from tests.kernel.files.conftest import Files, installed
from tests.services import Databases, Kind

# A fixture that stands elsewhere.
__all__ = ["installed"]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
async def album(databases: Databases, database_kind: Kind, server_factory: ServerFactory) -> AsyncIterator[Files]:
    """A workspace with files, on a server with a main database of its own."""
    server = await server_factory(database=await databases.new(database_kind))
    make = Factory(server)
    yield Files(server, make, await make.workspace())
    await make.close()


async def keys_in(album: Files, storage: Storage) -> list[str]:
    listed = [one.key async for lot in storage.everything() for one in lot]
    return sorted(key for key in listed if key.startswith(str(album.workspace.id)))


async def content(album: Files, file_id: str) -> bytes:
    answer = await album.owner.http.get(f"{album.path}/{file_id}/content")
    assert answer.is_success, answer.text
    return answer.content


async def moved(album: Files, settings: StorageSettings, count: int) -> None:
    """Move a workspace with so many files, while more are uploaded and all are read; then check every one of them."""
    sent = {(await album.upload(b"%d" % number))["id"]: b"%d" % number for number in range(count)}
    runtime, said = album.server.runtime, list[str]()
    shared = await album.storage()
    moving = asyncio.create_task(move_files(runtime, album.workspace.id, settings, said.append))
    while not moving.done():
        new = b"late %d" % len(sent)
        file_id = (await album.upload(new))["id"]
        sent[file_id] = new
        assert await content(album, file_id) == new
        assert await content(album, next(iter(sent))) == sent[next(iter(sent))]
    await moving
    # Of those that came meanwhile, some went to the new storage at once.
    assert count <= int(said[-1].split()[0]) <= len(sent)
    for file_id, expected in sent.items():
        assert await content(album, file_id) == expected
    assert await clean_files(runtime, album.workspace.id, said.append)
    assert await keys_in(album, shared) == []
    assert len(await album.keys()) == len(sent)
    for file_id, expected in sent.items():
        assert await content(album, file_id) == expected
    later = (await album.upload(b"later"))["id"]
    assert await content(album, later) == b"later"
    assert await keys_in(album, shared) == []


async def test_from_folder_to_folder(album: Files, tmp_path: Path) -> None:
    await moved(album, StorageSettings(kind="local", path=tmp_path / "own"), 20)


async def test_into_a_bucket(album: Files, s3: S3Server) -> None:
    await moved(album, s3.bucket(), 20)


async def test_a_file_that_is_damaged_is_not_passed_on(album: Files, tmp_path: Path) -> None:
    file = await album.upload(b"whole")
    (key,) = await album.keys()
    (album.server.settings.files_path / key).write_bytes(b"worse")
    with pytest.raises(CannotMove, match="damaged"):
        await move_files(
            album.server.runtime, album.workspace.id, StorageSettings(path=tmp_path / "own"), lambda _: None
        )
    assert await content(album, file["id"]) == b"worse"


async def test_what_is_kept_in_the_main_database_shows_no_key(album: Files, s3: S3Server) -> None:
    await move_files(album.server.runtime, album.workspace.id, s3.bucket(prefix="secret-prefix"), lambda _: None)
    connection = await album.server.runtime.placement.main.readers.acquire()
    rows = await connection.fetch("SELECT written FROM workspace_storage", ())
    album.server.runtime.placement.main.readers.release(connection)
    assert len(rows) == 1
    assert b"secret-prefix" not in rows[0][0]
    assert isinstance(album.server.runtime.storage, ShardedStorage)
