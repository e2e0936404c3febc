"""The metrics of a process that answers nothing else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from courtyard.site import MetricsServer
from tests.deploy.cluster import Beside
from tests.faults.load import Server
from tests.processes import free_port
from tests.running import RunningServer
from tests.services import Databases

TOKEN = "a-token-for-the-scraper"


@pytest.fixture
async def beside(server: RunningServer, request: pytest.FixtureRequest) -> AsyncIterator[MetricsServer]:
    """What a worker has, around a runtime that is there."""
    token = getattr(request, "param", None)
    telemetry = type(server.settings.telemetry)(worker_metrics_port=0, metrics_token=token)
    runtime = server.runtime
    kept = runtime.settings
    object.__setattr__(runtime, "settings", kept.model_copy(update={"telemetry": telemetry}))
    started = MetricsServer(runtime)
    await started.start()
    yield started
    await started.stop()
    object.__setattr__(runtime, "settings", kept)


async def ask(beside: MetricsServer, path: str, method: str = "GET", **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return await client.request(method, f"http://127.0.0.1:{beside.port}{path}", headers=headers)


async def test_this_machine_may_read_without_a_token(beside: MetricsServer) -> None:
    answer = await ask(beside, "/metrics")
    assert answer.status_code == 200
    assert "courtyard_database_connections_used" in answer.text
    assert (await ask(beside, "/health/live")).text == "live\n"
    assert (await ask(beside, "/api/v1/me")).status_code == 404
    assert (await ask(beside, "/metrics", "POST")).status_code == 405
    # A proxy on this machine asks for others.
    assert (await ask(beside, "/metrics", **{"X-Forwarded-For": "127.0.0.1"})).status_code == 404
    assert beside._respond("GET /metrics HTTP/1.1\r\n\r\n", "203.0.113.7")[0] == 404


@pytest.mark.parametrize("beside", [TOKEN], indirect=True)
async def test_with_a_token_whoever_has_it_may_read(beside: MetricsServer) -> None:
    assert (await ask(beside, "/metrics")).status_code == 401
    assert (await ask(beside, "/metrics", Authorization=f"Bearer {TOKEN}x")).status_code == 401
    assert (await ask(beside, "/metrics", Authorization=f"Bearer {TOKEN}")).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /metrics", b"\r\n\r\n", b"x" * 20_000, b"\xff\x00 \r\n\r\n"])
async def test_what_is_no_request_harms_nobody(beside: MetricsServer, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", beside.port)
    writer.write(sent)
    writer.write_eof()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    assert answer == b"" or answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 405"))
    assert (await ask(beside, "/health/live")).status_code == 200


@pytest.mark.slow
async def test_a_worker_tells_of_itself(databases: Databases, tmp_path: Path) -> None:
    port = free_port()
    settings = {"DATABASE__URL": await databases.new("sqlite"), "TASKS__RUNNER": "worker"}
    settings["TELEMETRY__WORKER_METRICS_PORT"] = str(port)
    worker = Beside(Server(tmp_path, "settings", settings), "worker", "worker")
    await worker.start()
    try:
        async with httpx2.AsyncClient(trust_env=False) as client:
            metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        assert "courtyard_task_run_seconds" in metrics
        assert "courtyard_process_resident_memory_bytes" in metrics
    finally:
        assert await worker.stop() == 0
