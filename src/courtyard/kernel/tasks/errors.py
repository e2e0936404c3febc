"""Problems of background work."""

from courtyard.kernel.errors import Conflict


class TaskEnded(Conflict):
    """What has ended cannot be cancelled."""

    code = "task_ended"
    title = "The task has ended"


class TaskNotEnded(Conflict):
    """Only what has failed or was cancelled can be done again."""

    code = "task_not_failed"
    title = "The task has not failed"


class TaskThere(Conflict):
    """Another task with the same unique key waits or runs."""

    code = "task_there_already"
    title = "The same is under way already"
