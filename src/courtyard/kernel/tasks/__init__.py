"""Background work: declared functions, asked for in the transaction of a change, done after its commit.

The database remembers what there is to do; what does it is configuration. Stands on the context and the web layer.
Knows nothing of what the parts have done.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.events import Topic
from courtyard.kernel.http import SIGNED_IN
from courtyard.kernel.tasks.administration import AUDIT_NAMES
from courtyard.kernel.tasks.declarations import Again, GiveUp, Retry, Task, task
from courtyard.kernel.tasks.events import EVENTS, OPERATION_TOPIC
from courtyard.kernel.tasks.models import ScheduleRow, TaskRow
from courtyard.kernel.tasks.permissions import PERMISSIONS, ROLES
from courtyard.kernel.tasks.progress import report
from courtyard.kernel.tasks.queries import may_hear_operation
from courtyard.kernel.tasks.routes import OPERATION_ROUTES, ROUTES, accepted
from courtyard.kernel.tasks.runner import Runner
from courtyard.kernel.tasks.scheduler import Scheduler
from courtyard.kernel.tasks.schedules import Schedule
from courtyard.kernel.tasks.schemas import Operation
from courtyard.kernel.tasks.sending import Sender, celery_app, queue_name
from courtyard.kernel.tasks.service import TASKS_CHANNEL, enqueue
from courtyard.kernel.tasks.store import QueueCount, count_failed, count_live
from courtyard.kernel.tasks.upkeep import SCHEDULES, TASKS, Nothing

__all__ = [
    "TASKS_CHANNEL",
    "Again",
    "GiveUp",
    "Nothing",
    "Operation",
    "QueueCount",
    "Retry",
    "Runner",
    "Schedule",
    "ScheduleRow",
    "Scheduler",
    "Sender",
    "Task",
    "TaskRow",
    "accepted",
    "celery_app",
    "count_failed",
    "count_live",
    "enqueue",
    "operations",
    "queue_name",
    "report",
    "task",
    "tasks",
]

tasks = Application(
    name="tasks",
    description="Background work.",
    models=(TaskRow, ScheduleRow),
    migrations=Path(__file__).parent / "migrations",
    permissions=PERMISSIONS,
    roles=ROLES,
    routes=ROUTES,
    audit_names=AUDIT_NAMES,
    tasks=TASKS,
    schedules=SCHEDULES,
)

operations = Application(
    name="operations",
    description="What takes a while, for whoever has asked for it.",
    routes=OPERATION_ROUTES,
    events=EVENTS,
    topics=(
        Topic(
            kind=OPERATION_TOPIC,
            description="How an operation is going, for whoever has asked for it.",
            permission=SIGNED_IN,
            authorise=may_hear_operation,
            has_id=True,
        ),
    ),
)
