"""Small versions of pictures, made in the background and stored beside them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import msgspec

from courtyard.kernel.context import Context
from courtyard.kernel.errors import NotFound
from courtyard.kernel.files import queries, rules, store
from courtyard.kernel.files.quotas import BYTES
from courtyard.kernel.pictures import THUMBNAIL_TYPE, PictureRefused
from courtyard.kernel.quotas import charge, give_back
from courtyard.kernel.storage import Missing
from courtyard.kernel.tasks import GiveUp, task

PART_BYTES = 1 << 20


class Picture(msgspec.Struct, frozen=True):
    """Which picture."""

    file_id: UUID


@task(name="files.thumbnails", time_limit_seconds=120)
async def make_thumbnails(context: Context, payload: Picture) -> None:
    """Make the thumbnails that the kind of a picture declares. Again, it writes the same."""
    try:
        # Outside of the transaction, which waits neither for the storage nor for the work.
        file = await queries.stored(context.outside(), payload.file_id)
    except NotFound:
        return
    runtime, workspace_id = context.runtime, context.workspace.workspace_id
    kind = rules.kind_named(runtime.parts, file.kind)
    if kind is None or not kind.thumbnails:
        return
    storage = await runtime.storage.storage_of(workspace_id)
    with TemporaryDirectory(prefix="courtyard-thumbnails-") as folder:
        source = Path(folder) / "source"
        targets = {name: Path(folder) / f"{name}.webp" for name in kind.thumbnails}
        try:
            await write_file(source, storage.read(rules.key_of(workspace_id, file.id), 0, file.size_bytes))
            sides = {targets[name]: side for name, side in kind.thumbnails.items()}
            await runtime.pictures.shrink(source, file.content_type, sides)
        except (Missing, PictureRefused) as error:
            raise GiveUp(f"{type(error).__name__}: {error}") from error
        for name, target in targets.items():
            key = rules.key_of(workspace_id, file.id, name)
            await storage.write(key, read_file(target), {"Content-Type": THUMBNAIL_TYPE})
        length = sum(target.stat().st_size for target in targets.values())
    await _count(context, file.id, length)


async def _count(context: Context, file_id: UUID, length: int) -> None:
    """Count thumbnails in the quota. They are made even where it is used up: what is uploaded next is refused then."""
    try:
        # Whoever removes the file now waits, and gives back what is counted here.
        file = await queries.lock(context, file_id)
    except NotFound:
        # It went meanwhile. What was removed too early to be found is an orphan.
        return
    if length > file.thumbnail_bytes:
        await charge(context, BYTES, length - file.thumbnail_bytes)
    else:
        await give_back(context, BYTES, file.thumbnail_bytes - length)
    await store.count_thumbnails(context, file_id, length)


async def write_file(path: Path, parts: AsyncIterator[bytes]) -> None:
    """Write parts into a file of this machine."""
    with await asyncio.to_thread(path.open, "wb") as file:
        async for part in parts:
            await asyncio.to_thread(file.write, part)


async def read_file(path: Path) -> AsyncIterator[bytes]:
    """Return a file of this machine, in parts."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while part := await asyncio.to_thread(file.read, PART_BYTES):
            yield part
