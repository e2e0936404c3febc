"""One try of a task: in a context of its own, which is committed together with what became of it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog

from courtyard.kernel.context import Access
from courtyard.kernel.database import INSTALLATION, Prepared, UnitOfWork
from courtyard.kernel.errors import Problem, ProblemDocument
from courtyard.kernel.redaction import redacted_text
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.tasks import store
from courtyard.kernel.tasks.context import TaskContext
from courtyard.kernel.tasks.declarations import Again, GiveUp, Task
from courtyard.kernel.tasks.operations import tell
from courtyard.kernel.tasks.progress import Reporter
from courtyard.kernel.tasks.store import Claimed

log = structlog.get_logger()

MAX_RESULT_BYTES = 65_536
MAX_DETAIL = 2_000
SERVER_ERROR = 500


class TaskLost(Exception):
    """Another process has taken the task meanwhile: what was done here is undone."""


class TooSlow(Exception):
    """A try has reached its time limit."""


class Executor:
    """Runs tasks, one try each.

    Args:
        runtime: the process.
        settle_empty: notes that tasks which have changed nothing are done; many of them in one transaction.
    """

    def __init__(self, runtime: Runtime, settle_empty: Callable[[Claimed], Awaitable[bool]]) -> None:
        self._runtime = runtime
        self._settle_empty = settle_empty
        self._everything = frozenset(runtime.permissions)

    async def run(self, claimed: Claimed) -> str:
        """Do what there is to do, and return what became of it, as the metric names it.

        A cancellation undoes what was changed, and leaves the row as it is.
        """
        task = self._runtime.tasks[claimed.name]
        if claimed.tries > task.retry.attempts:
            # Nobody came back from the last try to say so.
            lost = _problem("worker_lost", "Its worker was lost each time it was tried.")
            return await self._conclude(claimed, "failed", None, lost)
        limit = asyncio.timeout(task.time_limit_seconds)
        try:
            async with limit:
                return await self._try(task, claimed)
        except TaskLost:
            log.warning("task.lost", **_said(claimed))
            return "lost"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the end of this try alone
            if limit.expired() and isinstance(error, TimeoutError):
                error = TooSlow(f"It had not ended after {task.time_limit_seconds:g} seconds.")
            return await self._failed(task, claimed, error)

    async def _try(self, task: Task[Any], claimed: Claimed) -> str:
        context = TaskContext(self._runtime, claimed, await self._access(claimed))
        reporter = context.reporter = Reporter(self._runtime, claimed)
        try:
            result = await task.function(context, task.decoder.decode(claimed.payload))
            if isinstance(result, Again):
                next_at = self._runtime.clock.now() + timedelta(seconds=result.after_seconds)
                statement, values = store.postponing(claimed, next_at, 0, None, self._runtime.clock.now())
            elif result is None and context.is_untouched and not claimed.is_operation:
                await context.rollback()
                if not await self._settle_empty(claimed):
                    raise TaskLost
                return "done"
            else:
                encoded = None if result is None else _encoded(task, result)
                statement, values = store.settling(claimed, "done", encoded, None, self._runtime.clock.now())
            await reporter.close()
            if not await context.db.all(statement, **values):
                raise TaskLost
            if claimed.is_operation:
                for envelope in await tell(context.db, claimed.id, self._runtime.clock.now()):
                    context.recorded(envelope)
            await context.commit()
        finally:
            await reporter.close()
            await context.rollback()
        return "postponed" if isinstance(result, Again) else "done"

    async def _access(self, claimed: Claimed) -> Access | None:
        if claimed.workspace_id == INSTALLATION:
            return None
        access = await self._runtime.identity.access(self._runtime, None, str(claimed.workspace_id))
        # It acts for the house; whoever asked for it has been asked for their permission.
        return msgspec.structs.replace(access, permissions=self._everything)

    async def _failed(self, task: Task[Any], claimed: Claimed, error: Exception) -> str:
        if isinstance(error, (GiveUp, Problem, TooSlow)):
            log.warning("task.failed", **_said(claimed), error=str(error))
        else:
            log.error("task.fault", **_said(claimed), exc_info=error)
        problem = _problem_of(error)
        if claimed.tries >= task.retry.attempts or _is_final(error):
            return await self._conclude(claimed, "failed", None, problem)
        now = self._runtime.clock.now()
        pause = task.retry.pause(claimed.tries)
        statement, values = store.postponing(claimed, now + pause, claimed.tries, problem, now)
        return "postponed" if await self._write(claimed, statement, values) else "lost"

    async def _conclude(self, claimed: Claimed, state: str, result: bytes | None, problem: bytes | None) -> str:
        statement, values = store.settling(claimed, state, result, problem, self._runtime.clock.now())
        return state if await self._write(claimed, statement, values) else "lost"

    async def _write(self, claimed: Claimed, statement: Prepared[UUID], values: dict[str, Any]) -> bool:
        """Note what became of a task that has changed nothing; return whether it had not been lost."""
        unit = UnitOfWork(self._runtime.placement, claimed.workspace_id)
        try:
            if not await unit.all(statement, **values):
                return False
            now = self._runtime.clock.now()
            envelopes = await tell(unit, claimed.id, now) if claimed.is_operation else []
            await unit.commit()
        finally:
            await unit.rollback()
        self._runtime.dispatcher.committed(envelopes)
        return True

    async def cancelled(self, claimed: Claimed) -> str:
        """Note that a task was ended because somebody wanted it to."""
        return await self._conclude(claimed, "cancelled", None, None)

    async def hand_back(self, claimed: Claimed) -> None:
        """Let another process do it, as if it had not been begun here."""
        now = self._runtime.clock.now()
        statement, values = store.postponing(claimed, now, claimed.tries - 1, None, now)
        await self._write(claimed, statement, values)


def _said(claimed: Claimed) -> dict[str, Any]:
    return {
        "task": claimed.name,
        "task_id": str(claimed.id),
        "workspace_id": str(claimed.workspace_id),
        "attempt": claimed.attempt,
        "request_id": claimed.request_id,
    }


def _encoded(task: Task[Any], result: object) -> bytes:
    encoded = msgspec.json.encode(result)
    if len(encoded) > MAX_RESULT_BYTES:
        raise GiveUp(f"The result of {task.name} has {len(encoded)} bytes, more than {MAX_RESULT_BYTES}.")
    return encoded


def _is_final(error: Exception) -> bool:
    # A rule says no, and will say so again; what is away now comes back.
    return isinstance(error, GiveUp) or (isinstance(error, Problem) and error.status < SERVER_ERROR)


def _problem_of(error: Exception) -> bytes:
    match error:
        case Problem():
            detail = redacted_text(error.detail)[:MAX_DETAIL]
            document = ProblemDocument(
                type=f"urn:courtyard:problem:{error.code}",
                title=error.title,
                status=error.status,
                code=error.code,
                detail=detail,
            )
            return msgspec.json.encode(document)
        case GiveUp():
            return _problem("task_failed", str(error))
        case TooSlow():
            return _problem("task_timeout", str(error))
        case _:
            return _problem("task_fault", f"{type(error).__name__}: {error}")


def _problem(code: str, detail: str) -> bytes:
    """Return the document of what went wrong with a task itself."""
    document = ProblemDocument(
        type=f"urn:courtyard:problem:{code}",
        title="The task has failed",
        status=SERVER_ERROR,
        code=code,
        detail=redacted_text(detail)[:MAX_DETAIL],
    )
    return msgspec.json.encode(document)
