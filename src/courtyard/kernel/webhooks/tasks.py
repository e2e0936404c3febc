"""Background work of webhooks."""

from datetime import timedelta

import msgspec

from courtyard.kernel.context import Context
from courtyard.kernel.tasks import Schedule, task
from courtyard.kernel.webhooks.service.deliveries import PRUNE, deliver

LOT = 500


class Nothing(msgspec.Struct, frozen=True):
    """A payload with nothing in it."""


@task(name="webhooks.prune", priority=9, time_limit_seconds=3_600)
async def prune(context: Context, _payload: Nothing) -> None:
    """Forget deliveries that were settled long ago, a bounded number in each transaction, in every database."""
    before = context.now - timedelta(days=context.runtime.settings.webhooks.kept_days)
    for database in context.runtime.placement.databases():
        while len(await database.fetch(PRUNE, {"before": before, "limit": LOT}, writers=True)) == LOT:
            pass


TASKS = (deliver, prune)
SCHEDULES = (Schedule(name="webhooks.prune", task=prune, payload=Nothing(), cron="41 * * * *"),)
