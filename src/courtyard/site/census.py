"""What waits in the databases, counted every so often, as no process knows it by itself.

The figures are those of the installation, not of the process that tells them: whoever looks after schedules counts, and
where several do, each of them tells the same. So they are for `max`, not for `sum`.
"""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from courtyard.kernel.database import Database
from courtyard.kernel.events import Background
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.tasks import count_failed, count_live
from courtyard.kernel.telemetry import Reading
from courtyard.kernel.webhooks import count_notes

log = structlog.get_logger()

SECONDS: Final = 10.0
# Of the time, at the most, that counting may take.
SHARE: Final = 0.1
STATES: Final = ("waiting", "delayed", "running", "failed")
# The queue of what no part declares any more.
OTHER: Final = "(other)"

_QUEUE = f"Declared queues; `{OTHER}` for what no part declares any more."
_WHO = "Of the installation, told by each process that looks after schedules: take the maximum, not the sum."
TASKS = Reading("courtyard_tasks_kept", "gauge", f"Tasks, by how they stand. {_WHO}", queue=_QUEUE, state=STATES)
OLDEST = Reading(
    "courtyard_task_oldest_seconds",
    "gauge",
    f"Time since when the task that waits for longest could have begun; 0 where none waits. {_WHO}",
    queue=_QUEUE,
)
NOTES = Reading(
    "courtyard_webhook_notes_waiting", "gauge", f"Events for which no deliveries have been made yet. {_WHO}"
)


class Census(Collector):
    """Counts for one process.

    Args:
        runtime: the process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._background = Background()
        self._next = 0.0
        self._queues = {task.queue for task in runtime.tasks.values()}
        # Empty before anything was counted, and while nothing can be.
        self._counted: tuple[Metric, ...] = ()

    def start(self) -> None:
        """Begin."""
        self._background.spawn(self._turn())
        self._background.every(SECONDS, self._turn)

    async def stop(self) -> None:
        """End."""
        await self._background.end()

    async def _turn(self) -> None:
        # Many tasks take long to count, which is then done less often.
        if (started := time.monotonic()) >= self._next:
            await self.count()
            self._next = started + (time.monotonic() - started) / SHARE

    async def count(self) -> None:
        """Look into every database once; what is in one that is away, nobody can do now."""
        found = _Found(self._queues)
        answers = 0
        for database in self._runtime.placement.databases():
            try:
                await found.look(database, self._runtime.clock.now())
                answers += 1
            except Exception as error:  # noqa: BLE001 - one that is behind has other tables; that is told elsewhere
                log.warning("census.not_counted", error=f"{type(error).__name__}: {error}")
        self._counted = found.metrics() if answers else ()

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield what was counted last; nothing where nothing was."""
        yield from self._counted


class _Found:
    """What has been counted so far, with a 0 for what is declared and was not met."""

    def __init__(self, queues: set[str]) -> None:
        self._queues = queues
        self._tasks = Counter({(queue, state): 0 for queue in queues for state in STATES})
        self._oldest = dict.fromkeys(queues, 0.0)
        self._notes = 0

    async def look(self, database: Database, now: datetime) -> None:
        """Add what is in a database."""
        for live in await count_live(database, now):
            queue = self._label(live.queue)
            for state in ("waiting", "delayed", "running"):
                self._tasks[queue, state] += getattr(live, state)
            if live.ready_at is not None:
                waited = (now - live.ready_at).total_seconds()
                self._oldest[queue] = max(waited, self._oldest.get(queue, 0.0))
        for name, failed in (await count_failed(database)).items():
            self._tasks[self._label(name), "failed"] += failed
        self._notes += await count_notes(database)

    def _label(self, queue: str) -> str:
        return queue if queue in self._queues else OTHER

    def metrics(self) -> tuple[Metric, ...]:
        """Return all of it."""
        oldest = {(queue,): seconds for queue, seconds in self._oldest.items()}
        return TASKS.of(self._tasks), OLDEST.of(oldest), NOTES.of({(): self._notes})  # type: ignore[arg-type]
