"""Telling people how what they wait for is going: on the topic of the operation, and as a stream of events."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import msgspec
from typing_extensions import override

from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import ReadUnit, UnitOfWork
from courtyard.kernel.errors import NotFound
from courtyard.kernel.events import Envelope, Frame, Subscriber, append
from courtyard.kernel.ids import new_id
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.tasks import queries
from courtyard.kernel.tasks.events import OperationChanged, topic_of
from courtyard.kernel.tasks.schemas import Operation

# A stream says something this often, or a proxy takes it for dead, and ends after so long: the client comes again.
KEEP_ALIVE_SECONDS = 10.0
LONGEST_STREAM_SECONDS = 600.0


async def tell(unit: UnitOfWork, operation_id: UUID, now: datetime) -> list[Envelope]:
    """Record, as the last thing before the commit, how an operation stands now; return what is to be passed on."""
    operation = await queries.operation(unit, operation_id)
    return await append(unit, [(topic_of(operation_id), OperationChanged(operation))], None, now)


class _Waiting(Subscriber):
    """Somebody who wants to know that there is something new, and looks then."""

    def __init__(self) -> None:
        self.id = new_id().hex
        self.news = asyncio.Event()

    @override
    def deliver(self, frame: Frame) -> None:
        self.news.set()

    @override
    async def ready(self) -> None:
        pass


async def watch(context: ReadContext, operation_id: UUID) -> AsyncIterator[bytes]:
    """Return the changes of an operation as server-sent events (WHATWG HTML, section 9.2), until it has ended.

    Raises:
        NotFound: the caller has not asked for it.
    """
    runtime = context.runtime
    workspace_id = await queries.place_of(runtime.placement, operation_id, context.account_id)
    return _changes(runtime, workspace_id, operation_id)


async def _changes(runtime: Runtime, workspace_id: UUID, operation_id: UUID) -> AsyncIterator[bytes]:
    waiting, topic = _Waiting(), topic_of(operation_id)
    unit = ReadUnit(runtime.placement, workspace_id)
    await runtime.dispatcher.subscribe(waiting, workspace_id, topic, None)
    try:
        end = asyncio.get_running_loop().time() + LONGEST_STREAM_SECONDS
        told: Operation | None = None
        while asyncio.get_running_loop().time() < end:
            waiting.news.clear()
            try:
                operation = await queries.operation(unit, operation_id)
            except NotFound:
                return
            if operation != told:
                told = operation
                yield b"event: operation\ndata: " + msgspec.json.encode(operation) + b"\n\n"
            else:
                yield b": still here\n\n"
            if operation.ended_at is not None:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    await waiting.news.wait()
    finally:
        runtime.dispatcher.unsubscribe(waiting, workspace_id, topic)
