"""One port and several worker processes behind it: whichever is scraped, all are told of."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from courtyard.site.workers import Workers, together
from tests.faults.load import Server
from tests.services import Databases, RedisSpace

ONE = b"# HELP a_total A.\n# TYPE a_total counter\na_total 1.0\n"


def test_answers_are_put_together() -> None:
    text = together({"7": ONE, "8": ONE}).decode()
    assert text.splitlines() == [
        "# HELP a_total A.",
        "# TYPE a_total counter",
        'a_total{worker="7"} 1.0',
        'a_total{worker="8"} 1.0',
    ]


async def test_one_that_was_killed_is_forgotten(tmp_path: Path) -> None:
    workers = Workers(tmp_path, lambda: ONE)
    await workers.start()
    gone = tmp_path / "1.sock"
    listener = await asyncio.start_unix_server(lambda *_: None, gone)
    # Closing a listener of asyncio takes its file away, which a killed process cannot.
    shutil.move(gone, kept := tmp_path / "kept")
    listener.close()
    shutil.move(kept, gone)
    assert (await workers.exposition()).decode().count("worker=") == 1
    assert not gone.exists()
    await workers.stop()
    assert not any(path.suffix == ".sock" for path in kept.parent.glob("*"))


async def test_a_folder_that_takes_no_socket_is_no_reason_not_to_serve(tmp_path: Path) -> None:
    workers = Workers(tmp_path / ("x" * 200), lambda: ONE)
    await workers.start()
    assert 'worker="' in (await workers.exposition()).decode()
    await workers.stop()


@pytest.fixture
async def two_workers(databases: Databases, redis_space: RedisSpace, tmp_path: Path) -> AsyncIterator[Server]:
    """A server of two processes."""
    settings = {
        "DATABASE__URL": await databases.new("postgresql"),
        "REDIS__URL": redis_space.url,
        "REDIS__PREFIX": redis_space.prefix,
        "SERVER__WORKERS": "2",
    }
    server = Server(tmp_path, "server", settings)
    await server.start()
    yield server
    await server.stop()


async def scrape(server: Server) -> tuple[set[str], float]:
    """Return the workers that are told of, and how many requests to the front page they have answered together."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
        families = text_string_to_metric_families((await client.get(f"{server.url}/metrics")).text)
    samples = [sample for family in families for sample in family.samples]
    requests = [s.value for s in samples if s.name.endswith("answer_seconds_count") and s.labels.get("route") == "/"]
    return {sample.labels["worker"] for sample in samples}, sum(requests)


@pytest.mark.services
@pytest.mark.slow
async def test_all_workers_are_told_of(two_workers: Server) -> None:
    async with asyncio.timeout(30):
        while len((await scrape(two_workers))[0]) < 2:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)
    for _ in range(20):
        async with httpx2.AsyncClient(trust_env=False) as client:
            await client.get(two_workers.url)
    workers, requests = await scrape(two_workers)
    assert requests == 20
    children = {str(child.pid) for child in psutil.Process(two_workers.pid).children()}
    assert workers <= children
    # The supervisor starts another one in the place of one that was killed.
    killed = min(workers)
    os.kill(int(killed), signal.SIGKILL)
    async with asyncio.timeout(30):
        while True:
            try:
                told, _ = await scrape(two_workers)
            except httpx2.TransportError:
                continue
            if killed not in told and len(told) == 2:
                break
            await asyncio.sleep(0.05)
