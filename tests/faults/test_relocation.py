"""A workspace with very many rows and files is moved while people write and upload, and the command is killed."""

import asyncio
import hashlib
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from courtyard.kernel.files.rules import key_of
from courtyard.kernel.ids import new_id
from courtyard.kernel.settings import StorageSettings
from courtyard.kernel.storage import open_storage
from tests.buckets import S3_KEYS, s3_server
from tests.factories import Workspace, ok
from tests.faults.conftest import StartServer
from tests.faults.load import Load, Room, Server, check
from tests.faults.shelf import KIND, install_shelf
from tests.faults.uploads import Uploads
from tests.processes import PROGRAM, OwnRedis, Process
from tests.services import Databases

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.services]

ROWS = 100_000
FILES = 1_000
PAUSE_SECONDS = 20
S3 = {"region": "us-east-1", **S3_KEYS}
COMMAND_SECONDS = 180

# Of the hundred that PostgreSQL has, for two servers and a command with two databases each, beside other tests.
FEW_CONNECTIONS = {
    "DATABASE__POOL_SIZE": "3",
    "DATABASE__READ_POOL_SIZE": "3",
    "SHARDS__POOL_SIZE": "2",
    "SHARDS__READ_POOL_SIZE": "2",
}


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(url, timeout=5)
    try:
        yield connection
    finally:
        await connection.close()


async def fill(url: str, workspace_id: UUID, author_id: UUID) -> None:
    """Write a conversation of very many messages."""
    conversation_id = uuid4()
    async with connected(url) as connection:
        await connection.execute(
            """INSERT INTO chat_conversation (workspace_id, id, state, visitor_id, staff_ids, staff_count,
                message_count, version, created_at, closed_at, active_at, tags)
            VALUES ($1, $2, 'closed', $3, '[]', 0, $4, 1, now(), now(), now(), '[]')""",
            workspace_id,
            conversation_id,
            author_id,
            ROWS,
        )
        await connection.execute(
            """INSERT INTO chat_message (workspace_id, conversation_id, number, id, author_id, text, created_at)
            SELECT $1, $2, n, gen_random_uuid(), $3, 'message ' || n, now() FROM generate_series(1, $4) AS n""",
            workspace_id,
            conversation_id,
            author_id,
            ROWS,
        )


async def fill_shelf(url: str, folder: Path, workspace_id: UUID, owner_id: UUID) -> dict[str, str]:
    """Store very many files as a server does, and return their digests by id."""
    rows, digests = [], {}
    for number in range(FILES):
        content, file_id = f"file {number} ".encode() * random.randrange(1, 1_000), new_id()
        path = folder / key_of(workspace_id, file_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content)
        rows.append((workspace_id, file_id, owner_id, KIND, len(content), digest.digest()))
        digests[str(file_id)] = digest.hexdigest()
    async with connected(url) as connection:
        await connection.executemany(
            """INSERT INTO file (workspace_id, id, owner_id, kind, name, content_type, size_bytes, thumbnail_bytes,
                sha256, received_sha256, state, created_at, alive_at)
            VALUES ($1, $2, $3, $4, 'file', 'text/plain', $5, 0, $6, $6, 'ready', now(), now())""",
            rows,
        )
    return digests


async def messages(url: str, workspace_id: UUID) -> int:
    async with connected(url) as connection:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM chat_message WHERE workspace_id = $1", workspace_id
        )
    return found


async def stored_bytes(url: str, workspace_id: UUID) -> int:
    async with connected(url) as connection:
        found = await connection.fetchval("SELECT sum(size_bytes) FROM file WHERE workspace_id = $1", workspace_id)
    return int(found)


class Moving:
    """The command, in as many attempts as it takes."""

    def __init__(self, server: Server, slug: str, folder: Path, *options: str) -> None:
        self._server = server
        self._slug = slug
        self._folder = folder
        self._options = options
        self._attempts = 0

    def _command(self, *options: str) -> Process:
        self._attempts += 1
        output = self._folder / f"move-{self._attempts}.log"
        return Process([*PROGRAM, "workspaces", "move", self._slug, *options], output, self._server._environment)

    async def killed(self, after: str, within: float) -> str:
        """Start it, kill it (-9) at some time after it has told something, and return what it told."""
        command = self._command(*self._options)
        await command.start()
        async with asyncio.timeout(COMMAND_SECONDS):
            while after not in command.output.read_text():
                assert command.runs, command.output.read_text()
                await asyncio.sleep(0.02)
        await asyncio.sleep(random.uniform(0, within))
        await command.kill()
        return command.output.read_text()

    async def done(self, *options: str) -> str:
        """Run it to its end, as it was begun or with other options, and return what it told."""
        command = self._command(*(options or self._options))
        await command.start()
        async with asyncio.timeout(COMMAND_SECONDS):
            status = await command.wait()
        assert status == 0, command.output.read_text()
        return command.output.read_text()


