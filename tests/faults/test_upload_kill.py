"""A server is killed in the middle of an upload: nothing of it is seen, its rest goes, and it can be repeated."""

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from courtyard.kernel.database import Database
from courtyard.kernel.http import API
from courtyard.kernel.settings import DatabaseSettings, StorageSettings
from courtyard.kernel.storage import open_storage
from tests.buckets import S3_KEYS, s3_server
from tests.factories import ok, problem
from tests.faults.conftest import StartServer
from tests.faults.load import ProcessFactory, Server
from tests.faults.shelf import KIND, install_shelf
from tests.processes import PROGRAM, Process
from tests.services import Databases, Kind

pytestmark = [pytest.mark.slow, pytest.mark.services]

MIB = 1 << 20
LENGTH, SENT = 40 * MIB, 24 * MIB
ROUNDS = 3
LONG_AGO = "2020-01-01 00:00:00.000000"


async def change(url: str, statement: str) -> None:
    """Change rows behind the back of the server."""
    database = Database(url, DatabaseSettings())
    connection = await database.writers.acquire()
    await connection.execute(statement, ())
    database.writers.release(connection)
    await database.close()


class Shelf:
    """A server with files, and what is stored for it.

    Args:
        server: which is killed.
        database: its database.
        storage: where the bytes are.
        folder: of the storage, if it is on this machine.
    """

    def __init__(self, server: Server, database: str, storage: StorageSettings, folder: Path) -> None:
        self.server = server
        self.storage = storage
        self._database = database
        self._folder = folder

    async def join(self) -> None:
        """Make a workspace."""
        workspace = await ProcessFactory(self.server).workspace()
        self.owner, self.path = workspace.owner, f"{API}{workspace.path}"

    async def upload(self, content: bytes | AsyncIterator[bytes], key: str, length: int) -> httpx2.Response:
        """Send a file."""
        headers = {**self.owner.headers, "idempotency-key": key, "content-length": str(length)}
        async with httpx2.AsyncClient(base_url=self.server.url, trust_env=False, timeout=30, headers=headers) as http:
            return await http.post(f"{self.path}/files", params={"kind": KIND}, content=content)

    async def get(self, path: str) -> httpx2.Response:
        """Read something of the workspace."""
        async with httpx2.AsyncClient(base_url=self.server.url, trust_env=False, headers=self.owner.headers) as http:
            return await http.get(f"{self.path}{path}")

    async def used(self) -> int:
        """Return how many bytes of its quota the workspace has."""
        quotas = ok(await self.get("/quotas"))
        return next(int(quota["used"]) for quota in quotas if quota["name"] == "files.bytes")

    async def keys(self) -> list[str]:
        """Return what is stored."""
        return [one.key async for lot in open_storage(self.storage, self._folder).everything() for one in lot]

    def rests(self) -> list[Path]:
        """Return what was not written to its end."""
        return [path for path in self._folder.rglob("*#*") if path.is_file()]

    async def pass_time(self) -> None:
        """Let so much time go by that nobody believes any more that the upload goes on."""
        await change(self._database, f"UPDATE file SET alive_at = '{LONG_AGO}' WHERE state = 'uploading'")  # noqa: S608
        for path in self.rests():
            os.utime(path, (0, 0))

    async def sweep(self) -> str:
        """Clear away, as an operator does and the schedule."""
        command = Process([*PROGRAM, "files", "sweep"], self.server.folder / "sweep.log", self.server._environment)
        await command.start()
        assert await command.wait() == 0, command.output.read_text()
        return command.output.read_text().splitlines()[-1]

    async def killed(self) -> None:
        """Kill the server (-9) and start it anew."""
        await self.server.kill()
        await self.server.start()


@pytest.fixture(params=["sqlite, local", "postgresql, s3"])
async def shelf(
    request: pytest.FixtureRequest,
    databases: Databases,
    start_server: StartServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Shelf]:
    kind: Kind = "sqlite" if request.param == "sqlite, local" else "postgresql"
    database, settings = await databases.new(kind, migrated=False), install_shelf(tmp_path, monkeypatch)
    folder = tmp_path / "data/files"
    with s3_server() as s3:
        storage = StorageSettings(path=folder)
        if kind == "postgresql":
            storage = s3.bucket()
            told = {"kind": "s3", "bucket": storage.bucket, "endpoint": s3.url, "region": "us-east-1", **S3_KEYS}
            settings |= {f"FILES__STORAGE__{name.upper()}": str(value) for name, value in told.items()}
        shelf = Shelf(await start_server(database, **settings), database, storage, folder)
        await shelf.join()
        yield shelf


@pytest.mark.usefixtures("quiet_logs")
async def test_nothing_half_written_is_seen_and_it_can_be_repeated(shelf: Shelf) -> None:
    content, key, sent = os.urandom(LENGTH), str(uuid4()), asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        for start in range(0, SENT, MIB):
            yield content[start : start + MIB]
        sent.set()
        await asyncio.Event().wait()

    uploading = asyncio.create_task(shelf.upload(half(), key, LENGTH))
    await sent.wait()
    async with asyncio.timeout(10):
        while await shelf.used() < LENGTH:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
    await shelf.killed()
    # It has nothing more to send, so it would not notice.
    uploading.cancel()
    await asyncio.gather(uploading, return_exceptions=True)
    assert await shelf.keys() == []
    problem(await shelf.upload(content, key, LENGTH), 409, "upload_in_progress")
    await shelf.pass_time()
    file = ok(await shelf.upload(content, key, LENGTH))
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert await shelf.used() == 2 * LENGTH
    rests = len(shelf.rests())
    assert rests == (shelf.storage.kind == "local")
    await shelf.sweep()
    assert [shelf.rests(), await shelf.used()] == [[], LENGTH]
    (stored,) = await shelf.keys()
    assert stored.endswith(file["id"])
    assert (await shelf.get(f"/files/{file['id']}/content")).content == content


@pytest.mark.usefixtures("quiet_logs")
async def test_whenever_it_is_killed_the_same_again_makes_one_file(shelf: Shelf) -> None:
    for number in range(1, ROUNDS + 1):
        content, key = os.urandom(MIB), str(uuid4())
        uploading = asyncio.create_task(shelf.upload(content, key, len(content)))
        await asyncio.sleep(random.uniform(0, 0.05))
        await shelf.killed()
        (outcome,) = await asyncio.gather(uploading, return_exceptions=True)
        await shelf.pass_time()
        file = ok(await shelf.upload(content, key, len(content)))
        if isinstance(outcome, httpx2.Response):
            assert ok(outcome) == file
        assert (await shelf.get(f"/files/{file['id']}/content")).content == content
        await shelf.sweep()
        assert [len(await shelf.keys()), await shelf.used()] == [number, number * MIB]
