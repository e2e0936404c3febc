"""The same, whatever runs the tasks: the server, workers, Celery over RabbitMQ, Celery over Redis."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from courtyard.kernel.tasks import administration
from tests.kernel.tasks import probe
from tests.kernel.tasks.crews import Crew, make_crew, open_crew, own_vhost
from tests.kernel.tasks.probe import Rest
from tests.processes import PROGRAM, Process, free_port
from tests.services import Databases

SECONDS = 60
SERVICES = pytest.mark.services
CREWS = [
    "embedded-sqlite",
    pytest.param("embedded-postgresql", marks=SERVICES),
    "worker-sqlite",
    pytest.param("worker-postgresql", marks=SERVICES),
    pytest.param("rabbitmq-postgresql", marks=SERVICES),
    pytest.param("redis-postgresql", marks=SERVICES),
]


@pytest.fixture(scope="module", params=CREWS)
async def crew(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Crew]:
    """An installation with one worker, where there are workers. The tests of it share it."""
    async with open_crew(request.param, databases, tmp_path_factory.mktemp("crew")) as made:
        yield made


async def ended(crew: Crew, *task_ids: UUID) -> list[Any]:
    """Return the rows of tasks as soon as all of them have ended."""
    rows: list[Any] = []
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                rows = [row for row in await crew.house.rows() if row.id in task_ids]
                if all(row.ended_at is not None for row in rows):
                    return rows
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{rows}\n{crew.said()}") from None


async def test_each_effect_is_there_once(crew: Crew) -> None:
    keys = [f"once-{number}" for number in range(50)]
    rows = await ended(crew, *[await crew.house.enqueue(probe.leave, key) for key in keys])
    assert {row.state for row in rows} == {"done"}
    assert sorted(key for key in await crew.house.effects() if key.startswith("once-")) == sorted(keys)


async def test_what_fails_is_tried_again(crew: Crew) -> None:
    path = crew.folder / "stumbles"
    path.write_text("xx")
    (row,) = await ended(crew, await crew.house.enqueue(probe.stumble, str(path)))
    assert (row.state, row.tries) == ("done", 3)
    assert (await crew.house.effects()).count("stumbles") == 1


async def most_running(crew: Crew, ids: list[UUID]) -> int:
    """Return how many of these ran at the same time at most, when all of them are done."""
    most = 0
    async with asyncio.timeout(SECONDS):
        while True:
            rows = [row for row in await crew.house.rows() if row.id in ids]
            most = max(most, sum(row.state == "running" for row in rows))
            if all(row.state == "done" for row in rows):
                return most
            await asyncio.sleep(0.01)


async def test_many_at_once(crew: Crew) -> None:
    ids = [await crew.house.enqueue(probe.rest, Rest(f"rest-{number}", 1.0)) for number in range(10)]
    assert await most_running(crew, ids) > 1


async def test_what_runs_is_cancelled(crew: Crew) -> None:
    task_id = await crew.house.enqueue(probe.rest, Rest("never", 30.0))
    async with asyncio.timeout(SECONDS):
        while (await crew.house.row(task_id)).state != "running":  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.05)
    context = crew.house.context()
    try:
        await administration.cancel(context, task_id)
        await context.commit()
    finally:
        await context.rollback()
    (row,) = await ended(crew, task_id)
    assert row.state == "cancelled"
    assert "never" not in await crew.house.effects()


async def test_a_concurrency_key_holds(crew: Crew) -> None:
    ids = [
        await crew.house.enqueue(probe.rest_in_turn, Rest(f"turn-{number}", 0.2), concurrency_key="k")
        for number in range(4)
    ]
    assert await most_running(crew, ids) == 1
    assert len([key for key in await crew.house.effects() if key.startswith("turn-")]) == 4


@pytest.mark.slow
@SERVICES
async def test_flower_shows_workers_and_tasks(databases: Databases, tmp_path: Path) -> None:
    async with own_vhost() as broker:
        crew = await make_crew(databases, tmp_path, "postgresql", "celery", broker)
        port = free_port()
        crew.environment["FLOWER_UNAUTHENTICATED_API"] = "true"
        options = [f"--port={port}", "--address=127.0.0.1"]
        flower = Process([*PROGRAM, "flower", *options], tmp_path / "flower.log", crew.environment)
        try:
            await flower.start()
            await crew.hire()
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                shown: dict[str, Any] = {}
                async with asyncio.timeout(SECONDS):
                    while not any(task["name"] == "probe.leave" for task in shown.values()):
                        # One that was done before Flower listened is not shown.
                        await ended(crew, await crew.house.enqueue(probe.leave, "seen"))
                        with contextlib.suppress(httpx2.TransportError):
                            shown = (await client.get("/api/tasks")).json()
        finally:
            await flower.kill()
            await crew.close()
