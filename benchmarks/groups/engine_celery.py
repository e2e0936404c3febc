"""Background work through Celery: how many tasks one worker does on one core, beside a bare Celery."""

from __future__ import annotations

import asyncio
import importlib
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, TypeAlias
from uuid import uuid4

from redis import Redis
from sqlalchemy import func
from sqlalchemy import select as read

from benchmarks import tally
from benchmarks.bench import Bench
from benchmarks.contest import CPU, OURS, Bar, BenchmarkError, Contestant, Reading, Work
from benchmarks.courtyard import COMMAND
from benchmarks.databases import temporary_database
from benchmarks.process import ServerProcess, end_of, pinned
from benchmarks.tally_application import application, stroke
from courtyard.kernel.context import Context
from courtyard.kernel.database import Database, Prepared
from courtyard.kernel.database.migrator import upgrade
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import DatabaseSettings, load_settings
from courtyard.kernel.tasks import TASKS_CHANNEL, Nothing, Sender, TaskRow, enqueue
from courtyard.kernel.workspaces import DatabaseIdentity
from courtyard.server import KERNEL

Broker: TypeAlias = Callable[[str], AbstractContextManager[str]]
CELERY: Final = "celery"
THREADS: Final = "celery, threads"
PER_SECOND: Final = "tasks/s"
# All wait at the broker before the worker starts; the clock runs from the end of the first ones.
TASKS, FIRST_ONES = 6_000, 1_000
TOGETHER: Final = 500
LONGEST_SECONDS: Final = 120.0
PARTS: Final = [*KERNEL, application]
RABBITMQ: Final = os.environ.get("COURTYARD_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672").rstrip("/")
REDIS: Final = os.environ.get("COURTYARD_TEST_REDIS", "redis://127.0.0.1:6379/0")
UNSENT: Final = Prepared(read(func.count()).select_from(TaskRow).where(TaskRow.sends == 0), int, across_workspaces=True)


@contextmanager
def rabbitmq(name: str) -> Iterator[str]:
    """Make a virtual host, yield its address, and remove it."""
    _rabbitmqctl("add_vhost", name)
    try:
        _rabbitmqctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        yield f"{RABBITMQ}/{name}"
    finally:
        _rabbitmqctl("delete_vhost", name)


def _rabbitmqctl(*words: str) -> None:
    program = shutil.which("rabbitmqctl")
    if program is None:
        raise BenchmarkError("rabbitmqctl is missing. On Debian or Ubuntu: apt-get install rabbitmq-server")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"rabbitmqctl {words[0]}: {done.stderr or done.stdout}")


@contextmanager
def redis(prefix: str) -> Iterator[str]:
    """Yield the address, and remove what was written there, which begins with the prefix."""
    try:
        yield REDIS
    finally:
        with Redis.from_url(REDIS) as client:
            for key in client.scan_iter(f"{prefix}*"):
                client.delete(key)


def measured(pipe: Path, worker: ServerProcess, log: Path) -> Reading:
    """Count the strokes of a worker that has been started."""
    # Opened for writing too, so that it does not end when a worker's child goes.
    descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    done, first, started, used = 0, 0, 0.0, 0.0
    end = time.monotonic() + LONGEST_SECONDS
    try:
        while done < TASKS:
            if worker.ended() or time.monotonic() > end:
                raise BenchmarkError(f"The worker did {done} of {TASKS} tasks. {end_of(log)}")
            if select.select([descriptor], [], [], 1.0)[0]:
                done += len(os.read(descriptor, 65_536))
            if not first and done >= FIRST_ONES:
                first, started, used = done, time.perf_counter(), worker.cpu_seconds()
        seconds, cpu = time.perf_counter() - started, worker.cpu_seconds() - used
    finally:
        os.close(descriptor)
    return {PER_SECOND: (done - first) / seconds, CPU: cpu * 1e3 / (done - first)}


