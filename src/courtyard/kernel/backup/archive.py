"""What is in an archive, and how it comes in and out: one tar inside one encrypted stream, in flat memory.

First the manifest, then the secrets file, the databases, the files, and at the end how many there were. Databases are
copied before files: a file is stored before its row is ready, and goes after it, so every row finds its file, but for
those that people removed meanwhile.
"""

# What is looked at in a folder of this machine takes no time to speak of; what is long is read in threads.
# ruff: noqa: ASYNC240

import asyncio
import io
import tarfile
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO
from uuid import UUID

import msgspec

from courtyard import __version__
from courtyard.kernel.backup import databases
from courtyard.kernel.backup.errors import BackupRefused, DumpFailed
from courtyard.kernel.backup.sealed import Readable, SealedReader, SealedWriter
from courtyard.kernel.database import address
from courtyard.kernel.shards import ShardedPlacement, ShardedStorage, installation_id
from courtyard.kernel.storage import Missing, Storage

MANIFEST, SECRETS, END = "manifest.json", "secrets", "end.json"
PART = 1 << 20

Say = Callable[[str], object]


class Manifest(msgspec.Struct, frozen=True):
    """What an archive begins with.

    Attributes:
        version: of Courtyard, which made it.
        created_at: when.
        installation_id: whose it is.
        databases: their URLs, the main one first.
        storages: the settings of the storages; None for the shared one, which comes first.
    """

    version: str
    created_at: datetime
    installation_id: UUID
    databases: list[str]
    storages: list[str | None]


class Contents(msgspec.Struct):
    """How much is in an archive."""

    databases: int = 0
    files: int = 0
    bytes: int = 0

    def count(self, name: str, size: int) -> None:
        """Take in that something of this name and length is there too."""
        kind = name.partition("/")[0]
        if kind in {"databases", "files"}:
            self.databases += kind == "databases"
            self.files += kind == "files"
            self.bytes += size


class _Sink:
    """Holds what was written until it is taken."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, data: bytes) -> int:
        self._waiting += data
        return len(data)

    def take(self) -> Iterator[bytes]:
        if self._waiting:
            waiting, self._waiting = self._waiting, bytearray()
            yield bytes(waiting)


async def packed(
    passphrase: str,
    placement: ShardedPlacement,
    storage: ShardedStorage,
    secrets: Path,
    now: datetime,
    say: Say,
    contents: Contents,
) -> AsyncGenerator[bytes]:
    """Return everything of an installation as the bytes of an archive, in parts.

    Args:
        passphrase: what opens it again.
        placement: the databases.
        storage: the storages.
        secrets: the file of generated keys; it need not be there.
        now: the time.
        say: is told what happens, line by line.
        contents: is filled with how much there was.

    Raises:
        BackupRefused: a program is missing.
        DumpFailed: a database or a file cannot be read now.
        StorageUnavailable: a storage does not do its part.
    """
    await placement.load()
    urls = [database.url for database in placement.databases()]
    own = {each for stored in placement.stored.values() for each in stored[:2] if each is not None}
    storages: list[bytes | None] = [None, *sorted(own)]
    manifest = Manifest(
        __version__,
        now,
        await installation_id(placement.main, now),
        urls,
        [None if each is None else each.decode() for each in storages],
    )
    sink = _Sink()
    # To draw the key takes half a second.
    sealed = await asyncio.to_thread(SealedWriter, sink, passphrase)
    with tempfile.TemporaryDirectory(prefix="courtyard-backup-") as folder:
        opened = [storage.made(each) for each in storages]
        async with aclosing(_entries(manifest, secrets, urls, opened, Path(folder), say)) as entries:
            async for name, size, parts in entries:
                sealed.write(_header(name, size))
                async for part in _whole(name, size, parts):
                    sealed.write(part)
                    for ready in sink.take():
                        yield ready
                sealed.write(bytes(-size % tarfile.BLOCKSIZE))
                contents.count(name, size)
    say(f"{contents.files} files")
    end = msgspec.json.encode(contents)
    sealed.write(_header(END, len(end)) + end + bytes(-len(end) % tarfile.BLOCKSIZE))
    sealed.write(bytes(2 * tarfile.BLOCKSIZE))
    sealed.close()
    for ready in sink.take():
        yield ready


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT)


async def _entries(
    manifest: Manifest, secrets: Path, urls: list[str], storages: list[Storage], folder: Path, say: Say
) -> AsyncGenerator[tuple[str, int, AsyncIterator[bytes]]]:
    """Return what goes into an archive: name, size and content of each."""
    encoded = msgspec.json.encode(manifest)
    yield MANIFEST, len(encoded), _one(encoded)
    if secrets.exists():
        content = secrets.read_bytes()
        yield SECRETS, len(content), _one(content)
    for number, url in enumerate(urls):
        say(address(url))
        path = folder / str(number)
        await databases.dump(url, path)
        with path.open("rb") as file:
            yield f"databases/{number}", path.stat().st_size, parts_of(file)
        path.unlink()
    for number, storage in enumerate(storages):
        async for lot in storage.everything():
            for stored in lot:
                try:
                    size = (await storage.stat(stored.key)).size
                except Missing:
                    continue
                yield f"files/{number}/{stored.key}", size, storage.read(stored.key, 0, size)


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _whole(name: str, size: int, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    left = size
    try:
        async for part in parts:
            left -= len(part)
            yield part
    except Missing:
        pass
    if left:
        raise DumpFailed(f"{name} has gone, or changed, while it was read")


async def parts_of(file: IO[bytes]) -> AsyncIterator[bytes]:
    """Return the content of a file in parts, which are read in a thread."""
    while part := await asyncio.to_thread(file.read, PART):
        yield part


class Streamed:
    """Bytes that come in parts, as a file to read: for a thread, while the loop runs.

    Args:
        parts: the bytes.
        loop: in which they come.
    """

    def __init__(self, parts: AsyncIterator[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._parts = parts
        self._loop = loop
        self._waiting = bytearray()

    async def _next(self) -> bytes | None:
        return await anext(self._parts, None)

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, or what is left."""
        while size < 0 or len(self._waiting) < size:
            part = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            if part is None:
                break
            self._waiting += part
        size = len(self._waiting) if size < 0 else size
        found = bytes(self._waiting[:size])
        del self._waiting[:size]
        return found


