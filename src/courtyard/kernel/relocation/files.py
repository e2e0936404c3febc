"""Files from one storage to another, while they are read and written.

What is stored under a key never changes, so nobody has to wait. First all processes read from both storages; then they
write to the new one; then what is missing there is copied, and compared by length and digest, until an unbroken round
finds nothing to do. What began before the new one was written to may still end in the old one: that is read until
`clean_files`, which looks once more.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Uuid, bindparam, select

from courtyard.kernel.context import Context
from courtyard.kernel.database import WORKSPACE, Prepared, ReadUnit
from courtyard.kernel.events import Signal
from courtyard.kernel.files import FileRow, keys_of, kind_named
from courtyard.kernel.relocation.errors import CannotMove
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import StorageSettings
from courtyard.kernel.shards import (
    FRESH_SECONDS,
    PLACEMENTS_CHANNEL,
    ShardedStorage,
    encoded,
    find_stored,
    storages_of,
    store_in,
)
from courtyard.kernel.storage import Missing, Storage
from courtyard.kernel.trail import Origin

PLACED = "placements:files:placed"
LOT = 200
AT_ONCE = 4
SETTLE_SECONDS = FRESH_SECONDS + 0.3
# An upload that began so long after the new storage was named may still end in the old one: its process had not
# followed, or its clock goes behind.
LATE = timedelta(seconds=10)

Say = Callable[[str], object]


class _File(msgspec.Struct, frozen=True):
    id: UUID
    kind: str
    content_type: str
    sha256: bytes | None
    state: str
    created_at: datetime


_FILES = Prepared(
    select(FileRow.id, FileRow.kind, FileRow.content_type, FileRow.sha256, FileRow.state, FileRow.created_at)
    .where(FileRow.workspace_id == WORKSPACE, FileRow.id > bindparam("after", type_=Uuid(), required=True))
    .order_by(FileRow.id)
    .limit(bindparam("limit", type_=BigInteger(), required=True)),
    _File,
)


async def move_files(runtime: Runtime, workspace_id: UUID, settings: StorageSettings | None, say: Say) -> None:
    """Let the files of a workspace be in another storage, or go on with what was begun.

    Args:
        runtime: of the command.
        workspace_id: which workspace.
        settings: of the storage; None for the shared one.
        say: is told what happens, line by line.

    Raises:
        StorageUnavailable: one of the storages does not do its part.
        CannotMove: the files are to be in two places at once, or one of them is damaged.
    """
    storages = _sharded(runtime)
    wanted = None if settings is None else encoded(settings)
    await storages.made(wanted).check()
    stored = await find_stored(ReadUnit(runtime.placement), workspace_id)
    written, also_read = (None, None) if stored is None else storages_of(runtime.keys, stored)
    is_also_read = stored is not None and stored.is_also_read
    if is_also_read and wanted not in {written, also_read}:
        raise CannotMove("the old files of the last move are still there: `courtyard workspaces move --clean` first")
    if written != wanted:
        await _place(runtime, workspace_id, written, wanted, also=True)
        await asyncio.sleep(SETTLE_SECONDS)
        await _place(runtime, workspace_id, wanted, written, also=True)
        await asyncio.sleep(SETTLE_SECONDS)
        also_read, is_also_read = written, True
    if not is_also_read:
        raise CannotMove("the files are in that storage already")
    copied = await _copy_until_done(runtime, workspace_id, storages.made(also_read), storages.made(wanted), say)
    say(f"{copied} objects copied; the old ones stay, and are read, until `--clean`")


async def clean_files(runtime: Runtime, workspace_id: UUID, say: Say) -> bool:
    """Copy what came late, stop reading from the old storage and empty it; return False where nothing was moved.

    Raises:
        CannotMove: an upload has not ended.
    """
    storages = _sharded(runtime)
    stored = await find_stored(ReadUnit(runtime.placement), workspace_id)
    if stored is None or not stored.is_also_read:
        return False
    written, also_read = storages_of(runtime.keys, stored)
    old, new = storages.made(also_read), storages.made(written)
    async for file in _files(runtime, workspace_id):
        if file.state == "uploading" and file.created_at < stored.placed_at + LATE:
            raise CannotMove("an upload that began before the move has not ended")
    await _copy_until_done(runtime, workspace_id, old, new, say)
    await _place(runtime, workspace_id, written, None, also=False)
    await asyncio.sleep(SETTLE_SECONDS)
    async for file in _files(runtime, workspace_id):
        await old.remove(_keys(runtime, workspace_id, file))
    return True


def _sharded(runtime: Runtime) -> ShardedStorage:
    if not isinstance(runtime.storage, ShardedStorage):
        raise CannotMove("this installation places no files")
    return runtime.storage


async def _place(
    runtime: Runtime, workspace_id: UUID, written: bytes | None, also_read: bytes | None, *, also: bool
) -> None:
    context = Context(runtime, None, None, "workspaces move", Origin("cli"))
    try:
        await store_in(context.db, runtime.keys, workspace_id, (written, also_read), context.now, also=also)
        context.note(PLACED, object_type="workspace", object_id=str(workspace_id))
        await context.commit()
    finally:
        await context.rollback()
    runtime.placement.forget()
    runtime.bus.publish(Signal(PLACEMENTS_CHANNEL, "changed"))


async def _files(runtime: Runtime, workspace_id: UUID) -> AsyncIterator[_File]:
    unit, after = ReadUnit(runtime.placement, workspace_id), UUID(int=0)
    while found := await unit.all(_FILES, after=after, limit=LOT):
        for file in found:
            yield file
        after = found[-1].id


def _keys(runtime: Runtime, workspace_id: UUID, file: _File) -> list[str]:
    kind = kind_named(runtime.parts, file.kind)
    return keys_of(workspace_id, file.id, () if kind is None else kind.thumbnails)


async def _copy_until_done(runtime: Runtime, workspace_id: UUID, old: Storage, new: Storage, say: Say) -> int:
    total, copied = 0, -1
    while copied:
        copied = 0
        async for lot in _copied(runtime, workspace_id, old, new):
            copied += lot
            if lot:
                say(f"{total + copied} objects copied")
        total += copied
    return total


async def _copied(runtime: Runtime, workspace_id: UUID, old: Storage, new: Storage) -> AsyncIterator[int]:
    """Copy what is missing, lot by lot, and return how many objects those were."""
    slots, copied = asyncio.Semaphore(AT_ONCE), 0

    async def one(file: _File) -> None:
        nonlocal copied
        async with slots:
            original, *variants = _keys(runtime, workspace_id, file)
            sha256 = file.sha256 if file.state == "ready" else None
            # Added behind the last wait: others count meanwhile.
            done = await _copy(old, new, original, {"Content-Type": file.content_type}, sha256)
            for variant in variants:
                done += await _copy(old, new, variant, {}, None)
            copied += done

    lot: list[_File] = []
    async for file in _files(runtime, workspace_id):
        lot.append(file)
        if len(lot) == LOT:
            await _all(one, lot)
            yield copied
            lot, copied = [], 0
    await _all(one, lot)
    yield copied


async def _all(work: Callable[[_File], Awaitable[None]], files: Sequence[_File]) -> None:
    await asyncio.gather(*(work(file) for file in files))


async def _copy(old: Storage, new: Storage, key: str, attributes: Mapping[str, str], sha256: bytes | None) -> int:
    try:
        there = await old.stat(key)
    except Missing:
        return 0
    try:
        if (await new.stat(key)).size == there.size:
            return 0
    except Missing:
        pass
    digest = hashlib.sha256()

    async def parts() -> AsyncIterator[bytes]:
        async for part in old.read(key, 0, there.size):
            digest.update(part)
            yield part
        if sha256 is not None and digest.digest() != sha256:
            raise CannotMove(f"{key} is not what was uploaded: it is damaged in the old storage")

    await new.write(key, parts(), attributes)
    if (await new.stat(key)).size != there.size:
        raise CannotMove(f"{key} has another length in the new storage")
    return 1
