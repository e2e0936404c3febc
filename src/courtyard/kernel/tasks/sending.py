"""Where Celery does the work: tells its broker of each task that is due, by its id alone.

The row is what counts. A message that the broker loses, or that comes when it is away, is sent again; one that comes
twice finds that somebody has the row already.
"""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

import structlog

from courtyard.kernel.database import Database, passing_over
from courtyard.kernel.events import Background, Signal
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import Settings
from courtyard.kernel.tasks import store
from courtyard.kernel.tasks.declarations import LAST
from courtyard.kernel.tasks.service import QUEUED
from courtyard.kernel.tasks.store import Unsent
from courtyard.kernel.telemetry import TASKS_SENT

log = structlog.get_logger()

LOT: Final = 500
# How long nothing is tried after the broker was away.
AWAY_SECONDS: Final = 1.0


def celery_app(settings: Settings, queues: list[str]) -> Any:  # noqa: ANN401 - Celery has no types
    """Return Celery as it is used here: no results, no state but that of the rows.

    Args:
        settings: with the address of the broker.
        queues: their names.
    """
    # An extra, loaded where it is used.
    from celery import Celery  # noqa: PLC0415
    from kombu.entity import Queue  # noqa: PLC0415

    make: Any = Queue
    tasks = settings.tasks
    if tasks.broker_url is None:
        raise ValueError("tasks.broker_url is not set")
    app = Celery("courtyard", broker=tasks.broker_url.get_secret_value(), set_as_current=False)
    arguments = {"queue_arguments": {"x-max-priority": LAST}} if tasks.is_rabbitmq else {}
    # RabbitMQ says of each message that it has it: what is on its way when a connection ends is lost without a word.
    transport: dict[str, Any] = {"confirm_publish": True}
    if not tasks.is_rabbitmq:
        transport = {
            "global_keyprefix": f"{settings.redis.prefix}:celery:",
            "socket_timeout": tasks.broker_timeout_seconds,
            "socket_connect_timeout": tasks.broker_timeout_seconds,
            "queue_order_strategy": "priority",
        }
    app.conf.update(
        broker_connection_timeout=tasks.broker_timeout_seconds,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=transport,
        task_queues=[make(queue_name(name), routing_key=queue_name(name), **arguments) for name in queues],
        task_default_queue=queue_name("default"),
        task_create_missing_queues=False,
        task_ignore_result=True,
        # What a worker that dies had is given out again; the row decides who does it.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=2,
        worker_hijack_root_logger=False,
        # Those of workers, three for each task, cost a third of what a worker does: Flower asks for them while it runs.
        task_send_sent_event=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    return app


def queue_name(queue: str) -> str:
    """Return what a queue is called at the broker."""
    return f"courtyard.{queue}"


class Sender:
    """Tells the broker of what is due, in every process that changes something.

    Args:
        runtime: the process.
    """

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings.tasks
        self._runtime = runtime
        self._settings = settings
        self._resend = timedelta(seconds=settings.resend_seconds)
        self._app = celery_app(runtime.settings, sorted({task.queue for task in runtime.tasks.values()}))
        # The library waits for the broker in its own way; requests do not.
        self._thread = ThreadPoolExecutor(1, "broker")
        self._background = Background()
        self._wake = asyncio.Event()
        self._quiet_until = 0.0

    def start(self) -> None:
        """Begin."""
        self._background.spawn(self._serve())
        self._background.every(self._settings.sweep_seconds, self._sweep)

    async def stop(self) -> None:
        """End. What was not sent, another process sends."""
        await self._background.end()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def heard(self, signal: Signal) -> None:
        """Take the signal that a task was committed."""
        if signal.kind == QUEUED:
            self._wake.set()

    async def _sweep(self) -> None:
        self._wake.set()

    async def adopt(self) -> None:
        """Hand over to the broker what was asked for while another runner was chosen."""
        for database in self._runtime.placement.databases():
            with passing_over(database):
                await store.hand_to_broker(database)

    async def _serve(self) -> None:
        await self.adopt()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if time.monotonic() < self._quiet_until:
                continue
            for database in self._runtime.placement.databases():
                with passing_over(database):
                    await self._send(database)

    async def _send(self, database: Database) -> None:
        sent = LOT
        while sent == LOT:
            lot = await store.to_send(database, self._runtime.clock.now(), self._resend, LOT)
            sent = len(lot)
            if not lot:
                return
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._publish, lot)
            except Exception as error:  # noqa: BLE001 - each transport has errors of its own
                log.warning("task.broker_away", error=f"{type(error).__name__}: {error}", waiting=len(lot))
                TASKS_SENT.labels("failed").inc(len(lot))
                self._quiet_until = time.monotonic() + AWAY_SECONDS
                await store.not_sent(database, lot, self._runtime.clock.now())
                return
            TASKS_SENT.labels("sent").inc(len(lot))

    def _publish(self, lot: list[Unsent]) -> None:
        with self._app.producer_pool.acquire(block=True, timeout=self._settings.broker_timeout_seconds) as producer:
            for one in lot:
                self._app.send_task(
                    one.name,
                    args=(str(one.workspace_id), str(one.id)),
                    task_id=str(one.id),
                    queue=queue_name(one.queue),
                    # The greater goes first at RabbitMQ, the smaller at Redis and here.
                    priority=LAST - one.priority if self._settings.is_rabbitmq else one.priority,
                    producer=producer,
                    retry=False,
                    confirm_timeout=self._settings.broker_timeout_seconds,
                    ignore_result=True,
                )
