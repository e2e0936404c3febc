"""Work beside the requests: tasks that are kept, whose failures are seen, and that end together."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
from redis.exceptions import RedisError

from courtyard.kernel.errors import Problem

log = structlog.get_logger()

T = TypeVar("T")

AGAIN_SECONDS = 0.1

# Something that the server stands on is away. That is a line in the log; anything else is a fault of ours.
OPERATIONAL = (Problem, RedisError, OSError)


class Background:
    """The tasks of one part of the server."""

    def __init__(self) -> None:
        # The loop itself keeps no task from being collected.
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something now, beside everything else."""
        self.task(work)  # type: ignore[unused-awaitable]

    def task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do something now, and return the task for those who want to wait for its end."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _report(task.get_coro(), error)

    def every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        """Do something again and again; a failure is logged and ends nothing."""
        self.spawn(self._repeat(seconds, work))

    async def _repeat(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next turn may go well
                _report(work, error)

    async def end(self) -> None:
        """Cancel everything, and wait until it has ended."""
        while tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            # `wait_for` of Python 3.11, which libraries use, can swallow a cancellation: then another one is needed.
            await asyncio.wait(tasks, timeout=AGAIN_SECONDS)


def _report(work: object, error: BaseException) -> None:
    name = getattr(work, "__qualname__", str(work))
    if isinstance(error, OPERATIONAL):
        log.warning("background.failed", work=name, error=f"{type(error).__name__}: {error}")
    else:
        log.error("background.fault", work=name, exc_info=error)
