"""Asks for the tasks of schedules when their time has come: any number of processes may, and each time counts once."""

from datetime import datetime
from uuid import UUID

import structlog

from courtyard.kernel.context import Context
from courtyard.kernel.database import DatabaseUnavailable, ReadUnit
from courtyard.kernel.events import Background
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.tasks import service, store
from courtyard.kernel.tasks.schedules import Schedule
from courtyard.kernel.tasks.store import Planned
from courtyard.kernel.trail import Origin

log = structlog.get_logger()


class Scheduler:
    """Looks after the schedules of the installation.

    Args:
        runtime: the process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._background = Background()
        # The next time that anything is due, as far as this process knows.
        self._next_at: datetime | None = None

    def start(self) -> None:
        """Begin, with what was missed first."""
        if self._runtime.schedules:
            self._background.spawn(self._first())

    async def stop(self) -> None:
        """End."""
        await self._background.end()

    async def _first(self) -> None:
        try:
            await self.turn()
        except DatabaseUnavailable as error:
            log.warning("schedule.database_away", error=error.detail)
        self._background.every(self._runtime.settings.tasks.sweep_seconds, self.turn)

    async def turn(self) -> None:
        """Ask for what is due."""
        now = self._runtime.clock.now()
        if self._next_at is not None and now < self._next_at:
            return
        rows = {row.name: row for row in await store.planned(ReadUnit(self._runtime.placement))}
        times = [await self._keep(schedule, rows.get(name), now) for name, schedule in self._runtime.schedules.items()]
        self._next_at = min(times, default=None)

    async def _keep(self, schedule: Schedule, row: Planned | None, now: datetime) -> datetime:
        """Bring one schedule up to date, and return when it is due next."""
        next_at = schedule.next_after(now)
        context = Context(self._runtime, None, None, f"schedule {schedule.name}", Origin("system"))
        try:
            if row is None:
                await store.plan(context.db, schedule.name, schedule.plan, next_at)
            elif row.plan != schedule.plan:
                await store.plan_anew(context.db, row, schedule.plan, next_at)
            elif row.next_at > now:
                return row.next_at
            else:
                times = schedule.due(row.next_at, now)
                if not await store.move_on(context.db, row, schedule.next_after(max(now, times[-1])), times[-1]):
                    # Another process was quicker.
                    return next_at
                last = await self._ask(context, schedule, times)
                await store.note_task(context.db, schedule.name, last)
                log.info("schedule.due", schedule=schedule.name, times=len(times))
            await context.commit()
        finally:
            await context.rollback()
        return next_at

    async def _ask(self, context: Context, schedule: Schedule, times: list[datetime]) -> UUID:
        if schedule.missed == "skip":
            return await service.enqueue(context, schedule.task, schedule.payload, unique_key=schedule.name)
        asked = [
            await service.enqueue(context, schedule.task, schedule.payload, unique_key=f"{schedule.name} {each:%FT%T}")
            for each in times
        ]
        return asked[-1]
