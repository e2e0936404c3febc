"""Files in buckets: the same as on local disk, through the whole server, and a bucket that goes away."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import httpx2
import psutil
import pytest

from courtyard.kernel.files.rules import key_of
from courtyard.kernel.files.tasks import Sweeper
from courtyard.kernel.settings import StorageSettings
from tests.buckets import Azurite, S3Server, s3_server
from tests.factories import ok, problem
from tests.kernel.files.conftest import MIB, Files, FilesFactory, Setting
from tests.kernel.files.test_pictures import photo
from tests.kernel.files.test_uploads import until

pytestmark = pytest.mark.services


@pytest.fixture(params=[Setting("sqlite", "local"), Setting("postgresql", "local")], ids=["sqlite", "postgresql"])
def setting(request: pytest.FixtureRequest) -> Setting:
    """The tests here name the storage themselves."""
    found: Setting = request.param
    return found


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
async def emulators() -> AsyncIterator[list[Azurite]]:
    started: list[Azurite] = []
    yield started
    for each in started:
        await each.kill()


@pytest.fixture(params=["s3", pytest.param("azure", marks=pytest.mark.node)])
async def bucket(request: pytest.FixtureRequest, emulators: list[Azurite]) -> StorageSettings:
    """A bucket of each kind."""
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        return server.bucket()
    if not emulators:
        emulators.append(Azurite(request.getfixturevalue("tmp_path_factory").mktemp("azurite")))
        await emulators[0].start()
    return await emulators[0].container()


async def test_files_live_and_end_in_a_bucket(files_on: FilesFactory, bucket: StorageSettings) -> None:
    files = await files_on(files={"storage": bucket})
    body = os.urandom(3 * MIB + 5)
    file = await files.upload(body)
    assert await files.keys() == [key_of(files.workspace.id, UUID(file["id"]))]
    path = f"{files.path}/{file['id']}"
    assert (await files.owner.http.get(f"{path}/content")).content == body
    part = await files.owner.http.get(f"{path}/content", headers={"range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, body[1000:2000])
    link = ok(await files.owner.http.post(f"{path}/links", json={}))
    assert (await files.make.nobody.get(link["url"])).content == body

    picture = await files.upload(photo("JPEG", (600, 300)), kind="album.picture")

    async def are_there() -> bool:
        return len(await files.keys()) == 4

    await until(are_there)
    for each in (file, picture):
        ok(await files.owner.http.delete(f"{files.path}/{each['id']}"))
    await Sweeper(files.server.runtime).sweep()
    assert (await files.keys(), await files.used()) == ([], 0)


async def test_a_link_leads_to_the_bucket_if_that_is_wanted(files_on: FilesFactory, bucket: StorageSettings) -> None:
    files = await files_on(files={"storage": bucket, "redirect": True})
    file = await files.upload(b"in the bucket")
    link = ok(await files.owner.http.post(f"{files.path}/{file['id']}/links", json={}))
    answer = await files.make.nobody.get(link["url"])
    assert answer.status_code == 303
    there = await asyncio.to_thread(httpx2.get, answer.headers["location"], trust_env=False)
    assert (there.status_code, there.content) == (200, b"in the bucket")
    assert there.headers["content-type"].startswith("text/plain")


async def test_a_bucket_that_goes_away_in_the_middle_leaves_no_row(files_on: FilesFactory) -> None:
    server = S3Server()
    storage = server.bucket(retry_seconds=0, timeout_seconds=2)
    files = await files_on(files={"storage": storage})

    async def body() -> AsyncIterator[bytes]:
        # Beyond the first of the parts in which it is stored.
        for _ in range(10):
            yield os.urandom(MIB)
        await asyncio.to_thread(server.stop)
        for _ in range(10):
            yield os.urandom(MIB)

    answer = await files.owner.http.post(files.path, params={"kind": "album.secret"}, content=body())
    problem(answer, 503, "storage_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert await files.used() == 0


@pytest.mark.slow
async def test_a_gigabyte_takes_no_memory(files: Files) -> None:
    """Up and down through a server in a process of its own would hide the client; here both are in one."""
    process = psutil.Process()
    size, peak = 1 << 30, 0
    part = bytes(MIB)

    async def body() -> AsyncIterator[bytes]:
        nonlocal peak
        for _ in range(size // MIB):
            peak = max(peak, process.memory_info().rss)
            yield part

    await files.upload(b"warm")
    before = process.memory_info().rss
    async with files.server.network_client(base_url=f"{files.server.url}/api/v1", headers=files.owner.headers) as http:
        answer = await http.post(files.path, params={"kind": "album.secret"}, content=body(), timeout=120)
        file = ok(answer)
        received = 0
        async with http.stream("GET", f"{files.path}/{file['id']}/content", timeout=120) as download:
            async for chunk in download.aiter_raw():
                received += len(chunk)
                peak = max(peak, process.memory_info().rss)
    assert received == file["size_bytes"] == size
    assert peak - before < 100 * MIB
    ok(await files.owner.http.delete(f"{files.path}/{file['id']}"))
    await Sweeper(files.server.runtime).sweep()
