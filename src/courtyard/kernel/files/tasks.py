"""The end of files: what nobody sees any more leaves the storage, and what lies there without a row too.

A file goes in steps, each of which can be lost and done again: it is marked, then what is stored is removed, then the
row. So nothing is removed that a row still promises, whoever else is at work.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import msgspec
import structlog

from courtyard.kernel.context import Access, Context, ReadContext
from courtyard.kernel.database import Database, DatabaseUnavailable
from courtyard.kernel.errors import Unavailable
from courtyard.kernel.files import queries, rules, store
from courtyard.kernel.files.quotas import BYTES
from courtyard.kernel.files.schemas import Due
from courtyard.kernel.files.service.thumbnails import make_thumbnails
from courtyard.kernel.quotas import give_back
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.storage import Storage, StoredObject
from courtyard.kernel.tasks import Nothing, Schedule, task
from courtyard.kernel.telemetry import FILES_REMOVED
from courtyard.kernel.trail import Origin

log = structlog.get_logger()

LOT = 200
SWEEP_SECONDS, ORPHANS_SECONDS = 60, 21_600
# A process that is slow to notice that its time is over.
LATE = timedelta(minutes=5)


class Swept(msgspec.Struct):
    """How much was removed.

    Attributes:
        files: whose rows said so.
        orphans: that had no row.
        unfinished: rests of writes that were cut off.
    """

    files: int = 0
    orphans: int = 0
    unfinished: int = 0


class Sweeper:
    """Removes what is over, in all databases and storages. Several at once do each other no harm.

    Args:
        runtime: the process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def sweep(self) -> Swept:
        """Remove files that are over. A database or storage that is away is passed over until the next time."""
        swept = Swept()
        for database in self._runtime.placement.databases():
            try:
                await self._expire(database)
                await self._remove(database, swept)
            except Unavailable as error:
                log.warning("files.not_swept", error=error.detail or error.title)
        return swept

    async def _expire(self, database: Database) -> None:
        settings, now = self._runtime.settings.files, self._runtime.clock.now()
        unattached = now - timedelta(seconds=settings.unattached_seconds)
        uploading = now - timedelta(seconds=settings.upload_seconds) - LATE
        marked = LOT
        while marked == LOT:
            marked = 0
            for due in await queries.over(database, unattached, uploading, LOT):
                if await self._lives_in(database, due):
                    async with self._context(due.workspace_id) as context:
                        marked += await store.expire(context, due.id, unattached, uploading)

    async def _remove(self, database: Database, swept: Swept) -> None:
        gone = LOT
        while gone == LOT:
            gone = 0
            for due in await queries.removed(database, LOT):
                if await self._lives_in(database, due):
                    gone += await self._remove_one(due)
            swept.files += gone

    async def _remove_one(self, due: Due) -> bool:
        storage = await self._runtime.storage.storage_of(due.workspace_id)
        kind = rules.kind_named(self._runtime.parts, due.kind)
        variants = () if kind is None else kind.thumbnails
        await storage.remove(rules.keys_of(due.workspace_id, due.id, variants))
        async with self._context(due.workspace_id) as context:
            is_gone = await store.forget(context, due.id)
            if is_gone:
                await give_back(context, BYTES, due.size_bytes + due.thumbnail_bytes)
        FILES_REMOVED.labels("removed").inc(is_gone)
        return is_gone

    async def _lives_in(self, database: Database, due: Due) -> bool:
        """Say whether this row counts: a workspace that was moved has left a copy behind."""
        return await self._runtime.placement.database_of(due.workspace_id) is database

    async def remove_orphans(self) -> Swept:
        """Remove what has lain in the storages for a while and belongs to no row.

        A row is committed before the first byte is stored and goes after the last, so what has none is needed by
        nobody; the while is for what was restored or copied by hand.
        """
        swept = Swept()
        before = self._runtime.clock.now() - timedelta(seconds=self._runtime.settings.files.orphan_seconds)
        for storage in self._runtime.storage.storages():
            try:
                swept.unfinished += await storage.remove_unfinished(before)
                async for orphans in self.orphans(storage):
                    old = [one.key for one in orphans if one.modified_at < before]
                    await storage.remove(old)
                    swept.orphans += len(old)
                    FILES_REMOVED.labels("orphan").inc(len(old))
            except Unavailable as error:
                log.warning("files.not_swept", error=error.detail or error.title)
        return swept

    async def orphans(self, storage: Storage) -> AsyncIterator[Sequence[StoredObject]]:
        """Return what is stored for files that no row knows, in lots. What is not ours is left alone."""
        async for lot in storage.everything():
            by_workspace: dict[UUID, list[tuple[UUID, StoredObject]]] = {}
            for one in lot:
                if (place := rules.file_of(one.key)) is not None:
                    by_workspace.setdefault(place[0], []).append((place[1], one))
            for workspace_id, found in by_workspace.items():
                # Of a workspace whose storage is another one, this is a copy that its move has left.
                if await self._runtime.storage.storage_of(workspace_id) is storage:
                    yield await self._unknown(workspace_id, found)

    async def _unknown(self, workspace_id: UUID, found: list[tuple[UUID, StoredObject]]) -> list[StoredObject]:
        access = Access(workspace_id, "", frozenset(), frozenset())
        try:
            known = await queries.known(ReadContext(self._runtime, None, access, "sweep"), [one[0] for one in found])
        except DatabaseUnavailable as error:
            # Whoever cannot be asked keeps everything.
            log.warning("files.not_swept", workspace_id=str(workspace_id), error=error.detail)
            return []
        return [stored for file_id, stored in found if file_id not in known]

    @asynccontextmanager
    async def _context(self, workspace_id: UUID) -> AsyncIterator[Context]:
        context = Context(self._runtime, None, None, "sweep", Origin("system"))
        try:
            with context.within(Access(workspace_id, "", frozenset(), frozenset())):
                yield context
                await context.commit()
        finally:
            await context.rollback()


@task(name="files.sweep", time_limit_seconds=3_600)
async def sweep(context: Context, _: Nothing) -> Swept:
    """Remove files that are over."""
    return await Sweeper(context.runtime).sweep()


@task(name="files.remove_orphans", time_limit_seconds=ORPHANS_SECONDS)
async def remove_orphans(context: Context, _: Nothing) -> Swept:
    """Remove what lies in the storages without a row."""
    return await Sweeper(context.runtime).remove_orphans()


TASKS = (sweep, remove_orphans, make_thumbnails)
SCHEDULES = (
    Schedule(name="files.sweep", task=sweep, payload=Nothing(), every_seconds=SWEEP_SECONDS),
    Schedule(name="files.remove_orphans", task=remove_orphans, payload=Nothing(), every_seconds=ORPHANS_SECONDS),
)
