"""Workspaces in databases of their own: rows are there, and one that is away or behind hurts nobody else."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from sqlalchemy import func, select

from courtyard.applications.chat.models import ConversationRow
from courtyard.doctor import Check, _shards
from courtyard.kernel.database import Database, Prepared, sqlite_path
from courtyard.kernel.database.migrator import downgrade, upgrade
from courtyard.kernel.relocation.errors import HasRows, UnfitDatabase
from courtyard.kernel.relocation.preparation import examine
from courtyard.kernel.settings import DatabaseSettings
from courtyard.kernel.shards import PlacementRow
from tests.factories import Workspace, ok, problem
from tests.kernel.shards.conftest import House
from tests.services import PARTS

CONVERSATIONS = Prepared(select(func.count()).select_from(ConversationRow), int, across_workspaces=True)
URIS = Prepared(select(PlacementRow.uri), bytes)


async def conversations(url: str) -> int:
    database = Database(url, DatabaseSettings())
    try:
        (count,) = await database.fetch(CONVERSATIONS, {})
    finally:
        await database.close()
    return count


async def open_conversation(house: House, workspace: Workspace) -> httpx2.Response:
    visitor = await house.make.visitor()
    return await visitor.http.post(workspace.conversations, json={"message": {"text": "hello"}})


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.02)


def rename(path: Path, before: str, after: str) -> None:
    for suffix in ("", "-wal", "-shm"):
        one = Path(f"{path}{suffix}{before}")
        if one.exists():
            one.rename(f"{path}{suffix}{after}")


class Away:
    """Takes the database of a workspace away, and gives it back."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def __aenter__(self) -> None:
        await self._move("", ".away")

    async def __aexit__(self, *_: object) -> None:
        await self._move(".away", "")

    async def _move(self, before: str, after: str) -> None:
        if self.url.startswith("sqlite:"):
            rename(sqlite_path(self.url), before, after)
            return
        server, _, name = self.url.rpartition("/")
        connection = await asyncpg.connect(f"{server}/postgres", timeout=5)
        try:
            if after:
                await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
                )
            else:
                await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        finally:
            await connection.close()


async def test_rows_go_where_the_workspace_lives(house: House) -> None:
    workspace, url = await house.settled()
    ok(await open_conversation(house, workspace))
    assert await conversations(url) == 1
    assert await conversations(house.make.server.runtime.placement.main.url) == 0


async def test_the_url_is_not_to_be_read_in_the_main_database(house: House) -> None:
    _, url = await house.settled()
    (stored,) = await house.make.server.runtime.placement.main.fetch(URIS, {})
    assert url.encode() not in stored
    assert url.rpartition("/")[2].encode() not in stored


async def test_a_workspace_with_rows_has_to_be_moved(house: House) -> None:
    workspace = await house.make.workspace()
    ok(await open_conversation(house, workspace))
    with pytest.raises(HasRows):
        await house.settle(workspace, await house.shard())


async def test_a_workspace_comes_home(house: House) -> None:
    workspace, url = await house.settled()
    await house.settle(workspace, None)
    ok(await open_conversation(house, workspace))
    assert await conversations(url) == 0


async def ups(house: House) -> list[float]:
    """Return which databases of workspaces can be used, as Prometheus is told."""
    text = (await house.make.nobody.get(f"{house.make.server.url}/metrics")).text
    return [float(line.split()[1]) for line in text.splitlines() if line.startswith("courtyard_shard_up{")]


async def test_one_that_is_away_is_away_for_its_workspace_alone(house: House) -> None:
    workspace, url = await house.settled()
    other = await house.make.workspace()
    ok(await open_conversation(house, workspace))
    visitor = await house.make.visitor()
    elsewhere = await house.make.conversation(other, visitor=visitor)
    body: dict[str, Any] = {"message": {"text": "hello"}}
    async with Away(url):
        # Idle connections to a file that was moved go on working.
        for database in house.make.server.runtime.placement.databases()[1:]:
            await database.close()
        started = time.monotonic()
        answers = await asyncio.gather(
            *(visitor.http.post(workspace.conversations, json=body) for _ in range(30)),
            *(visitor.http.post(elsewhere.messages, json=body["message"]) for _ in range(10)),
        )
        for answer in answers[:30]:
            problem(answer, 503, "database_unavailable")
            assert 1 <= int(answer.headers["retry-after"]) <= 5
        for answer in answers[30:]:
            ok(answer)
        assert time.monotonic() - started < 10
        assert await ups(house) == [0]
        ok(await house.make.nobody.get(f"{house.make.server.url}/health/ready"))

    async def is_back() -> bool:
        return (await visitor.http.post(workspace.conversations, json=body)).is_success

    await until(is_back)
    assert await ups(house) == [1]


