"""The bytes of a file, as an answer."""

from collections.abc import AsyncIterator
from uuid import UUID

from courtyard.kernel.context import ReadContext
from courtyard.kernel.files import queries, rules
from courtyard.kernel.files.schemas import StoredFile
from courtyard.kernel.files.service.links import follow_link
from courtyard.kernel.http import Content, Redirect
from courtyard.kernel.storage import Missing, Storage, StorageUnavailable

# Kept by whoever read it, and asked for again each time: rights may have changed.
CHECKED = "private, no-cache"


async def read_content(context: ReadContext, file_id: UUID) -> Content:
    """Return the content of a file that the caller may read.

    Raises:
        NotFound: there is none, or the caller may not know of it.
    """
    return await _content(context, await queries.readable(context, file_id), CHECKED)


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
        address = await storage.sign(rules.key_of(context.workspace.workspace_id, file_id), left)
        if address is not None:
            return Redirect(address)
    return await _content(context, file, f"private, max-age={left}")


async def _content(context: ReadContext, file: StoredFile, cache: str) -> Content:
    storage = await context.runtime.storage.storage_of(context.workspace.workspace_id)
    key = rules.key_of(context.workspace.workspace_id, file.id)
    return Content(
        read=lambda start, end: _read(storage, key, start, end),
        size=file.size_bytes,
        tag=(file.sha256 or b"").hex(),
        modified_at=file.created_at,
        content_type=shown_type(file.content_type),
        filename=file.name,
        inline=file.content_type in rules.SHOWN,
        viewed=file.content_type == rules.PDF,
        cache=cache,
    )


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
