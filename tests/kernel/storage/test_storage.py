"""One contract for every kind of storage."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from courtyard.kernel.settings import StorageSettings
from courtyard.kernel.storage import Missing, ObjectStorage, Storage, StorageUnavailable, open_storage
from tests.buckets import Azurite, S3Server, s3_server

MIB = 1 << 20


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
async def emulators() -> AsyncIterator[list[Azurite]]:
    """Those of Azure that were started: one, as soon as it is needed."""
    started: list[Azurite] = []
    yield started
    for each in started:
        await each.kill()


@pytest.fixture(
    params=[
        "local",
        pytest.param("s3", marks=pytest.mark.services),
        pytest.param("gcs", marks=pytest.mark.services),
        pytest.param("azure", marks=[pytest.mark.services, pytest.mark.node]),
    ]
)
async def storage(request: pytest.FixtureRequest, emulators: list[Azurite], tmp_path: Path) -> Storage:
    """A storage of each kind, with nothing in it."""
    settings = StorageSettings()
    if request.param == "azure":
        if not emulators:
            emulators.append(Azurite(request.getfixturevalue("tmp_path_factory").mktemp("azurite")))
            await emulators[0].start()
        settings = await emulators[0].container()
    elif request.param != "local":
        server: S3Server = request.getfixturevalue("s3")
        if request.param == "gcs":
            return server.google()
        settings = server.bucket(prefix="some/where")
    return open_storage(settings, tmp_path / "files")


async def parts(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


async def content_of(storage: Storage, key: str, start: int, end: int) -> bytes:
    return b"".join([bytes(part) async for part in storage.read(key, start, end)])


async def keys_of(storage: Storage) -> list[str]:
    return sorted([one.key async for lot in storage.everything() for one in lot])


def files_outside(folder: Path, inner: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and inner not in path.parents]


async def test_what_was_written_is_read_whole_and_in_part(storage: Storage) -> None:
    content = os.urandom(9 * MIB + 17)
    await storage.write("a/b", parts(content[:MIB], content[MIB:]), {"Content-Type": "text/plain"})
    assert await content_of(storage, "a/b", 0, len(content)) == content
    assert await content_of(storage, "a/b", 5 * MIB - 1, 5 * MIB + 2) == content[5 * MIB - 1 : 5 * MIB + 2]
    assert (await storage.stat("a/b")).size == len(content)


async def test_an_empty_file_is_a_file(storage: Storage) -> None:
    await storage.write("empty", parts(), {})
    assert (await storage.stat("empty")).size == 0
    assert await content_of(storage, "empty", 0, 0) == b""


async def test_what_is_missing_is_said_to_be(storage: Storage) -> None:
    with pytest.raises(Missing):
        await storage.stat("a/b")
    with pytest.raises(Missing):
        await content_of(storage, "a/b", 0, 1)
    await storage.remove(["a/b"])


async def test_a_source_that_fails_leaves_nothing(storage: Storage) -> None:
    class Broken(Exception):
        """What the source raises."""

    async def broken() -> AsyncIterator[bytes]:
        for _ in range(18):
            yield bytes(MIB)
        raise Broken

    with pytest.raises(Broken):
        await storage.write("a/b", broken(), {})
    assert await keys_of(storage) == []
    with pytest.raises(Missing):
        await storage.stat("a/b")


async def test_a_write_that_is_given_up_waits_for_nothing_more(storage: Storage) -> None:
    begun, left = asyncio.Event(), asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        try:
            # Beyond what is read ahead.
            yield os.urandom(9 << 20)
            begun.set()
            await asyncio.Event().wait()
        finally:
            left.set()

    before = asyncio.all_tasks()
    writing = asyncio.create_task(storage.write("a/b", parts(), {}))
    await begun.wait()
    await asyncio.sleep(0.05)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert left.is_set()
    assert asyncio.all_tasks() <= before


async def test_what_is_written_is_not_seen_before_it_is_whole(storage: Storage) -> None:
    seen: list[list[str]] = []

    async def slow() -> AsyncIterator[bytes]:
        for _ in range(18):
            yield bytes(MIB)
        seen.append(await keys_of(storage))

    await storage.write("a/b", slow(), {})
    assert seen == [[]]
    assert await keys_of(storage) == ["a/b"]


async def test_everything_is_listed_and_removed(storage: Storage) -> None:
    for number in range(5):
        await storage.write(f"w/{number % 2}/{number}", parts(bytes(number)), {})
    listed = [one async for lot in storage.everything() for one in lot]
    assert {one.key: one.size for one in listed} == {f"w/{number % 2}/{number}": number for number in range(5)}
    await storage.remove(["w/0/0", "w/0/4", "never/there"])
    assert await keys_of(storage) == ["w/0/2", "w/1/1", "w/1/3"]


async def test_two_who_read_at_once_do_not_mind_each_other(storage: Storage) -> None:
    content = os.urandom(5 * MIB)
    await storage.write("a", parts(content), {})
    reads = [content_of(storage, "a", start, len(content)) for start in (0, MIB, 4 * MIB)]
    assert await asyncio.gather(*reads) == [content, content[MIB:], content[4 * MIB :]]


async def test_the_check_leaves_nothing(storage: Storage) -> None:
    await storage.check()
    assert await keys_of(storage) == []


@pytest.mark.services
async def test_an_upload_in_parts_that_fails_is_called_off(s3: S3Server, tmp_path: Path) -> None:
    settings = s3.bucket()
    storage = open_storage(settings, tmp_path)

    async def broken() -> AsyncIterator[bytes]:
        for _ in range(18):
            yield bytes(MIB)
        assert "<UploadId>" in s3.unfinished(settings)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await storage.write("a/b", broken(), {})
    assert "<UploadId>" not in s3.unfinished(settings)


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    values = {"kind": "s3", "bucket": "b", "endpoint": url, "access_key_id": "a", "secret_access_key": "b"}
    storage = open_storage(StorageSettings.model_validate({**values, "retry_seconds": 0}), tmp_path)
    with pytest.raises(StorageUnavailable):
        await storage.stat("a")
    with pytest.raises(StorageUnavailable):
        await storage.write("a", parts(b"x"), {})
    with pytest.raises(StorageUnavailable):
        await storage.check()


async def test_a_full_or_lost_disk_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("not a folder")
    storage = open_storage(StorageSettings(), tmp_path / "files")
    with pytest.raises(StorageUnavailable):
        await storage.write("a", parts(b"x"), {})


@pytest.mark.parametrize("key", ["../a", "a/../../b", "/etc/passwd/../x", "a/./b"])
async def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    storage = open_storage(StorageSettings(), tmp_path / "files")
    with contextlib.suppress(StorageUnavailable):
        await storage.write(key, parts(b"x"), {})
    assert files_outside(tmp_path, tmp_path / "files") == []


async def test_a_local_storage_signs_nothing(tmp_path: Path) -> None:
    storage = open_storage(StorageSettings(), tmp_path)
    assert isinstance(storage, ObjectStorage)
    assert await storage.sign("a", 60) is None


@pytest.mark.services
async def test_a_bucket_that_is_not_there_is_unavailable(s3: S3Server, tmp_path: Path) -> None:
    storage = open_storage(s3.bucket().model_copy(update={"bucket": "nowhere"}), tmp_path)
    with pytest.raises(StorageUnavailable):
        await storage.check()
