"""The application of `tally`: one task, which strikes."""

from benchmarks.tally import strike
from courtyard.kernel.application import Application
from courtyard.kernel.context import Context
from courtyard.kernel.tasks import Nothing, task


@task(name="tally.strike")
async def stroke(_context: Context, _payload: Nothing) -> None:
    """Do nothing that the database hears of."""
    strike()


application = Application(name="tally", description="A task that does nothing.", tasks=(stroke,))
