"""Background work: how many tasks the built-in runner does, and how soon after the commit one begins."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from benchmarks.bench import Bench
from benchmarks.contest import CPU, OURS, Bar, Contestant, Reading, Work
from benchmarks.databases import temporary_database
from courtyard.kernel.application import Application
from courtyard.kernel.context import Context
from courtyard.kernel.database import Database
from courtyard.kernel.database.migrator import upgrade
from courtyard.kernel.events import Event
from courtyard.kernel.ids import new_id
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import DatabaseSettings, Settings, load_settings
from courtyard.kernel.tasks import TASKS_CHANNEL, Runner, Task, enqueue, task
from courtyard.kernel.workspaces import DatabaseIdentity
from courtyard.server import KERNEL

PER_SECOND: Final = "tasks/s"
STARTS: Final = "p99 ms to start"
# Asked for before the clock runs.
TASKS: Final = 6_000
ENQUEUED_TOGETHER: Final = 500
STARTS_MEASURED: Final = 200
REST_SECONDS: Final = 0.01


class Nothing(msgspec.Struct, frozen=True):
    """A payload with nothing in it."""


class Counted(Event, frozen=True):
    """What a task leaves."""

    name = "bench.task.counted"


class Bell:
    """Rings when so many tasks have run."""

    def __init__(self) -> None:
        self.left = 0
        self.rung = asyncio.Event()
        self.at = 0.0

    def strike(self) -> None:
        """Count one."""
        self.left -= 1
        if self.left == 0:
            self.at = time.perf_counter()
            self.rung.set()


_bell: list[Bell] = []


@task(name="bench.trivial")
async def trivial(_context: Context, _payload: Nothing) -> None:
    """Do nothing that the database hears of."""
    _bell[0].strike()


@task(name="bench.change")
async def change(context: Context, _payload: Nothing) -> None:
    """Change something: an event in the log, each on a topic of its own."""
    context.record(f"bench.topic:{new_id()}", Counted())
    _bell[0].strike()


PARTS: Final = [*KERNEL, Application(name="bench", description="", events=(Counted,), tasks=(trivial, change))]


@asynccontextmanager
async def process(address: str, folder: Path) -> AsyncIterator[tuple[Runtime, Runner]]:
    """Yield a process on a database that the migrations have built."""
    database = Database(address, DatabaseSettings())
    await upgrade(database, PARTS)
    await database.close()
    settings: Settings = load_settings(make_secrets=False, data_dir=str(folder), database={"url": address})
    runtime = Runtime.create(settings, PARTS, DatabaseIdentity())
    runner = Runner(runtime)
    await runtime.bus.start(runner.heard)
    await runtime.bus.listen(TASKS_CHANNEL)
    _bell[:] = [Bell()]
    try:
        yield runtime, runner
    finally:
        await runner.stop(5)
        await runtime.close()


async def ask(runtime: Runtime, wanted: Task[Nothing], count: int) -> None:
    """Ask for tasks, many in each transaction."""
    for start in range(0, count, ENQUEUED_TOGETHER):
        context = Context(runtime, None, None, "bench")
        for _ in range(min(ENQUEUED_TOGETHER, count - start)):
            await enqueue(context, wanted, Nothing())
        await context.commit()


async def throughput(address: str, folder: Path, wanted: Task[Nothing]) -> Reading:
    """Do what waits, and see how long that takes, to the commit of the last."""
    async with process(address, folder) as (runtime, runner):
        await ask(runtime, wanted, TASKS)
        _bell[0].left = TASKS
        started, used = time.perf_counter(), time.process_time()
        runner.start()
        await _bell[0].rung.wait()
        # It takes nothing any more, and waits for the last ones to be settled.
        await runner.stop(60)
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
        return {PER_SECOND: TASKS / seconds, CPU: cpu * 1e3 / TASKS}


async def latency(address: str, folder: Path) -> Reading:
    """Ask for one task after the other, with a rest between."""
    async with process(address, folder) as (runtime, runner):
        runner.start()
        waits: list[float] = []
        for _ in range(STARTS_MEASURED):
            await asyncio.sleep(REST_SECONDS)
            bell = _bell[0] = Bell()
            bell.left = 1
            context = Context(runtime, None, None, "bench")
            await enqueue(context, trivial, Nothing())
            await context.commit()
            committed = time.perf_counter()
            await bell.rung.wait()
            waits.append((bell.at - committed) * 1e3)
        return {STARTS: sorted(waits)[int(len(waits) * 0.99)], "p50 ms to start": sorted(waits)[len(waits) // 2]}


def on(*, embedded: bool, wanted: Task[Nothing] | None) -> Contestant:
    """Measure throughput with a task, or without one how soon it begins."""

    def measure(bench: Bench) -> Reading:
        folder = bench.directory / f"engine-{new_id().hex}"
        folder.mkdir()
        if embedded:
            return _measure(f"sqlite:///{folder / 'bench.sqlite3'}", folder, wanted)
        with temporary_database("engine") as address:
            return _measure(address, folder, wanted)

    return measure


def _measure(address: str, folder: Path, wanted: Task[Nothing] | None) -> Reading:
    return uvloop.run(latency(address, folder) if wanted is None else throughput(address, folder, wanted))


WORKS: Final = (
    Work(
        "tasks with a trivial body (SQLite)",
        {OURS: on(embedded=True, wanted=trivial)},
        (Bar(PER_SECOND, at_least=3_000),),
    ),
    Work(
        "tasks with a trivial body (PostgreSQL)",
        {OURS: on(embedded=False, wanted=trivial)},
        (Bar(PER_SECOND, at_least=2_000),),
    ),
    # For information: each in a transaction of its own.
    Work("tasks that change something (SQLite)", {OURS: on(embedded=True, wanted=change)}, (Bar(PER_SECOND),)),
    Work("tasks that change something (PostgreSQL)", {OURS: on(embedded=False, wanted=change)}, (Bar(PER_SECOND),)),
    Work("commit to start (SQLite)", {OURS: on(embedded=True, wanted=None)}, (Bar(STARTS, at_most=50),)),
    Work("commit to start (PostgreSQL)", {OURS: on(embedded=False, wanted=None)}, (Bar(STARTS, at_most=50),)),
)
