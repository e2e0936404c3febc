"""Whether what the rows promise is in the storage."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

from courtyard.kernel.context import Access, ReadContext
from courtyard.kernel.errors import NotFound
from courtyard.kernel.files import queries, rules
from courtyard.kernel.files.schemas import Due
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.storage import Missing

LOT = 500
AT_ONCE = 16


async def faults(runtime: Runtime, *, deep: bool) -> AsyncIterator[tuple[Due, str | None]]:
    """Return every file with what is wrong with it, None for nothing.

    Args:
        runtime: the process.
        deep: whether the content is read and compared with its digest, not the length alone.
    """
    # What is newer may still be on its way.
    before = runtime.clock.now() + timedelta(seconds=1)
    slots = asyncio.Semaphore(AT_ONCE)

    async def looked_at(file: Due) -> str | None:
        async with slots:
            return await _fault(runtime, file, deep=deep)

    for database in runtime.placement.databases():
        after = UUID(int=0)
        while files := await queries.ready(database, before, after, LOT):
            found = await asyncio.gather(*map(looked_at, files))
            for each in zip(files, found, strict=True):
                yield each
            after = files[-1].id


async def _fault(runtime: Runtime, file: Due, *, deep: bool) -> str | None:
    storage = await runtime.storage.storage_of(file.workspace_id)
    key = rules.key_of(file.workspace_id, file.id)
    try:
        size = (await storage.stat(key)).size
        if size != file.size_bytes:
            return f"has {size:,} bytes in the storage, and {file.size_bytes:,} by its row"
        if not deep:
            return None
        digest = hashlib.sha256()
        async for part in storage.read(key, 0, size):
            await asyncio.to_thread(digest.update, part)
        access = Access(file.workspace_id, "", frozenset(), frozenset())
        stored = await queries.stored(ReadContext(runtime, None, access, "check"), file.id)
    except Missing:
        return "is missing in the storage"
    except NotFound:
        # Removed meanwhile.
        return None
    return None if digest.digest() == stored.sha256 else "has another content than was stored"
