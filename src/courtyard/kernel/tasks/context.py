"""The context in which a task runs."""

from typing import Protocol

from courtyard.kernel.context import Access, Context
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.tasks.store import Claimed
from courtyard.kernel.trail import Described, Origin


class Reporter(Protocol):
    """Tells how far a task is."""

    def say(self, phase: str | None, percent: int | None, message: str | None) -> None:
        """Take what is to be told."""
        ...


class TaskContext(Context):
    """What one try of a task changes, committed with the note that it is done.

    Attributes:
        task: the row that was taken.
        reporter: tells how far it is.
    """

    __slots__ = ("reporter", "task")

    def __init__(self, runtime: Runtime, task: Claimed, access: Access | None) -> None:
        super().__init__(runtime, None, access, task.request_id, Origin("task", self._describe))
        self.task = task
        self.reporter: Reporter | None = None

    def _describe(self) -> Described:
        task = self.task
        return Described(arguments={"task": task.name, "task_id": str(task.id), "attempt": task.attempt})
