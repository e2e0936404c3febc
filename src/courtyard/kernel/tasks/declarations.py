"""How a part declares its background work."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from random import SystemRandom
from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from courtyard.kernel.context import Context

P = TypeVar("P", bound=msgspec.Struct)
Body = Callable[[Context, P], Awaitable[Any]]

DEFAULT_QUEUE = "default"
FIRST, DEFAULT_PRIORITY, LAST = 0, 5, 9
MAX_NAME = 100
MAX_QUEUE = 50
_RANDOM = SystemRandom()


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often a task is tried, and how long it waits in between: twice as long each time.

    Attributes:
        attempts: tries in all, the first included.
        first_pause_seconds: before the second try.
        longest_pause_seconds: the pause is never longer.
        jitter: the part of a pause that is left to chance, from 0 to 1, so that what failed together does not come
            back together.
    """

    attempts: int = 5
    first_pause_seconds: float = 2.0
    longest_pause_seconds: float = 600.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if self.attempts < 1 or not 0 <= self.jitter <= 1 or self.first_pause_seconds < 0:
            raise ValueError(f"not a policy to follow: {self}")

    def pause(self, tries: int, *, chance: float | None = None) -> timedelta:
        """Return how long to wait after so many tries.

        Args:
            tries: how many have failed, 1 after the first.
            chance: from 0 to 1, drawn unless given.
        """
        full = min(self.longest_pause_seconds, self.first_pause_seconds * 2.0 ** min(tries - 1, 60))
        drawn = _RANDOM.random() if chance is None else chance
        return timedelta(seconds=full * (1 - self.jitter * drawn))


class Again(msgspec.Struct, frozen=True):
    """What a task returns to have what it did so far committed and to be run again: one bounded step of longer work.

    Attributes:
        after_seconds: how long it waits before.
    """

    after_seconds: float = 0.0


class GiveUp(Exception):
    """Raised in a task: it has failed, and another try would too. The message is kept for administrators."""


@dataclass(frozen=True, kw_only=True)
class Task(Generic[P]):
    """A declared function that is run in the background. Made by `task`.

    Attributes:
        name: begins with that of its part: `files.thumbnail`.
        function: what is done.
        queue: what workers can be given a share of.
        priority: from 0, which goes first, to 9.
        retry: what follows a failure.
        time_limit_seconds: after which a try is cut off and counts as failed.
        concurrency: how many of one workspace and one concurrency key run at once; None for any number.
        operation: whether whoever asks for it may watch and cancel it, at `/operations/{id}`.
    """

    name: str
    function: Body[P] = field(repr=False)
    queue: str = DEFAULT_QUEUE
    priority: int = DEFAULT_PRIORITY
    retry: Retry = field(default_factory=Retry)
    time_limit_seconds: float = 300.0
    concurrency: int | None = None
    operation: bool = False

    def __post_init__(self) -> None:
        if not FIRST <= self.priority <= LAST:
            raise ValueError(f"{self.name}: a priority is from {FIRST} to {LAST}")
        if self.time_limit_seconds <= 0 or (self.concurrency is not None and self.concurrency < 1):
            raise ValueError(f"{self.name}: a limit is greater than 0")
        if not 0 < len(self.name) <= MAX_NAME or not 0 < len(self.queue) <= MAX_QUEUE:
            raise ValueError(f"{self.name}: names are not that long")

    @cached_property
    def payload_type(self) -> type[P]:
        """The Struct that the function takes.

        Raises:
            TypeError: it takes something else.
        """
        hints = [hint for name, hint in get_type_hints(self.function).items() if name != "return"]
        if len(hints) != len(("context", "payload")) or not issubclass(hints[1], msgspec.Struct):
            raise TypeError(f"{self.name}: a task takes a context and a Struct")
        payload_type: type[P] = hints[1]
        return payload_type

    @cached_property
    def decoder(self) -> "msgspec.json.Decoder[P]":
        """Reads the payload of a row."""
        return msgspec.json.Decoder(self.payload_type)

    async def __call__(self, context: Context, payload: P) -> Any:  # noqa: ANN401 - what the function returns
        """Do it now, in this context."""
        return await self.function(context, payload)


def task(
    *,
    name: str,
    queue: str = DEFAULT_QUEUE,
    priority: int = DEFAULT_PRIORITY,
    retry: Retry | None = None,
    time_limit_seconds: float = 300.0,
    concurrency: int | None = None,
    operation: bool = False,
) -> Callable[[Body[P]], Task[P]]:
    """Make a function into a task, to be listed in `Application.tasks` and asked for with `enqueue`.

    The function gets a context with a transaction of its own, which is committed together with the note that the task
    is done: what it changes in the database of its workspace happens once, however often it is tried. It acts for the
    house: it has every permission in its workspace, and whoever asks for it has been asked for theirs. What it
    returns (None, or anything that JSON holds) is kept as its result. See `Task` for the arguments.
    """

    def declare(function: Body[P]) -> Task[P]:
        return Task(
            name=name,
            function=function,
            queue=queue,
            priority=priority,
            retry=retry or Retry(),
            time_limit_seconds=time_limit_seconds,
            concurrency=concurrency,
            operation=operation,
        )

    return declare