def work(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Reading:
    """Let a worker do what waits."""
    pipe, log = folder / "pipe", folder / "worker.log"
    os.mkfifo(pipe)
    with pinned(command, log=log, environment={**environment, tally.PIPE: str(pipe)}) as worker:
        return measured(pipe, worker, log)


def ours(broker: str, prefix: str, folder: Path) -> Reading:
    """Ask for tasks in a database, let them be sent, and have `courtyard worker` do them."""
    with temporary_database("celery") as address:
        tasks = {"runner": "celery", "broker_url": broker}
        asyncio.run(_ask(address, tasks, prefix, folder))
        environment = {
            **tally.installed(folder / "installed"),
            "COURTYARD_DATA_DIR": str(folder / "data"),
            "COURTYARD_DATABASE__URL": address,
            "COURTYARD_REDIS__PREFIX": prefix,
            "COURTYARD_TELEMETRY__LOG_FORMAT": "json",
            **{f"COURTYARD_TASKS__{name.upper()}": value for name, value in tasks.items()},
        }
        return work([str(COMMAND), "worker"], folder, environment)


async def _ask(address: str, tasks: dict[str, str], prefix: str, folder: Path) -> None:
    database = Database(address, DatabaseSettings())
    await upgrade(database, PARTS)
    await database.close()
    settings = load_settings(
        make_secrets=False,
        data_dir=str(folder / "data"),
        database={"url": address},
        tasks=tasks,
        redis={"prefix": prefix},
    )
    runtime = Runtime.create(settings, PARTS, DatabaseIdentity())
    sender = Sender(runtime)
    try:
        for _ in range(TASKS // TOGETHER):
            context = Context(runtime, None, None, "bench")
            for _ in range(TOGETHER):
                await enqueue(context, stroke, Nothing())
            await context.commit()
        await runtime.bus.start(sender.heard)
        await runtime.bus.listen(TASKS_CHANNEL)
        sender.start()
        async with asyncio.timeout(LONGEST_SECONDS):
            while await runtime.placement.main.fetch(UNSENT, {}) != [0]:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.1)
    finally:
        await sender.stop()
        await runtime.close()


def bare(broker: str, prefix: str, folder: Path, *pool: str) -> Reading:
    """Send as many messages, and have Celery's own worker do them.

    Args:
        broker: its address.
        prefix: for what is written to Redis.
        folder: for the pipe and the log.
        pool: options of the worker.
    """
    variables = {"_BENCH_BROKER": broker, "_BENCH_PREFIX": f"{prefix}:"}
    os.environ.update(variables)
    # Read anew, with these variables.
    peer = importlib.import_module("benchmarks.peers.celery_bare")
    peer = importlib.reload(peer)
    with peer.app.producer_pool.acquire(block=True) as producer:
        for _ in range(TASKS):
            peer.stroke.apply_async(producer=producer)
    command = [sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery_bare", "worker"]
    return work([*command, "--loglevel=WARNING", *pool], folder, variables)


def as_it_comes(broker: str, prefix: str, folder: Path) -> Reading:
    """Have Celery do them in processes, of which there is one for the one core."""
    return bare(broker, prefix, folder, "--concurrency=1")


def in_threads(broker: str, prefix: str, folder: Path) -> Reading:
    """Have Celery do them in threads, as our worker has it do."""
    return bare(broker, prefix, folder, "--pool=threads", "--concurrency=20")


def on(broker: Broker, party: Callable[[str, str, Path], Reading]) -> Contestant:
    """Measure one of them on a broker of its own."""

    def measure(bench: Bench) -> Reading:
        prefix = f"courtyard-bench-{uuid4().hex}"
        folder = bench.directory / prefix
        folder.mkdir()
        with broker(prefix) as address:
            return party(address, prefix, folder)

    return measure


WORKS: Final = tuple(
    Work(
        f"tasks with a trivial body through Celery ({name})",
        {OURS: on(broker, ours), CELERY: on(broker, as_it_comes), THREADS: on(broker, in_threads)},
        # The second for information: it is leaner for tasks that do nothing, and rarely used.
        (Bar(PER_SECOND, peer=CELERY, at_least=0.6), Bar(PER_SECOND, peer=THREADS)),
    )
    for name, broker in (("RabbitMQ", rabbitmq), ("Redis", redis))
)
