"""The bytes of a file, as an answer."""

from collections.abc import AsyncIterator
from uuid import UUID

from courtyard.kernel.context import ReadContext
from courtyard.kernel.errors import NotFound
from courtyard.kernel.files import queries, rules
from courtyard.kernel.files.errors import ThumbnailPending
from courtyard.kernel.files.schemas import StoredFile
from courtyard.kernel.files.service.links import follow_link
from courtyard.kernel.http import Content, Redirect
from courtyard.kernel.pictures import THUMBNAIL_TYPE
from courtyard.kernel.storage import Missing, Storage, StorageUnavailable

# Kept by whoever read it, and asked for again each time: rights may have changed.
CHECKED = "private, no-cache"


async def read_content(context: ReadContext, file_id: UUID, thumbnail: str | None) -> Content:
    """Return the content of a file that the caller may read, or a thumbnail of it.

    Raises:
        NotFound: there is none, or the caller may not know of it.
        ThumbnailPending: the thumbnail is not made yet.
    """
    return await _content(context, await queries.readable(context, file_id), thumbnail, CHECKED)


async def read_link(
    context: ReadContext, file_id: UUID, expires: int, signature: str, thumbnail: str
) -> Content | Redirect:
    """Return the content that a link leads to; or where it is, if the settings want that and the storage can.

    Raises:
        LinkInvalid: it was changed, or its time is over.
        NotFound: the file is gone.
    """
    file, left = await follow_link(context, file_id, expires, signature, thumbnail)
    if context.runtime.settings.files.redirect:
        storage = await context.runtime.storage.storage_of(context.workspace.workspace_id)
        key = rules.key_of(context.workspace.workspace_id, file_id, thumbnail or None)
        address = await storage.sign(key, left)
        if address is not None:
            return Redirect(address)
    return await _content(context, file, thumbnail or None, f"private, max-age={left}")


async def _content(context: ReadContext, file: StoredFile, thumbnail: str | None, cache: str) -> Content:
    storage = await context.runtime.storage.storage_of(context.workspace.workspace_id)
    key = rules.key_of(context.workspace.workspace_id, file.id, thumbnail)
    size, content_type, tag = file.size_bytes, file.content_type, (file.sha256 or b"").hex()
    if thumbnail is not None:
        size, content_type, tag = (
            await _thumbnail_size(context, storage, file, thumbnail),
            THUMBNAIL_TYPE,
            tag + thumbnail,
        )
    return Content(
        read=lambda start, end: _read(storage, key, start, end),
        size=size,
        tag=tag,
        modified_at=file.created_at,
        content_type=shown_type(content_type),
        filename=file.name if thumbnail is None else f"{thumbnail}.webp",
        inline=content_type in rules.SHOWN,
        viewed=content_type == rules.PDF,
        cache=cache,
    )


async def _thumbnail_size(context: ReadContext, storage: Storage, file: StoredFile, thumbnail: str) -> int:
    kind = rules.kind_named(context.runtime.parts, file.kind)
    if kind is None or thumbnail not in kind.thumbnails or not kind.cleans(file.content_type):
        raise NotFound
    try:
        return (await storage.stat(rules.key_of(context.workspace.workspace_id, file.id, thumbnail))).size
    except Missing:
        raise ThumbnailPending from None


def shown_type(content_type: str) -> str:
    """Return the value of `Content-Type`: texts were found to be UTF-8."""
    return f"{content_type}; charset=utf-8" if content_type.startswith("text/") else content_type


async def _read(storage: Storage, key: str, start: int, end: int) -> AsyncIterator[bytes]:
    try:
        async for part in storage.read(key, start, end):
            yield part
    except Missing:
        # The row says that it is there, so something is wrong that the caller cannot mend: `courtyard files check`.
        raise StorageUnavailable("The file is missing in the storage.") from None
