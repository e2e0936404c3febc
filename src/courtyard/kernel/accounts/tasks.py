"""Background work of accounts: removing what is over, a bounded number of rows in each transaction."""

from courtyard.kernel.accounts.service import pruning
from courtyard.kernel.context import Context
from courtyard.kernel.tasks import Again, Nothing, Schedule, task


@task(name="accounts.prune", priority=9)
async def prune(context: Context, _payload: Nothing) -> Again | None:
    """Remove credentials that are over, and counters that nobody needs."""
    return Again() if await pruning.prune(context) else None


TASKS = (prune,)
SCHEDULES = (Schedule(name="accounts.prune", task=prune, payload=Nothing(), cron="53 * * * *"),)
