"""Uploads: a row first, then the bytes, then the row says that they are there.

No transaction waits for a client or a storage. What is broken off in between is taken back here; where the process
dies, the sweep does it. So a stored byte always has a row that was committed before it, and never the other way round.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
import structlog

from courtyard.kernel.context import Context, Work
from courtyard.kernel.errors import NotFound, Problem, Unavailable
from courtyard.kernel.files import queries, rules, store
from courtyard.kernel.files.errors import UploadInProgress, UploadLost
from courtyard.kernel.files.permissions import UPLOAD
from courtyard.kernel.files.quotas import BYTES
from courtyard.kernel.files.rules import FileKind
from courtyard.kernel.files.rules.types import HEAD_BYTES, content_type_of
from courtyard.kernel.files.schemas import File
from courtyard.kernel.files.service.thumbnails import Picture, make_thumbnails, read_file, write_file
from courtyard.kernel.http import Body, IdempotencyKeyReused
from courtyard.kernel.ids import new_id
from courtyard.kernel.pictures import Cleaned, Pictures
from courtyard.kernel.quotas import give_back, take
from courtyard.kernel.storage import Storage, StorageUnavailable
from courtyard.kernel.tasks import enqueue
from courtyard.kernel.telemetry import FILE_BYTES, FILES_UPLOADED

if TYPE_CHECKING:
    from courtyard.kernel.runtime import Runtime

log = structlog.get_logger()

# Gathered before they are handed on: small parts cost more than their bytes.
LOT_BYTES = 1 << 20
ABANDON_SECONDS = 10.0
# How often an upload says that it goes on, and after how long a silence its process counts as dead for whoever sends
# the same again.
BEAT_SECONDS = 5.0
SILENCE = timedelta(seconds=20)
# The last step is taken again for so long: nobody sends a gigabyte anew because the database was away for a moment,
# or the workspace was moved. Less than a request may take.
FINISH_SECONDS = 20.0
FINISH_PAUSE_SECONDS = 0.2


class Upload(msgspec.Struct, frozen=True):
    """What is known before the bytes are stored."""

    kind: FileKind
    storage: Storage
    workspace_id: UUID
    file_id: UUID
    content_type: str
    name: str
    max_bytes: int
    reserved: int

    @property
    def key(self) -> str:
        """Where it is stored."""
        return rules.key_of(self.workspace_id, self.file_id)


class Receipt:
    """Counts and digests what goes through."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> bytes:
        """The digest of everything so far."""
        return self._digest.digest()

    async def through(self, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Hand parts on, in lots."""
        lot, length = [], 0
        async for part in parts:
            lot.append(part)
            length += len(part)
            if length >= LOT_BYTES:
                yield await self._count(lot)
                lot, length = [], 0
        if lot:
            yield await self._count(lot)

    async def _count(self, lot: list[bytes]) -> bytes:
        joined = b"".join(lot)
        # A megabyte takes a millisecond, in which others have their turn.
        await asyncio.to_thread(self._digest.update, joined)
        self.size += len(joined)
        FILE_BYTES.labels("received").inc(len(joined))
        return joined


async def receive(work: Work, body: Body, kind_name: str, name: str | None) -> tuple[File, bool]:
    """Take in a file.

    Args:
        work: opens contexts of the request, in a workspace.
        body: of the request.
        kind_name: what the file is for.
        name: what it is called, unless a form says so.

    Returns:
        the file, and whether it was there already, from the same upload before.

    Raises:
        UnknownFileKind: there is no such kind.
        InvalidInput: the body is no file.
        FileTypeRefused: the kind takes no such files.
        ContentTooLarge: it is too long.
        QuotaExceeded: the workspace has as much as it may have.
        UploadInProgress: the same upload is under way.
        PictureRefused: it is a picture that is damaged or too large.
        StorageUnavailable: the storage failed. Nothing of the file is left.
    """
    try:
        file, is_known = await _receive(work, body, kind_name, name)
    except StorageUnavailable:
        FILES_UPLOADED.labels("storage_failed").inc()
        raise
    except Problem:
        FILES_UPLOADED.labels("refused").inc()
        raise
    except BaseException:
        FILES_UPLOADED.labels("broken_off").inc()
        raise
    FILES_UPLOADED.labels("stored").inc()
    return file, is_known


async def _receive(work: Work, body: Body, kind_name: str, name: str | None) -> tuple[File, bool]:
    async with work() as context:
        runtime: Runtime = context.runtime
        workspace_id = context.workspace.workspace_id
        context.require(UPLOAD)
        kind = rules.uploadable(runtime.parts, kind_name)
        context.require(kind.permission)
    settings = runtime.settings.files
    max_bytes = min(kind.max_bytes, settings.max_bytes)
    with runtime.uploads.one():
        await body.begin(max_bytes, settings.upload_seconds)
        parts = body.parts(max_bytes)
        head = await _head(parts)
        content_type = content_type_of(head, body.content_type)
        rules.ensure_taken(kind, content_type)
        if kind.cleans(content_type):
            body.shorten(settings.picture_bytes)
        upload = Upload(
            kind=kind,
            storage=await runtime.storage.storage_of(workspace_id),
            workspace_id=workspace_id,
            file_id=new_id(),
            content_type=content_type,
            name=rules.clean_name(body.name or name),
            max_bytes=max_bytes,
            reserved=min(body.length or 0, max_bytes),
        )
        if not await _claim(work, upload, body.key):
            return await _replay(work, _behind(head, parts), upload, body.key), True
        return await _store(work, upload, _behind(head, parts), runtime.pictures), False


async def _head(parts: AsyncIterator[bytes]) -> bytes:
    head = b""
    async for part in parts:
        head += part
        if len(head) >= HEAD_BYTES:
            break
    return head


async def _behind(head: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if head:
        yield head
    async for part in parts:
        yield part


async def _claim(work: Work, upload: Upload, upload_key: str | None) -> bool:
    async with work() as context:
        if upload_key is not None and not await _is_free(context, upload_key):
            return False
        await take(context, BYTES, upload.reserved)
        is_new = await store.claim(
            context,
            upload.file_id,
            owner_id=context.account_id,
            kind=upload.kind.name,
            name=upload.name,
            content_type=upload.content_type,
            size_bytes=upload.reserved,
            upload_key=upload_key,
        )
        if not is_new:
            # Somebody was quicker by a moment; what was taken is undone with everything.
            raise UploadInProgress
    return True


async def _is_free(context: Context, upload_key: str) -> bool:
    """Return whether nothing is uploaded under a key, or what was has been given up because its process is dead."""
    known = await queries.of_upload(context, upload_key)
    if known is None:
        return True
    return known.state == "uploading" and await store.supersede(context, known.id, context.now - SILENCE)


async def _replay(work: Work, parts: AsyncIterator[bytes], upload: Upload, upload_key: str | None) -> File:
    """Return what the same upload made before."""
    async with work() as context:
        known = await queries.of_upload(context, upload_key or "")
    if known is None or known.state != "ready":
        if known is not None and known.state == "removed":
            raise IdempotencyKeyReused
        raise UploadInProgress
    receipt = Receipt()
    async for _ in receipt.through(parts):
        pass
    if (known.kind, known.received_sha256) != (upload.kind.name, receipt.sha256):
        raise IdempotencyKeyReused
    return known.shown()


async def _store(work: Work, upload: Upload, parts: AsyncIterator[bytes], pictures: Pictures) -> File:
    try:
        received = Receipt()
        async with _beating(work, upload):
            if upload.kind.cleans(upload.content_type):
                stored, size = await _store_picture(upload, received.through(parts), pictures)
            else:
                stored, size = received, None
                await _write(upload, received.through(parts))
        return await _finish_patiently(work, upload, received, stored, size)
    except BaseException:
        # To its end, also where the request is cut off; what does not come to an end the sweep takes up.
        undoing = asyncio.ensure_future(_abandon(work, upload))
        await asyncio.wait({undoing}, timeout=ABANDON_SECONDS)
        raise


@asynccontextmanager
async def _beating(work: Work, upload: Upload) -> AsyncIterator[None]:
    """Let it be known that the upload goes on, for the length of a block."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                async with work() as context:
                    await store.beat(context, upload.file_id)
            except Problem as problem:
                log.warning("files.not_beaten", file_id=str(upload.file_id), error=problem.detail or problem.title)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait({beating})


async def _finish_patiently(
    work: Work, upload: Upload, received: Receipt, stored: Receipt, size: Cleaned | None
) -> File:
    until = asyncio.get_running_loop().time() + FINISH_SECONDS
    while True:
        try:
            async with work() as context:
                return await _finish(context, upload, received, stored, size)
        except Unavailable:
            if asyncio.get_running_loop().time() > until:
                raise
        await asyncio.sleep(FINISH_PAUSE_SECONDS)


async def _write(upload: Upload, parts: AsyncIterator[bytes]) -> None:
    await upload.storage.write(upload.key, parts, {"Content-Type": upload.content_type})


async def _store_picture(upload: Upload, parts: AsyncIterator[bytes], pictures: Pictures) -> tuple[Receipt, Cleaned]:
    """Store a picture as it is written anew. What came in is on no storage, not even for a moment."""
    with TemporaryDirectory(prefix="courtyard-picture-") as folder:
        source, target = Path(folder) / "source", Path(folder) / "target"
        await write_file(source, parts)
        size = await pictures.clean(source, target, upload.content_type)
        stored = Receipt()
        await _write(upload, stored.through(read_file(target)))
    return stored, size


async def _finish(context: Context, upload: Upload, received: Receipt, stored: Receipt, size: Cleaned | None) -> File:
    finished = await store.finish(
        context,
        upload.file_id,
        size_bytes=stored.size,
        sha256=stored.sha256,
        received_sha256=received.sha256,
        width=None if size is None else size.width,
        height=None if size is None else size.height,
    )
    if not finished:
        return await _finished_before(context, upload, stored)
    if stored.size > upload.reserved:
        await take(context, BYTES, stored.size - upload.reserved)
    else:
        await give_back(context, BYTES, upload.reserved - stored.size)
    if size is not None and upload.kind.thumbnails:
        await enqueue(context, make_thumbnails, Picture(upload.file_id))
    return (await queries.stored(context, upload.file_id)).shown()


async def _finished_before(context: Context, upload: Upload, stored: Receipt) -> File:
    """Return the file where the last try was committed after all, and the database could not say so any more.

    Raises:
        UploadLost: it was cleared away.
    """
    try:
        file = await queries.stored(context, upload.file_id)
    except NotFound:
        raise UploadLost from None
    if file.sha256 != stored.sha256:
        raise UploadLost
    return file.shown()


async def _abandon(work: Work, upload: Upload) -> None:
    try:
        async with work() as context:
            if not await store.abandon(context, upload.file_id):
                # It was finished after all, and only the answer was lost; or the sweep has it.
                return
            await give_back(context, BYTES, upload.reserved)
        await upload.storage.remove([upload.key])
    except Problem as problem:
        log.warning("files.not_abandoned", file_id=str(upload.file_id), error=problem.detail or problem.title)
