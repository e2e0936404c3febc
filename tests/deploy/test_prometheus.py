"""A real Prometheus scrapes two real server processes, with the configuration of `deploy/`."""

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.faults.load import ProcessFactory, Server
from tests.processes import Process, free_port
from tests.services import Databases, RedisSpace, missing

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
TOKEN = "planted-token-of-the-scraper"


def configuration(folder: Path, servers: list[Server]) -> Path:
    """Write the configuration of `deploy/` with the servers of the test in the place of a name in the DNS."""
    (folder / "token").write_text(TOKEN)
    given: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    given["global"]["scrape_interval"] = "1s"
    (job,) = given["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [server.url.removeprefix("http://") for server in servers]}]
    job["authorization"]["credentials_file"] = str(folder / "token")
    given["rule_files"] = [str(DEPLOY / "rules.yml")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(given))
    return folder / "prometheus.yml"


def check(metrics: bytes) -> None:
    """Let promtool look at the names, types and meanings of metrics."""
    promtool = shutil.which("promtool") or missing("promtool", "not installed")
    checked = subprocess.run([promtool, "check", "metrics"], input=metrics, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


@pytest.mark.services
@pytest.mark.slow
async def test_two_processes_are_scraped(databases: Databases, redis_space: RedisSpace, tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        missing("prometheus", "not installed (make services)")
    settings = {
        "DATABASE__URL": await databases.new("postgresql"),
        "REDIS__URL": redis_space.url,
        "REDIS__PREFIX": redis_space.prefix,
        "TELEMETRY__METRICS_TOKEN": TOKEN,
    }
    servers = [Server(tmp_path, name, settings) for name in ("one", "other")]
    port = free_port()
    options = [
        f"--config.file={configuration(tmp_path, servers)}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    prometheus = Process([program, *options], tmp_path / "prometheus.log")
    try:
        for server in servers:
            await server.start()
        make = ProcessFactory(servers[0])
        await make.workspace()
        await make.close()
        metrics = httpx2.get(f"{servers[0].url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).content
        await asyncio.to_thread(check, metrics)
        await prometheus.start()
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:

            async def ask(query: str) -> list[Any]:
                try:
                    answer = await client.get("/api/v1/query", params={"query": query})
                except httpx2.TransportError:
                    return []
                found: list[Any] = answer.json()["data"]["result"] if answer.status_code == 200 else []
                return found

            async with asyncio.timeout(30):
                while len(await ask("courtyard_info == 1 and on (instance) up == 1")) < 2:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.1)
            (made,) = await ask(
                'sum(courtyard_request_answer_seconds_count{route="/api/v1/workspaces",method="POST",status="201"})'
            )
            assert made["value"][1] == "1"
            # What belongs to no process is told by both of them, and counts once.
            async with asyncio.timeout(30):
                while len(await ask('courtyard_tasks_kept{queue="default",state="failed"} == 0')) < 2:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.1)
            (oldest,) = await ask('max by (queue) (courtyard_task_oldest_seconds{queue="default"})')
            assert float(oldest["value"][1]) < 60
            rules = (await client.get("/api/v1/rules")).json()["data"]["groups"][0]["rules"]
            assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
            # One that is killed is told of as away.
            await servers[1].kill()
            async with asyncio.timeout(30):
                while len(await ask("up == 0")) < 1:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.1)
    finally:
        await prometheus.kill()
        for server in servers:
            await server.close()
