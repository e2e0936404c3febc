"""Installations whose tasks are run by processes as operators start them, by each of the runners that there are."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast
from uuid import uuid4

import pytest

from tests.kernel.tasks.conftest import House
from tests.processes import PROGRAM, Process, own_redis
from tests.running import KEYS, MovableClock
from tests.services import Databases, Kind, RedisSpace, missing

ROOT = Path(__file__).parents[3]
Sections: TypeAlias = Mapping[str, Mapping[str, Any]]
Runner: TypeAlias = Literal["embedded", "worker", "celery"]
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672"
# A broker is told again, and a worker taken for lost, within the time that a test has.
HASTE = {"sweep_seconds": 0.1, "lease_seconds": 2.0, "resend_seconds": 3.0}
# What parts that lean on tasks are tried on: the default that needs nothing, and everything that there is.
EMBEDDED, WHOLE = "embedded-sqlite", "rabbitmq-postgresql"
BOTH = [EMBEDDED, pytest.param(WHOLE, marks=pytest.mark.services)]


@dataclass
class Crew:
    """An installation with processes that run its tasks.

    Attributes:
        house: a process that asks for tasks, and runs them where the runner is embedded.
        url: its database.
        sections: of the settings with which a server belongs to it too.
        workers: the other processes.
    """

    folder: Path
    house: House
    url: str
    sections: Sections
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
    databases: Databases,
    folder: Path,
    kind: Kind,
    runner: Runner,
    broker: str | None = None,
    *,
    sections: Sections | None = None,
    **changes: Any,
) -> Crew:
    """Make an installation on a database of its own; it has no workers yet.

    Args:
        databases: where databases are made.
        folder: for data and output.
        kind: of the database.
        runner: what runs its tasks.
        broker: the address of the broker of Celery.
        sections: changes to other sections of the settings.
        changes: to the settings of tasks.
    """
    url, prefix = await databases.new(kind), f"courtyard-test-{uuid4().hex}"
    tasks = {**HASTE, "runner": runner, **({"broker_url": broker} if broker else {}), **changes}
    few = {"pool_size": 5, "read_pool_size": 5}
    chosen: dict[str, Mapping[str, Any]] = {"redis": {"prefix": prefix}, "database": few, **(sections or {})}
    house = House(folder / "data", url, MovableClock(), sections=chosen, **tasks)
    environment = environment_of(folder, url, {**chosen, "tasks": tasks})
    if runner != "worker":
        await house.start()
    return Crew(folder, house, url, {**chosen, "tasks": tasks}, environment)


def environment_of(folder: Path, url: str, sections: Sections) -> dict[str, str]:
    """Return the environment of processes on a database, of the same installation as those of this process."""
    unwanted = ("COURTYARD_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    keys = {name: [f"{key.id}:{key.secret.get_secret_value()}" for key in ring] for name, ring in KEYS.items()}
    chosen = {
        "applications": "chat,probe",
        "data_dir": folder / "data",
        "telemetry": {"log_format": "json"},
        **sections,
        "database": {"url": url, **sections.get("database", {})},
        "security": {**keys, **sections.get("security", {})},
    }
    return {
        **environment,
        "PYTHONPATH": os.pathsep.join([str(install_probe(folder)), str(ROOT)]),
        **dict(_variables("COURTYARD", chosen)),
    }


def _variables(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        separator = "_" if name == "COURTYARD" else "__"
        for key, each in value.items():
            yield from _variables(f"{name}{separator}{str(key).upper()}", each)
    else:
        yield name, ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


@contextlib.asynccontextmanager
async def open_crew(
    name: str, databases: Databases, folder: Path, sections: Sections | None = None
) -> AsyncIterator[Crew]:
    """Make an installation with one worker, where there are workers. It ends with the block.

    Args:
        name: what runs its tasks and its database: `embedded-sqlite`, `rabbitmq-postgresql`.
        databases: where databases are made.
        folder: for data and output.
        sections: changes to sections of the settings other than `tasks`.
    """
    runner, _, kind = name.partition("-")
    async with contextlib.AsyncExitStack() as stack:
        broker = None
        if runner == "rabbitmq":
            broker = await stack.enter_async_context(own_vhost())
        elif runner == "redis":
            broker = (await stack.enter_async_context(own_redis(folder))).url
        chosen = cast("Runner", runner) if broker is None else "celery"
        crew = await make_crew(databases, folder, cast("Kind", kind), chosen, broker, sections=sections)
        stack.push_async_callback(crew.close)
        if chosen != "embedded":
            await crew.hire()
        yield crew


async def redis_of(name: str, space: RedisSpace) -> dict[str, dict[str, str]]:
    """Return the settings of Redis for such an installation: processes of the whole hear of each other by it."""
    if name != WHOLE:
        return {}
    await space.check()
    return {"redis": {"url": space.url, "prefix": f"{space.prefix}-{uuid4().hex[:8]}"}}


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
