"""Background work of workspaces: removing what is over, a bounded number of rows in each transaction."""

from courtyard.kernel.context import Context
from courtyard.kernel.tasks import Again, Nothing, Retry, Schedule, task
from courtyard.kernel.workspaces.service import removal

SWEEP_SECONDS = 60
# The database of a workspace may be away for hours.
RETRY = Retry(attempts=20)


@task(name="workspaces.clean_up", priority=9, retry=RETRY)
async def clean_up(context: Context, _payload: Nothing) -> Again | None:
    """Remove deleted workspaces, expired invitations and what else is over there."""
    return Again() if await removal.clean_up(context) else None


TASKS = (clean_up,)
SCHEDULES = (Schedule(name="workspaces.clean_up", task=clean_up, payload=Nothing(), every_seconds=SWEEP_SECONDS),)
