"""Background work: declared functions, asked for in the transaction of a change, done after its commit.

The database remembers what there is to do; what does it is configuration. Stands on the context and the web layer.
Knows nothing of what the parts have done.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.tasks.declarations import Again, GiveUp, Retry, Task, task
from courtyard.kernel.tasks.models import ScheduleRow, TaskRow
from courtyard.kernel.tasks.runner import Runner
from courtyard.kernel.tasks.scheduler import Scheduler
from courtyard.kernel.tasks.schedules import Schedule
from courtyard.kernel.tasks.service import TASKS_CHANNEL, enqueue
from courtyard.kernel.tasks.upkeep import SCHEDULES, TASKS

__all__ = [
    "TASKS_CHANNEL",
    "Again",
    "GiveUp",
    "Retry",
    "Runner",
    "Schedule",
    "ScheduleRow",
    "Scheduler",
    "Task",
    "TaskRow",
    "enqueue",
    "task",
    "tasks",
]

tasks = Application(
    name="tasks",
    description="Background work.",
    models=(TaskRow, ScheduleRow),
    migrations=Path(__file__).parent / "migrations",
    tasks=TASKS,
    schedules=SCHEDULES,
)
