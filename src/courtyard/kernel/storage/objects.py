"""Every kind of storage through `obstore`."""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store
from typing_extensions import override

from courtyard.kernel.storage.errors import Missing, StorageUnavailable
from courtyard.kernel.storage.storage import Storage, StoredObject
from courtyard.kernel.telemetry import STORAGE_FAILURES

log = structlog.get_logger()

MIB = 1 << 20
# S3 takes parts of 5 MiB or more, and 10,000 of them.
REMOTE_PART, LOCAL_PART = 8 * MIB, MIB
PARTS_AT_ONCE = 2
# What is asked for at once: from a network enough that its delay counts for little, from a disk what a cache can hold
# (`docs/decisions/0009-files-and-pictures.md`).
REMOTE_READ, LOCAL_READ = 4 * MIB, MIB
LIST_LOT = 1_000

Store = LocalStore | S3Store | GCSStore | AzureStore


class ObjectStorage(Storage):
    """A storage of any kind.

    Args:
        make: makes the client. Called at the first use, because some need what the settings name to be there.
        folder: where it is on this machine, for the local kind.
        part_bytes: what is sent to a bucket at once. Twice as much is held, and 10,000 of them are the longest object.
    """

    def __init__(self, make: Callable[[], Store], *, folder: Path | None = None, part_bytes: int = REMOTE_PART) -> None:
        self._make = make
        self._part_bytes = part_bytes
        self._made: Store | None = None
        self._folder = folder

    @property
    def _store(self) -> Store:
        if self._made is None:
            with _told("open"):
                self._made = self._make()
        return self._made

    @override
    async def write(self, key: str, parts: AsyncIterator[bytes], attributes: Mapping[str, str]) -> None:
        local = self._folder is not None
        source = _Source(parts)
        try:
            with _told("write"):
                await obstore.put_async(
                    self._store,
                    key,
                    # What is no longer than a part costs one request, not the three of an upload in parts.
                    source if local else await source.whole(REMOTE_PART),
                    # Files have no attributes of this kind.
                    attributes=None if local else dict(attributes),
                    chunk_size=LOCAL_PART if local else self._part_bytes,
                    max_concurrency=PARTS_AT_ONCE,
                )
        except StorageUnavailable:
            if source.error is not None:
                raise source.error from None
            raise
        except Missing:
            raise StorageUnavailable("The bucket does not exist.") from None
        finally:
            await source.leave()
        if self._folder is not None:
            with _told("write"):
                await asyncio.to_thread(_sync, self._folder / key)

    @override
    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        size = REMOTE_READ if self._folder is None else LOCAL_READ
        edges = [*range(start, end, size), end]
        # One part ahead of the client. Single requests, not one long one: a slow client keeps none of them waiting,
        # and the stream of a local file is read 8 KiB at a time.
        ahead: asyncio.Task[bytes] | None = None
        try:
            for first, last in pairwise(edges):
                part = await (ahead or self._part(key, first, last))
                behind = min(last + size, end)
                ahead = asyncio.create_task(self._part(key, last, behind)) if behind > last else None
                yield part
        finally:
            if ahead is not None:
                ahead.cancel()
                with contextlib.suppress(asyncio.CancelledError, StorageUnavailable, Missing):
                    await ahead

    async def _part(self, key: str, start: int, end: int) -> bytes:
        with _told("read"):
            part = await obstore.get_range_async(self._store, key, start=start, end=end)
        if len(part) != end - start:
            raise StorageUnavailable
        # What the library returns is a view of its own memory, which the web server takes as it is.
        return memoryview(part)  # type: ignore[return-value]

    @override
    async def stat(self, key: str) -> StoredObject:
        with _told("stat"):
            known = await obstore.head_async(self._store, key)
        return StoredObject(key, known["size"], known["last_modified"])

    @override
    async def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            # One by one: the request for several is not understood by all that speak S3, and a key that is not there
            # fails the whole lot elsewhere.
            with contextlib.suppress(Missing), _told("remove"):
                await obstore.delete_async(self._store, key)

    @override
    async def everything(self) -> AsyncIterator[Sequence[StoredObject]]:
        with _told("list"):
            async for lot in obstore.list(self._store, chunk_size=LIST_LOT):
                yield [StoredObject(one["path"], one["size"], one["last_modified"]) for one in lot]

    @override
    async def remove_unfinished(self, before: datetime) -> int:
        if self._folder is None:
            return 0
        with _told("remove"):
            return await asyncio.to_thread(_remove_unfinished, self._folder, before.timestamp())

    @override
    async def sign(self, key: str, seconds: int) -> str | None:
        if isinstance(self._store, LocalStore):
            return None
        with _told("sign"):
            return await obstore.sign_async(self._store, "GET", key, timedelta(seconds=seconds))

    @override
    async def check(self) -> None:
        key, content = f"check/{uuid4()}", b"courtyard"

        async def parts() -> AsyncIterator[bytes]:
            yield content

        await self.write(key, parts(), {})
        try:
            if await self._part(key, 0, len(content)) != content:
                raise StorageUnavailable("The storage returns something else than what was stored.")
        except Missing:
            raise StorageUnavailable("The storage does not have what was stored.") from None
        finally:
            await self.remove([key])


class _Source:
    """Hands parts on, and remembers what they raised: the library may wrap it in an error of its own."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        # Read ahead, and not handed on yet.
        self._ahead: deque[bytes] = deque()
        # In which the library waits for the next part.
        self._waiting: asyncio.Task[Any] | None = None
        self.error: BaseException | None = None

    async def leave(self) -> None:
        """Wait for nothing more: a library that has given up, or was told to, leaves the wait for a part behind."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)

    async def whole(self, most: int) -> "bytes | _Source":
        """Return everything, where it is no longer than that; else this, which hands everything on."""
        length = 0
        while length <= most:
            try:
                part = await self._next()
            except StopAsyncIteration:
                return b"".join(self._ahead)
            length += len(part)
            self._ahead.append(part)
        return self

    def __aiter__(self) -> "_Source":
        return self

    async def __anext__(self) -> bytes:
        if self._ahead:
            return self._ahead.popleft()
        self._waiting = asyncio.current_task()
        try:
            return await self._next()
        finally:
            self._waiting = None

    async def _next(self) -> bytes:
        try:
            return await anext(self._parts)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            self.error = error
            raise


@contextlib.contextmanager
def _told(operation: str) -> Iterator[None]:
    """Turn what the library raises into what a storage answers. Its messages hold addresses: they are for the log."""
    try:
        yield
    except FileNotFoundError:
        raise Missing from None
    except (BaseError, OSError, ValueError) as error:
        STORAGE_FAILURES.labels(operation).inc()
        log.warning("storage.failed", operation=operation, error=f"{type(error).__name__}: {str(error)[:500]}")
        raise StorageUnavailable from None


def _sync(path: Path) -> None:
    """Have a new file on the disk, and its name too, before it is acknowledged."""
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_unfinished(folder: Path, before: float) -> int:
    # The library writes next to where the file will be, with a number behind `#`.
    unfinished = [path for path in folder.rglob("*#*") if path.is_file() and path.stat().st_mtime < before]
    for path in unfinished:
        path.unlink(missing_ok=True)
    return len(unfinished)
