"""What the engine has its own engine do: removing the rows of tasks that ended long ago."""

from datetime import timedelta

import msgspec

from courtyard.kernel.context import Context
from courtyard.kernel.database import passing_over
from courtyard.kernel.tasks import store
from courtyard.kernel.tasks.declarations import task
from courtyard.kernel.tasks.schedules import Schedule

LOT = 1_000


class Nothing(msgspec.Struct, frozen=True):
    """A payload with nothing in it."""


@task(name="tasks.prune", priority=9, time_limit_seconds=3_600)
async def prune(context: Context, _payload: Nothing) -> None:
    """Remove the rows of tasks that ended long ago, a bounded number in each transaction, in every database."""
    settings, now = context.runtime.settings.tasks, context.now
    ages = {False: timedelta(days=settings.kept_days), True: timedelta(days=settings.failed_kept_days)}
    for database in context.runtime.placement.databases():
        with passing_over(database):
            for is_failed, age in ages.items():
                while await store.prune(database, now - age, is_failed=is_failed, limit=LOT) == LOT:
                    pass


TASKS = (prune,)
SCHEDULES = (Schedule(name="tasks.prune", task=prune, payload=Nothing(), cron="17 * * * *"),)
