"""Processes beside the servers: `courtyard worker` runs tasks, `courtyard scheduler` asks for those that are due."""

import asyncio
import signal
from collections.abc import Collection

import structlog

from courtyard import site
from courtyard.kernel.events import Background, Signal
from courtyard.kernel.key_watch import KeyWatch
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import Settings, load_settings
from courtyard.kernel.tasks import TASKS_CHANNEL, Runner, Scheduler
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
        self._runner = Runner(self.runtime, queues=queues, concurrency=concurrency) if runs_tasks else None
        self._scheduler = Scheduler(self.runtime) if runs_schedules else None
        self._keys = KeyWatch(settings, self.runtime.signing, self.runtime.encryption)
        self._metrics = site.MetricsServer(self.runtime)
        self._background = Background()

    async def start(self) -> None:
        """Begin, with databases that are up to date."""
        await site.prepare(self.runtime)
        await self._metrics.start()
        await self.runtime.bus.start(self._heard)
        self._background.every(KEY_WATCH_SECONDS, self._keys.look)
        if self._runner is not None:
            await self.runtime.bus.listen(TASKS_CHANNEL)
            self._runner.start()
        if self._scheduler is not None:
            self._scheduler.start()

    async def stop(self) -> None:
        """Let what runs end within the time that a stop has, hand back the rest, and let go of everything."""
        await self._background.end()
        await self._metrics.stop()
        if self._scheduler is not None:
            await self._scheduler.stop()
        if self._runner is not None:
            await self._runner.stop(self.runtime.settings.server.shutdown_timeout_seconds)
        await self.runtime.close()
        await end_telemetry()

    def _heard(self, signal_: Signal) -> None:
        if self._runner is not None:
            self._runner.heard(signal_)


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
    # The loop that the servers have, too.
    import uvloop  # noqa: PLC0415

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
