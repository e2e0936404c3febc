"""The context in which a task runs."""

from courtyard.kernel.context import Access, Context
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.tasks.store import Claimed
from courtyard.kernel.trail import Described, Origin


class TaskContext(Context):
    """What one try of a task changes, committed with the note that it is done.

    Attributes:
        task: the row that was taken.
    """

    __slots__ = ("task",)

    def __init__(self, runtime: Runtime, task: Claimed, access: Access | None) -> None:
        super().__init__(runtime, None, access, task.request_id, Origin("task", self._describe))
        self.task = task

    def _describe(self) -> Described:
        task = self.task
        return Described(arguments={"task": task.name, "task_id": str(task.id), "attempt": task.attempt})