async def test_one_that_is_behind_is_behind_for_its_workspace_alone(house: House) -> None:
    workspace, url = await house.settled()
    database = Database(url, DatabaseSettings())
    await downgrade(database, PARTS, main=False, module="chat", revision="base")
    house.make.server.runtime.placement.forget()
    for shard in house.make.server.runtime.placement.databases()[1:]:
        await shard.close()
    answer = await open_conversation(house, workspace)
    document = problem(answer, 503, "database_unavailable")
    assert document["detail"] == "The database of this workspace is not up to date."
    assert await ups(house) == [0]
    ok(await open_conversation(house, await house.make.workspace()))
    await upgrade(database, PARTS, main=False)
    await database.close()

    async def is_well() -> bool:
        return (await open_conversation(house, workspace)).is_success

    await until(is_well)


async def test_the_doctor_says_of_each_what_is_wrong(house: House) -> None:
    (_, behind), (_, away) = await house.settled(), await house.settled()
    assert [check.level for check in await doctors_lines(house)] == ["ok", "ok"]
    database = Database(behind, DatabaseSettings())
    await downgrade(database, PARTS, main=False, module="chat", revision="base")
    await database.close()
    async with Away(away):
        found = await doctors_lines(house)
    assert {(check.level, check.mend) for check in found} == {
        ("fail", "courtyard migrate up"),
        ("fail", "start it; its workspaces answer 503 until then"),
    }
    # By the names that metrics give them, as soon as the server has heard of both.
    house.make.server.runtime.placement.forget()
    await house.make.server.runtime.placement.load()
    metrics = (await house.make.nobody.get(f"{house.make.server.url}/metrics")).text
    assert all(f'courtyard_shard_up{{database="{check.finding.split()[0]}"}}' in metrics for check in found)


async def doctors_lines(house: House) -> list[Check]:
    """Return what `courtyard doctor` says about the databases of workspaces."""
    return [check async for check in _shards(house.make.server.settings)]


async def test_connections_are_bounded_however_many_there_are(house: House) -> None:
    workspaces = [(await house.settled())[0] for _ in range(4)]
    for workspace in workspaces:
        ok(await open_conversation(house, workspace))
    shards: Any = house.make.server.runtime.placement.databases()[1:]
    assert len(shards) == 4

    async def are_two() -> bool:
        return [shard.is_open for shard in shards].count(True) == 2

    await until(are_two)
    for workspace in workspaces:
        ok(await open_conversation(house, workspace))


class TestCheck:
    async def faults(self, house: House, url: str) -> str:
        workspace = await house.make.workspace()
        with pytest.raises(UnfitDatabase) as raised:
            await house.settle(workspace, url)
        return raised.value.detail

    async def test_what_is_not_to_be_understood(self, house: House) -> None:
        assert "url: must be postgresql://" in await self.faults(house, "mysql://host/name")

    async def test_nobody_there(self, house: House) -> None:
        assert await self.faults(house, "postgresql://ada:hush@127.0.0.1:1/place") == (
            "port: postgresql://ada@127.0.0.1:1/place: nobody listens there"
        )

    async def test_no_such_host(self, house: House) -> None:
        said = await self.faults(house, "postgresql://ada:hush@nowhere.invalid/place")
        assert said.startswith("host: postgresql://ada@nowhere.invalid/place: ")
        assert "hush" not in said

    async def test_no_such_folder(self, house: House, tmp_path: Path) -> None:
        assert (
            await self.faults(house, f"sqlite:///{tmp_path}/none/a.db") == f"path: there is no folder {tmp_path}/none"
        )

    async def test_the_main_one(self, house: House) -> None:
        assert await self.faults(house, house.make.server.runtime.placement.main.url) == (
            "database: is the main database"
        )

    async def test_one_that_is_not_empty(self, house: House) -> None:
        url = await house.shard()
        await execute(url, "CREATE TABLE cats (id integer)")
        assert await self.faults(house, url) == "database: is not empty, and not of Courtyard (1 tables: cats…)"

    async def test_one_of_another_installation(self, house: House) -> None:
        _, url = await house.settled()
        await execute(url, "UPDATE shard_marker SET installation_id = '00000000000000000000000000000001'")
        assert await self.faults(house, url) == "database: belongs to another installation of Courtyard"

    async def test_one_of_a_later_version(self, house: House) -> None:
        _, url = await house.settled()
        await execute(url, "UPDATE alembic_version_chat SET version_num = '9999'")
        assert await self.faults(house, url) == "version: was migrated by a later version of Courtyard (chat)"

    async def test_nothing_of_a_check_stays(self, house: House) -> None:
        url = await house.shard()
        runtime = house.make.server.runtime
        assert await examine(runtime, url) == []
        assert await examine(runtime, url) == []


async def execute(url: str, statement: str) -> None:
    database = Database(url, DatabaseSettings())
    connection = await database.writers.acquire()
    await connection.execute(statement, ())
    database.writers.release(connection)
    await database.close()
