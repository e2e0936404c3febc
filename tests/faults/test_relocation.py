"""A workspace with very many rows is moved while people write through two processes, and the command is killed."""

import asyncio
import contextlib
import logging
import random
import time
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.faults.conftest import StartServer
from tests.faults.load import Load, Room, Server, check
from tests.processes import PROGRAM, OwnRedis, Process
from tests.services import Databases

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.services]

ROWS = 100_000
PAUSE_SECONDS = 20
# What has been told when the command is killed.
KILLED_AFTER = ("", "rows copied", "tables are the same")


async def fill(url: str, workspace_id: UUID, author_id: UUID) -> None:
    """Write a conversation of very many messages."""
    connection = await asyncpg.connect(url, timeout=5)
    conversation_id = uuid4()
    try:
        await connection.execute(
            """INSERT INTO chat_conversation (workspace_id, id, state, visitor_id, message_count, version, created_at)
            VALUES ($1, $2, 'waiting', $3, $4, 1, now())""",
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
    finally:
        await connection.close()


def move(server: Server, slug: str, url: str, output: Path) -> Process:
    arguments = ["workspaces", "move", slug, "--database", url, "--pause", str(PAUSE_SECONDS)]
    return Process([*PROGRAM, *arguments], output, server._environment)


async def killed(command: Process, after: str) -> None:
    """Start a command, and kill it at some time after it has told something."""
    await command.start()
    async with asyncio.timeout(120):
        while command.runs and (not command.output.exists() or after not in command.output.read_text()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(random.uniform(0.5, 2))
    await command.kill()


class Pauses:
    """Measures for how long nothing at all was acknowledged."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.longest_seconds = 0.0

    async def watch(self) -> None:
        count, since = self._load.count, time.monotonic()
        while True:
            await asyncio.sleep(0.02)
            if self._load.count != count:
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - since)
                count, since = self._load.count, time.monotonic()


@pytest.mark.usefixtures("quiet_logs")
async def test_nothing_is_lost_on_the_way(
    databases: Databases, redis: OwnRedis, start_server: StartServer, tmp_path: Path
) -> None:
    database = await databases.new("postgresql", migrated=False)
    target = await databases.new("postgresql", migrated=False)
    one = await start_server(database, name="one", REDIS__URL=redis.url)
    other = await start_server(database, name="other", migrate=False, REDIS__URL=redis.url)
    room = await Room.open(one)
    workspace = room.conversation.workspace
    await fill(database, workspace.id, room.visitor.id)
    neighbour = await Room.open(one)
    load, beside = Load(room, [one.url, other.url]), Load(neighbour, [one.url, other.url])
    pauses = Pauses(load)
    async with room.listener(one.url) as listener, room.listener(other.url, staff=True) as second:
        async with load.run(), beside.run():
            watching = asyncio.create_task(pauses.watch())
            for number, after in enumerate(KILLED_AFTER):
                await killed(move(one, workspace.slug, target, tmp_path / f"killed-{number}.log"), after)
                await load.more(20)
            last = move(one, workspace.slug, target, tmp_path / "last.log")
            await last.start()
            async with asyncio.timeout(180):
                status = await last.wait()
            assert status == 0, last.output.read_text()
            await load.more(20)
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        await check(load, other.url, [listener, second])
        await check(beside, other.url, [])
    assert beside.refusals == {}
    assert pauses.longest_seconds < PAUSE_SECONDS
    connection = await asyncpg.connect(target, timeout=5)
    try:
        moved = await connection.fetchval("SELECT count(*) FROM chat_message WHERE workspace_id = $1", workspace.id)
    finally:
        await connection.close()
    assert moved == ROWS + load.count
    assert one.faults + other.faults == []
    log.info("acknowledged: %s, refused: %s", load.count, sum(load.refusals.values()))
    log.info("longest pause: %.2f s", pauses.longest_seconds)
    for line in last.output.read_text().splitlines():
        log.info("last: %s", line)
