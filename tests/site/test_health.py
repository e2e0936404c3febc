import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from courtyard.kernel.database.migrator import downgrade, upgrade
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.workspaces import DatabaseIdentity
from courtyard.site import health
from courtyard.site.errors import NotReady
from courtyard.site.schemas import Check
from tests.conftest import ServerFactory
from tests.factories import ok, problem
from tests.running import make_settings
from tests.services import PARTS, Databases, Kind, RedisSpace

SECRET = "hunter2-and-more"


@pytest.fixture
async def silent_port() -> AsyncIterator[int]:
    """A port that takes connections and never says a word."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    for writer in held:
        writer.close()
    server.close()
    await server.wait_closed()


async def checks_of(runtime: Runtime) -> dict[str, Check]:
    try:
        with pytest.raises(NotReady) as raised:
            await health.readiness(runtime)
    finally:
        await runtime.close()
    return {check.name: check for check in raised.value.extra["checks"]}


async def test_a_process_that_answers_is_alive(client: httpx2.AsyncClient) -> None:
    response = await client.get("/health/live")
    assert ok(response) == {"status": "live"}
    assert response.headers["cache-control"] == "no-store"


async def test_a_server_that_has_everything_is_ready(client: httpx2.AsyncClient, database_kind: Kind) -> None:
    answer = ok(await client.get("/health/ready"))
    (check,) = answer["checks"]
    assert answer["status"] == "ready"
    assert check["ok"]
    assert (check["name"], check["detail"]) == (
        "database",
        {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[database_kind],
    )
    assert 0 < check["milliseconds"] < 2_000


async def test_a_server_whose_database_is_behind_is_not(
    server_factory: ServerFactory, databases: Databases, database_kind: Kind
) -> None:
    server = await server_factory(database=await databases.new(database_kind))
    async with server.client() as client:
        await downgrade(server.runtime.placement.main, PARTS, module="chat", revision="base")
        response = await client.get("/health/ready")
        document = problem(response, 503, "not_ready")
        assert response.headers["retry-after"] == "1"
        (check,) = document["checks"]
        assert not check["ok"]
        assert check["detail"] == "not at the revisions of this code: chat"
        assert ok(await client.get("/health/live")) == {"status": "live"}
        await upgrade(server.runtime.placement.main, PARTS)
        assert ok(await client.get("/health/ready"))["status"] == "ready"


async def test_what_does_not_answer_is_named_without_saying_where_it_is(tmp_path: Path) -> None:
    settings = make_settings(
        tmp_path,
        f"postgresql://somebody:{SECRET}@127.0.0.1:1/place",
        redis={"url": f"redis://:{SECRET}@127.0.0.1:1/0"},
    )
    checks = await checks_of(Runtime.create(settings, PARTS, DatabaseIdentity()))
    assert checks.keys() == {"database", "redis", "bus"}
    for check in checks.values():
        assert not check.ok
        assert check.detail.startswith("does not answer (")
        assert not {SECRET, "somebody", "127.0.0.1", "place"} & set(check.detail.replace("/", " ").split())


async def test_what_stays_silent_is_not_waited_for(
    tmp_path: Path, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.2)
    settings = make_settings(
        tmp_path,
        f"postgresql://somebody@127.0.0.1:{silent_port}/place",
        redis={"url": f"redis://127.0.0.1:{silent_port}/0"},
    )
    started = time.monotonic()
    checks = await checks_of(Runtime.create(settings, PARTS, DatabaseIdentity()))
    assert time.monotonic() - started < 2
    assert {check.detail for check in checks.values()} == {"no answer within 0.2 s"}


@pytest.mark.services
async def test_redis_is_looked_at_where_there_is_one(redis_space: RedisSpace, server_factory: ServerFactory) -> None:
    server = await server_factory(redis={"url": redis_space.url, "prefix": redis_space.prefix})
    async with server.client() as client:
        checks = ok(await client.get("/health/ready"))["checks"]
    assert [(check["name"], check["ok"]) for check in checks] == [("database", True), ("redis", True), ("bus", True)]
