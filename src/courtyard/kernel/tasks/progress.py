"""How far a task is: told while it runs, beside its own transaction, and not more often than people can read."""

import asyncio
from typing import Final

import structlog

from courtyard.kernel.context import Context
from courtyard.kernel.database import UnitOfWork
from courtyard.kernel.errors import Problem
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.tasks import store
from courtyard.kernel.tasks.context import TaskContext
from courtyard.kernel.tasks.operations import tell
from courtyard.kernel.tasks.store import Claimed

log = structlog.get_logger()

PAUSE_SECONDS: Final = 0.5
MAX_PHASE: Final = 100
MAX_MESSAGE: Final = 500


class Reporter:
    """Writes down how far one task is.

    Args:
        runtime: the process.
        claimed: the task.
    """

    def __init__(self, runtime: Runtime, claimed: Claimed) -> None:
        self._runtime = runtime
        self._claimed = claimed
        self._said: store.Progress | None = None
        self._latest = store.Progress(None, None, None)
        self._writing: asyncio.Task[None] | None = None

    def say(self, phase: str | None, percent: int | None, message: str | None) -> None:
        """Take what is to be told; what is None stays as it was."""
        before = self._latest
        self._latest = store.Progress(
            before.phase if phase is None else phase[:MAX_PHASE],
            before.percent if percent is None else max(0, min(100, percent)),
            before.message if message is None else message[:MAX_MESSAGE],
        )
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._said != self._latest:
            self._said = self._latest
            try:
                await self._write_down(self._said)
            except Problem as problem:
                # The work is what counts.
                log.info("task.progress_lost", task=self._claimed.name, error=str(problem))
            await asyncio.sleep(PAUSE_SECONDS)

    async def _write_down(self, progress: store.Progress) -> None:
        runtime, claimed = self._runtime, self._claimed
        unit = UnitOfWork(runtime.placement, claimed.workspace_id)
        try:
            if await store.note_progress(unit, claimed, progress) and claimed.is_operation:
                envelopes = await tell(unit, claimed.id, runtime.clock.now())
                await unit.commit()
                runtime.dispatcher.committed(envelopes)
            else:
                await unit.commit()
        finally:
            await unit.rollback()

    async def close(self) -> None:
        """Say nothing any more: the end of the task says the rest."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait([self._writing])


def report(
    context: Context, *, phase: str | None = None, percent: int | None = None, message: str | None = None
) -> None:
    """Tell whoever waits for this task how far it is; in any other context, nobody.

    It costs no time and is not part of the transaction: call it as often as you like. At most every half a second it is
    written down. On SQLite, which has one place for writers, that happens before the task's first change, or after it.

    Args:
        context: of the task.
        phase: what is being done, such as `copying`.
        percent: how far it is, from 0 to 100.
        message: a sentence for people.
    """
    if isinstance(context, TaskContext) and context.reporter is not None:
        context.reporter.say(phase, percent, message)
