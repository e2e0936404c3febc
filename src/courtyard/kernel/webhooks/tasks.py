"""Background work of webhooks: making deliveries of what the database has noted, and forgetting old ones."""

from datetime import timedelta

import structlog

from courtyard.kernel.context import Access, Context
from courtyard.kernel.database import passing_over
from courtyard.kernel.events import Background
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.tasks import Nothing, Schedule, task
from courtyard.kernel.trail import Origin
from courtyard.kernel.webhooks import queries
from courtyard.kernel.webhooks.service import deliveries
from courtyard.kernel.webhooks.service.deliveries import PRUNE, deliver

log = structlog.get_logger()

# How many workspaces of a database have their turn at once.
WORKSPACES = 100
LOT = 500


class Fanout:
    """The fan-out of one process. Every process may have one: a note is taken by one of them.

    Args:
        runtime: the process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._background = Background()

    def start(self) -> None:
        """Begin."""
        self._background.every(self._runtime.settings.webhooks.sweep_seconds, self.turn)

    async def stop(self) -> None:
        """End. What was noted stays noted."""
        await self._background.end()

    async def turn(self) -> None:
        """Look into every database once; one that is away or behind keeps none of the others waiting."""
        for database in self._runtime.placement.databases():
            with passing_over(database):
                for workspace_id in await queries.workspaces_with_pending(database, WORKSPACES):
                    taken = deliveries.LOT
                    while taken == deliveries.LOT:
                        taken = await self._of(Access(workspace_id, "", frozenset(), frozenset()))

    async def _of(self, access: Access) -> int:
        context = Context(self._runtime, None, access, "webhooks", Origin("system"))
        try:
            taken = await deliveries.fan_out(context)
            await context.commit()
        finally:
            await context.rollback()
        return taken


@task(name="webhooks.prune", priority=9, time_limit_seconds=3_600)
async def prune(context: Context, _payload: Nothing) -> None:
    """Forget deliveries that were settled long ago, a bounded number in each transaction, in every database."""
    before = context.now - timedelta(days=context.runtime.settings.webhooks.kept_days)
    for database in context.runtime.placement.databases():
        with passing_over(database):
            while len(await database.fetch(PRUNE, {"before": before, "limit": LOT}, writers=True)) == LOT:
                pass


TASKS = (deliver, prune)
SCHEDULES = (Schedule(name="webhooks.prune", task=prune, payload=Nothing(), cron="41 * * * *"),)
