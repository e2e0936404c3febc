"""Processes beside the servers: `courtyard worker` runs tasks, `courtyard scheduler` asks for those that are due."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Collection
from typing import Any
from uuid import UUID

import structlog
import uvloop

from courtyard import site
from courtyard.kernel.events import Background, Signal
from courtyard.kernel.key_watch import KeyWatch
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import Settings, load_settings
from courtyard.kernel.tasks import TASKS_CHANNEL, Runner, Scheduler, Sender, celery_app, queue_name
from courtyard.kernel.telemetry import begin_telemetry, end_telemetry
from courtyard.kernel.workspaces import DatabaseIdentity
from courtyard.server import KEY_WATCH_SECONDS, parts

log = structlog.get_logger()


class Worker:
    """A process that answers no requests.

    Args:
        settings: what the operator chose.
        queues: whose tasks it runs; None for all.
        concurrency: how many at once; None for what the settings say.
        runs_tasks: whether it runs tasks at all.
        runs_schedules: whether it looks after schedules.

    Attributes:
        runtime: the process.
        runner: what runs tasks.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        queues: Collection[str] | None = None,
        concurrency: int | None = None,
        runs_tasks: bool = True,
        runs_schedules: bool = False,
    ) -> None:
        self.runtime = Runtime.create(settings, parts(settings), DatabaseIdentity())
        self.runner = Runner(self.runtime, queues=queues, concurrency=concurrency)
        self._runs_tasks = runs_tasks
        self._scheduler = Scheduler(self.runtime) if runs_schedules else None
        self._sender = Sender(self.runtime) if settings.tasks.runner == "celery" else None
        self._keys = KeyWatch(settings, self.runtime.signing, self.runtime.encryption)
        self._census = site.Census(self.runtime)
        self._metrics = site.MetricsServer(self.runtime, self._census)
        self._background = Background()

    async def start(self) -> None:
        """Begin, with databases that are up to date."""
        await site.prepare(self.runtime)
        await self._metrics.start()
        await self.runtime.bus.start(self._heard)
        await self.runtime.bus.listen(TASKS_CHANNEL)
        self._background.every(KEY_WATCH_SECONDS, self._keys.look)
        if self._runs_tasks:
            self.runner.start(takes=self._sender is None)
        if self._sender is not None:
            self._sender.start()
        if self._scheduler is not None:
            self._scheduler.start()
            self._census.start()

    async def stop(self) -> None:
        """Let what runs end within the time that a stop has, hand back the rest, and let go of everything."""
        await self._background.end()
        await self._metrics.stop()
        if self._scheduler is not None:
            await self._scheduler.stop()
        await self._census.stop()
        await self.runner.stop(self.runtime.settings.server.shutdown_timeout_seconds)
        if self._sender is not None:
            await self._sender.stop()
        await self.runtime.close()
        await end_telemetry()

    def _heard(self, signal_: Signal) -> None:
        self.runner.heard(signal_)
        if self._sender is not None:
            self._sender.heard(signal_)


def work(
    *, queues: Collection[str] | None, concurrency: int | None, runs_tasks: bool = True, runs_schedules: bool = False
) -> None:
    """Run a worker until it is told to stop.

    Raises:
        SettingsError: the settings do not allow it.
        CannotStart: a database is not there, or not up to date.
        ValueError: no part declares a task of one of the queues.
    """
    settings = load_settings()
    begin_telemetry(settings)
    worker = Worker(
        settings, queues=queues, concurrency=concurrency, runs_tasks=runs_tasks, runs_schedules=runs_schedules
    )
    known = {task.queue for task in worker.runtime.tasks.values()}
    if unknown := sorted(set(queues or ()) - known):
        raise ValueError(f"no task is on {', '.join(unknown)}; the queues are {', '.join(sorted(known))}")
    if runs_tasks and settings.tasks.runner == "celery":
        _work_for_celery(worker, sorted(queues or known), concurrency or settings.tasks.concurrency)
    else:
        uvloop.run(_until_told(worker))


async def _until_told(worker: Worker) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    try:
        await worker.start()
        log.info("worker.started")
        await told.wait()
    finally:
        await worker.stop()


def _work_for_celery(worker: Worker, queues: list[str], concurrency: int) -> None:
    """Be a worker of Celery: its threads wait for messages and for the end of tasks, which run in one loop."""
    from celery.exceptions import Reject  # noqa: PLC0415 - an extra, loaded where it is used
    from celery.signals import worker_ready, worker_shutting_down  # noqa: PLC0415

    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tasks", daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(worker.start(), loop).result()
    app = celery_app(worker.runtime.settings, queues)

    def doing(name: str) -> Callable[[str, str], None]:
        def run(workspace_id: str, task_id: str) -> None:
            work = worker.runner.run_one(name, UUID(workspace_id), UUID(task_id))
            if not asyncio.run_coroutine_threadsafe(work, loop).result():
                # For another worker.
                raise Reject("This worker is about to end.", requeue=True)

        return run

    for name in worker.runtime.tasks:
        app.task(doing(name), name=name, shared=False)

    def end(**_: Any) -> None:
        # While Celery waits for its threads: what takes too long is handed back, so that they end.
        timeout = worker.runtime.settings.server.shutdown_timeout_seconds
        asyncio.run_coroutine_threadsafe(worker.runner.stop(timeout), loop)

    def ready(**_: Any) -> None:
        log.info("worker.started")

    worker_ready.connect(ready, weak=False)
    worker_shutting_down.connect(end, weak=False)
    try:
        app.worker_main(
            [
                "worker",
                "--pool=threads",
                f"--concurrency={concurrency}",
                f"--queues={','.join(map(queue_name, queues))}",
                f"--hostname=courtyard-{os.getpid()}@%h",
                "--without-mingle",
                "--loglevel=WARNING",
            ]
        )
    finally:
        asyncio.run_coroutine_threadsafe(worker.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def watch(arguments: list[str]) -> None:
    """Run Flower on the broker of the settings; it shows tasks by name and id, and nothing of what they are about."""
    settings = load_settings(make_secrets=False)
    declared = {task.queue for part in parts(settings) for task in part.tasks}
    celery_app(settings, sorted(declared)).start(["flower", *arguments])
