"""What happens to operations. It is recorded on the topic of each."""

from typing import ClassVar
from uuid import UUID

from courtyard.kernel.events import Event
from courtyard.kernel.tasks.schemas import Operation

OPERATION_TOPIC = "operations.operation"


class OperationChanged(Event, frozen=True):
    """It has begun, has come further, or has ended."""

    name: ClassVar[str] = "operations.operation.changed"
    operation: Operation


EVENTS = (OperationChanged,)


def topic_of(operation_id: UUID) -> str:
    """Return the topic of an operation."""
    return f"{OPERATION_TOPIC}:{operation_id}"