@dataclass
class Place:
    """Two servers, a workspace with very many rows and files, and where it is to go."""

    database: str
    target: str
    servers: list[Server]
    shared: StorageSettings
    bucket: StorageSettings
    room: Room
    moving: Moving
    uploads: Uploads

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    @property
    def workspace(self) -> Workspace:
        return self.room.conversation.workspace

    async def keys(self, storage: StorageSettings) -> set[str]:
        """Return what a storage has for the workspace."""
        listed = [one.key async for lot in open_storage(storage, Path()).everything() for one in lot]
        return {key for key in listed if key.startswith(str(self.workspace.id))}


@pytest.fixture
async def place(
    databases: Databases,
    redis: OwnRedis,
    start_server: StartServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Place]:
    database = await databases.new("postgresql", migrated=False)
    target = await databases.new("postgresql", migrated=False)
    settings = {**install_shelf(tmp_path, monkeypatch), "REDIS__URL": redis.url, **FEW_CONNECTIONS}
    one = await start_server(database, name="one", **settings)
    other = await start_server(database, name="other", migrate=False, **settings)
    shared = tmp_path / "data/files"
    room = await Room.open(one)
    workspace = room.conversation.workspace
    await fill(database, workspace.id, room.visitor.id)
    uploads = Uploads(workspace, workspace.owner, [one.url, other.url])
    uploads.acknowledged |= await fill_shelf(database, shared, workspace.id, workspace.owner.id)
    with s3_server() as s3:
        bucket, own = s3.bucket(), tmp_path / "bucket.json"
        own.write_text(json.dumps({"kind": "s3", "bucket": bucket.bucket, "endpoint": s3.url, **S3}))
        where = ["--database", target, "--storage", str(own), "--pause", str(PAUSE_SECONDS)]
        moving = Moving(one, workspace.slug, tmp_path, *where)
        yield Place(database, target, [one, other], StorageSettings(path=shared), bucket, room, moving, uploads)


@pytest.mark.usefixtures("quiet_logs")
async def test_nothing_is_lost_on_the_way(place: Place) -> None:
    one, other = place.servers
    workspace, room, uploads, moving = place.workspace, place.room, place.uploads, place.moving
    load, beside = Load(room, place.urls), Load(await Room.open(one), place.urls)
    told = []
    async with room.listener(one.url) as listener, room.listener(other.url, staff=True) as second:
        async with load.run(), beside.run(), uploads.run():
            # Somewhere in the copy, which is undone and begins anew.
            told.append(await moving.killed("copying", 1))
            await moving.done("--roll-back")
            assert await messages(place.target, workspace.id) == 0
            await asyncio.gather(load.more(20), uploads.more(20))
            # The copy is complete: from now on it goes on.
            told.append(await moving.killed("rows copied", 2))
            await load.more(20)
            told.append(await moving.killed("tables are the same", 2))
            await load.more(20)
            told.append(await moving.killed("objects copied", 0.5))
            await uploads.more(20)
            told.append(await moving.done())
            await asyncio.gather(load.more(20), uploads.more(20))
        await check(load, other.url, [listener, second])
        await check(beside, other.url, [])
    assert beside.refusals == {}
    assert {refusal for refusal in uploads.refusals if not refusal.startswith("503 ")} == set()
    assert max(load.longest_seconds, uploads.longest_seconds) < PAUSE_SECONDS
    await moving.done("--clean")
    # With that somebody of the staff has joined.
    assert await messages(place.target, workspace.id) == ROWS + load.count + 1
    assert await messages(place.database, workspace.id) == 0
    assert await place.keys(place.bucket) == {key_of(workspace.id, UUID(each)) for each in uploads.acknowledged}
    assert await place.keys(place.shared) == set()
    for url in place.urls:
        await uploads.check(url)
    quotas = ok(await workspace.owner.http.get(f"{workspace.path}/quotas"))
    used = [quota["used"] for quota in quotas if quota["name"] == "files.bytes"]
    assert used == [await stored_bytes(place.target, workspace.id)]
    assert one.faults + other.faults == []
    log.info("rows: %s, and %s written meanwhile", ROWS, load.count)
    log.info("files: %s, and %s uploaded and %s read meanwhile", FILES, uploads.count - FILES, uploads.reads)
    log.info("refused: %s, %s", load.retries, dict(uploads.refusals))
    log.info("longest: %.2f s to write, %.2f s to upload", load.longest_seconds, uploads.longest_seconds)
    for number, lines in enumerate(told):
        for line in lines.splitlines():
            log.info("attempt %s: %s", number + 1, line)
