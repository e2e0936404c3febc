"""Installations whose tasks are run by processes as operators start them, by each of the runners that there are."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias
from uuid import uuid4

from tests.kernel.tasks.conftest import House
from tests.processes import PROGRAM, Process
from tests.running import MovableClock
from tests.services import Databases, Kind, missing

ROOT = Path(__file__).parents[3]
Runner: TypeAlias = Literal["embedded", "worker", "celery"]
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672"
# A broker is told again, and a worker taken for lost, within the time that a test has.
HASTE = {"sweep_seconds": 0.1, "lease_seconds": 2.0, "resend_seconds": 3.0}


@dataclass
class Crew:
    """An installation with processes that run its tasks.

    Attributes:
        house: a process that asks for tasks, and runs them where the runner is embedded.
        workers: the other processes.
    """

    folder: Path
    house: House
    environment: dict[str, str]
    workers: list[Process] = field(default_factory=list)

    async def hire(self, *options: str) -> Process:
        """Start a worker."""
        output = self.folder / f"worker-{len(self.workers)}.log"
        worker = Process([*PROGRAM, "worker", *options], output, self.environment)
        self.workers.append(worker)
        await worker.start()
        return worker

    def said(self) -> str:
        """Return what the workers wrote."""
        return "\n".join(worker.output.read_text() for worker in self.workers if worker.output.exists())

    async def close(self) -> None:
        """End everything."""
        for worker in self.workers:
            await worker.kill()
        await self.house.stop()


def install_probe(folder: Path) -> Path:
    """Make the probe an installed application for processes that have the folder on their path."""
    info = folder / "site/courtyard_probe-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: courtyard-probe\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[courtyard.applications]\nprobe = tests.kernel.tasks.probe:application\n")
    return info.parent


async def make_crew(
    databases: Databases, folder: Path, kind: Kind, runner: Runner, broker: str | None = None, **changes: Any
) -> Crew:
    """Make an installation on a database of its own; it has no workers yet.

    Args:
        databases: where databases are made.
        folder: for data and output.
        kind: of the database.
        runner: what runs its tasks.
        broker: the address of the broker of Celery.
        changes: to the settings of tasks.
    """
    url, prefix = await databases.new(kind), f"courtyard-test-{uuid4().hex}"
    tasks = {**HASTE, "runner": runner, **({"broker_url": broker} if broker else {}), **changes}
    house = House(folder / "data", url, MovableClock(), prefix=prefix, **tasks)
    unwanted = ("COURTYARD_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(install_probe(folder)), str(ROOT)]),
        "COURTYARD_APPLICATIONS": "chat,probe",
        "COURTYARD_DATA_DIR": str(folder / "data"),
        "COURTYARD_DATABASE__URL": url,
        "COURTYARD_DATABASE__POOL_SIZE": "5",
        "COURTYARD_DATABASE__READ_POOL_SIZE": "5",
        "COURTYARD_REDIS__PREFIX": prefix,
        "COURTYARD_TELEMETRY__LOG_FORMAT": "json",
        **{f"COURTYARD_TASKS__{name.upper()}": str(value) for name, value in tasks.items()},
    }
    if runner != "worker":
        await house.start()
    return Crew(folder, house, environment)


@contextlib.asynccontextmanager
async def own_vhost() -> AsyncIterator[str]:
    """Make a virtual host of RabbitMQ for a test, and return its address."""
    name = f"courtyard-test-{uuid4().hex}"
    await _rabbitmqctl("add_vhost", name)
    try:
        await _rabbitmqctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        yield f"{os.environ.get('COURTYARD_TEST_RABBITMQ', RABBITMQ).rstrip('/')}/{name}"
    finally:
        await _rabbitmqctl("delete_vhost", name)


async def purge(address: str) -> None:
    """Forget every message of a virtual host."""
    name = address.rpartition("/")[2]
    listed = await _rabbitmqctl("-q", "list_queues", "-p", name, "--no-table-headers", "name")
    for queue in listed.split():
        if queue.startswith("courtyard."):
            await _rabbitmqctl("purge_queue", "-p", name, queue)


async def _rabbitmqctl(*words: str) -> str:
    program = shutil.which("rabbitmqctl")
    if program is None:
        missing("RabbitMQ", "rabbitmqctl is not installed")
    try:
        done = await asyncio.to_thread(
            subprocess.run, [program, *words], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        missing("RabbitMQ", error)
    return done.stdout
