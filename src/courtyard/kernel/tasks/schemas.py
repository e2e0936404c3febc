"""What administrators see of tasks, and what people see of what they wait for."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

State: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled"]
TaskName = Annotated[str, Meta(min_length=1, max_length=100, description="Such as `files.thumbnail`.")]
Queue = Annotated[str, Meta(min_length=1, max_length=50, description="Name of a queue.")]


class TaskSummary(msgspec.Struct, frozen=True):
    """A task in a list.

    Attributes:
        attempt: how often it was taken.
        tries: how many of these count against its retries.
        ready_at: from when on it is meant to run.
        account_id: who asked for it; null for the house.
        request_id: of the request that asked for it.
        problem: why the last try failed.
    """

    id: UUID
    name: str
    queue: str
    priority: int
    state: State
    attempt: int
    tries: int
    created_at: datetime
    ready_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    account_id: UUID | None
    request_id: str
    problem: msgspec.Raw | None


class TaskDetail(TaskSummary, frozen=True):
    """A task.

    Attributes:
        percent: how far it says it is.
    """

    unique_key: str | None
    concurrency_key: str
    cancel_requested: bool
    phase: str | None
    percent: int | None
    message: str | None
    payload: msgspec.Raw
    result: msgspec.Raw | None


class Operation(msgspec.Struct, frozen=True):
    """Something that takes a while, as whoever asked for it sees it.

    Attributes:
        name: what it is.
        phase: what is being done just now.
        percent: how far it is, null where nobody knows.
        message: a sentence for people.
        cancel_requested: whether it is to end early.
        result: what came out, when it is done.
        problem: why it failed; of the last try, while it waits for another.
        ended_at: null as long as it goes on.
    """

    id: UUID
    name: str
    state: State
    phase: str | None
    percent: int | None
    message: str | None
    cancel_requested: bool
    result: msgspec.Raw | None
    problem: msgspec.Raw | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