@contextmanager
def members(file: Readable, passphrase: str) -> Iterator[tuple[Manifest, Iterator[tuple[str, IO[bytes]]]]]:
    """Open an archive: what it begins with, and one after the other what is in it behind that.

    Raises:
        BackupRefused: now or later: it is not whole, not ours, or of another passphrase.
    """
    sealed = SealedReader(file, passphrase)
    with reasons(), tarfile.open(fileobj=sealed, mode="r|") as tar:  # type: ignore[call-overload]

        def each() -> Iterator[tuple[str, IO[bytes]]]:
            for info in tar:
                content = tar.extractfile(info)
                if content is not None:
                    yield info.name, content

        found = each()
        name, content = next(found, ("", io.BytesIO()))
        if name != MANIFEST:
            raise BackupRefused("it does not begin with what is in it")
        yield msgspec.json.decode(content.read(), type=Manifest), found
        # What stands behind the end is looked at too.
        while sealed.read(PART):
            pass


@contextmanager
def reasons() -> Iterator[None]:
    """Turn what is raised by what is in an archive into the reason why it is refused."""
    try:
        yield
    except (tarfile.TarError, msgspec.MsgspecError) as error:
        raise BackupRefused(f"it is damaged: {error}") from error


def read_through(file: Readable, passphrase: str) -> tuple[Manifest, Contents]:
    """Read an archive from the first to the last byte, and return what is in it. It takes its time: for a thread.

    Raises:
        BackupRefused: it is not whole, not ours, or of another passphrase.
    """
    found, end = Contents(), None
    with members(file, passphrase) as (manifest, each):
        for name, content in each:
            size = 0
            if name == END:
                end = msgspec.json.decode(content.read(), type=Contents)
                continue
            while part := content.read(PART):
                size += len(part)
            found.count(name, size)
    if end != found or found.databases != len(manifest.databases):
        raise BackupRefused("it is not complete")
    return manifest, found


async def verify(parts: AsyncIterator[bytes], passphrase: str) -> tuple[Manifest, Contents]:
    """Read an archive that comes in parts from the first to the last byte, and return what is in it.

    Raises:
        BackupRefused: it is not whole, not ours, or of another passphrase.
    """
    file = Streamed(parts, asyncio.get_running_loop())
    return await asyncio.to_thread(read_through, file, passphrase)
