"""The runner of one process: takes what is due out of every database, does it, and holds it meanwhile.

A commit wakes it at once; what nobody told it of, such as the tasks of a process that was killed, it finds in a sweep.
A task that is taken is leased: if nothing is heard of it until the lease ends, somebody else takes it, and whoever
had it can no longer settle it.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection, Iterable
from datetime import timedelta
from uuid import UUID

import structlog

from courtyard.kernel.database import Database, DatabaseUnavailable, passing_over
from courtyard.kernel.events import Background, Signal
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.tasks import store
from courtyard.kernel.tasks.execution import Executor
from courtyard.kernel.tasks.service import CANCELLED, QUEUED
from courtyard.kernel.tasks.store import Claimed
from courtyard.kernel.telemetry import TASK_SECONDS, TASK_WAIT_SECONDS, TASKS, continue_from

log = structlog.get_logger()

# How many heartbeats a lease lasts.
BEATS = 3


class _Held:
    """A task that this process has taken, on its way."""

    __slots__ = ("claimed", "database", "is_cancelled", "work")

    def __init__(self, database: Database, claimed: Claimed) -> None:
        self.database = database
        self.claimed = claimed
        self.work: asyncio.Task[str] | None = None
        # Somebody wants it to end, as opposed to: the process ends.
        self.is_cancelled = False


class Runner:
    """Runs the tasks of all databases in this process.

    Args:
        runtime: the process.
        queues: whose tasks it takes; None for all.
        concurrency: how many at once, by the settings unless given.
    """

    def __init__(
        self, runtime: Runtime, *, queues: Collection[str] | None = None, concurrency: int | None = None
    ) -> None:
        settings = runtime.settings.tasks
        self._runtime = runtime
        self._concurrency = concurrency or settings.concurrency
        self._sweep_seconds = settings.sweep_seconds
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._executor = Executor(runtime, self._settle_empty)
        tasks = [task for task in runtime.tasks.values() if queues is None or task.queue in queues]
        self._plain = sorted(task.name for task in tasks if task.concurrency is None)
        self._limited = {task.name: task.concurrency for task in tasks if task.concurrency is not None}
        self._background = Background()
        self._held: dict[UUID, _Held] = {}
        # Workspaces of which something was told, and databases that had more than there was room for.
        self._told: set[UUID] = set()
        self._hungry: set[Database] = set()
        self._wake = asyncio.Event()
        self._is_sweep_due = True
        self._is_stopping = False
        # Tasks that have changed nothing and wait to be noted together.
        self._empty: dict[Database, list[tuple[Claimed, asyncio.Future[bool]]]] = {}

    def start(self, *, takes: bool = True) -> None:
        """Begin, with what was left behind first.

        Args:
            takes: whether it looks for tasks by itself, as opposed to being given each by `run_one`.
        """
        if takes:
            self._wake.set()
            self._background.spawn(self._serve())
            self._background.every(self._sweep_seconds, self._sweep)
        self._background.every(self._lease.total_seconds() / BEATS, self._beat)

    async def run_one(self, name: str, workspace_id: UUID, task_id: UUID) -> bool:
        """Do the task of a message, if nobody has; return False where this process is about to end.

        Args:
            name: of the task.
            workspace_id: where its row is.
            task_id: which one.
        """
        if self._is_stopping:
            return False
        database = await self._runtime.placement.database_of(workspace_id)
        now = self._runtime.clock.now()
        claimed = await store.take_one(database, (workspace_id, task_id), self._limited.get(name), now, self._lease)
        if claimed is not None:
            self._begin(database, [claimed])
            held = self._held.get(task_id)
            if held is not None and held.work is not None:
                await asyncio.wait([held.work])
        return True

    async def stop(self, timeout_seconds: float) -> None:
        """Take nothing any more, let what runs end within a time, and hand back the rest."""
        self._is_stopping = True
        if running := [held.work for held in self._held.values() if held.work is not None]:
            await asyncio.wait(running, timeout=timeout_seconds)
        for held in list(self._held.values()):
            if held.work is not None:
                held.work.cancel()
        while left := [held.work for held in self._held.values() if held.work is not None]:
            await asyncio.wait(left)
        await self._background.end()

    def heard(self, signal: Signal) -> None:
        """Take the signal that a task was committed, or is to end, in this process or in another one."""
        if signal.kind == CANCELLED:
            held = self._held.get(UUID(bytes=signal.body))
            if held is not None:
                self._cancel(held)
        elif signal.kind == QUEUED:
            self._told.add(UUID(bytes=signal.body))
            self._wake.set()

    @property
    def running(self) -> int:
        """How many tasks this process has at this moment."""
        return len(self._held)

    async def _sweep(self) -> None:
        self._is_sweep_due = True
        self._wake.set()

    async def _serve(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            for database in await self._to_look():
                with passing_over(database):
                    await self._look(database)

    async def _to_look(self) -> Iterable[Database]:
        """Return the databases in which there may be something to do."""
        if self._is_stopping or len(self._held) >= self._concurrency:
            # The end of a task wakes this again.
            return ()
        told, self._told = self._told, set()
        hungry, self._hungry = self._hungry, set()
        if self._is_sweep_due:
            self._is_sweep_due = False
            return self._runtime.placement.databases()
        for workspace_id in told:
            # One that is away is looked for by the sweep.
            with contextlib.suppress(DatabaseUnavailable):
                hungry.add(await self._runtime.placement.database_of(workspace_id))
        return hungry

    async def _look(self, database: Database) -> None:
        """Take what is due, as far as there is room."""
        now = self._runtime.clock.now()
        room = self._concurrency - len(self._held)
        for name, slots in self._limited.items():
            if room > 0:
                taken = await store.take_limited(database, name, slots, now, self._lease, room)
                room -= len(taken)
                self._begin(database, taken)
        if room > 0:
            taken = await store.take(database, self._plain, now, self._lease, room)
            room -= len(taken)
            self._begin(database, taken)
        if room <= 0:
            self._hungry.add(database)

    def _begin(self, database: Database, taken: Iterable[Claimed]) -> None:
        for claimed in taken:
            if claimed.id in self._held:
                # Its lease ended while it ran here: let it go, and take it at the next look.
                self._held[claimed.id].work.cancel()  # type: ignore[union-attr]
                continue
            held = self._held[claimed.id] = _Held(database, claimed)
            held.work = self._background.task(self._run(held))

    async def _run(self, held: _Held) -> str:
        claimed = held.claimed
        waited = (self._runtime.clock.now() - claimed.ready_at).total_seconds()
        TASK_WAIT_SECONDS.observe((claimed.queue,), max(0.0, waited))
        started = time.perf_counter()
        outcome = "handed_back"
        try:
            # In the trace of whoever asked for it.
            with continue_from(claimed.traceparent, "task", attributes={"courtyard.task": claimed.name}) as span:
                outcome = await self._outcome(held)
                span.set("courtyard.outcome", outcome)
        except DatabaseUnavailable as error:
            # Its lease ends by itself.
            outcome = "lost"
            log.warning("task.not_settled", task=claimed.name, task_id=str(claimed.id), error=error.detail)
        finally:
            del self._held[claimed.id]
            TASKS.labels(claimed.name, outcome).inc()
            TASK_SECONDS.observe((claimed.name,), time.perf_counter() - started)
            if claimed.name in self._limited:
                # There is a free slot.
                self._told.add(claimed.workspace_id)
            self._wake.set()
        return outcome

    async def _outcome(self, held: _Held) -> str:
        try:
            return await self._executor.run(held.claimed)
        except asyncio.CancelledError:
            if held.is_cancelled:
                return await self._executor.cancelled(held.claimed)
            await self._executor.hand_back(held.claimed)
            raise

    def _cancel(self, held: _Held) -> None:
        if held.work is not None and not held.is_cancelled:
            held.is_cancelled = True
            held.work.cancel()

    async def _beat(self) -> None:
        """Hold what runs here, let go of what another process has taken, and end what is to end."""
        by_database: dict[Database, list[_Held]] = {}
        for held in self._held.values():
            by_database.setdefault(held.database, []).append(held)
        for database, mine in by_database.items():
            try:
                lost_at = self._runtime.clock.now() + self._lease
                beats = {beat.id: beat for beat in await store.beat(database, [one.claimed for one in mine], lost_at)}
            except DatabaseUnavailable as error:
                log.warning("task.beat_failed", error=error.detail)
                continue
            for held in mine:
                beat = beats.get(held.claimed.id)
                if beat is not None and beat.cancel_requested:
                    self._cancel(held)
                elif beat is None and held.work is not None:
                    # It may have been settled just now; then there is nothing left to cut off.
                    held.work.cancel()

    async def _settle_empty(self, claimed: Claimed) -> bool:
        """Note, together with others, that a task which has changed nothing is done; return whether it still counts."""
        database = self._held[claimed.id].database
        noted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = self._empty.get(database)
        if waiting is None:
            self._empty[database] = [(claimed, noted)]
            self._background.spawn(self._note(database))
        else:
            waiting.append((claimed, noted))
        return await noted

    async def _note(self, database: Database) -> None:
        # Whatever ends in this turn of the loop goes along.
        await asyncio.sleep(0)
        waiting = self._empty.pop(database)
        try:
            settled = await store.settle_many(database, [one for one, _ in waiting], self._runtime.clock.now())
        except BaseException as error:
            for _, noted in waiting:
                if not noted.done():
                    noted.set_exception(error if isinstance(error, Exception) else DatabaseUnavailable("stopped"))
            if not isinstance(error, DatabaseUnavailable):
                raise
            return
        for claimed, noted in waiting:
            if not noted.done():
                noted.set_result(claimed.id in settled)
