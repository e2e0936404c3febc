"""HTTP: files."""

from typing import Annotated
from uuid import UUID

from msgspec import Meta

from courtyard.kernel.context import Context, ReadContext, Work
from courtyard.kernel.files import queries, service
from courtyard.kernel.files.errors import (
    FileAttached,
    FileTypeRefused,
    LinkInvalid,
    ThumbnailPending,
    UnknownFileKind,
    UploadInProgress,
    UploadLost,
)
from courtyard.kernel.files.permissions import READ, UPLOAD
from courtyard.kernel.files.schemas import File, FileName, KindName, Link, NewLink, VariantName
from courtyard.kernel.files.service.contents import read_content, read_link
from courtyard.kernel.files.service.links import make_link as sign_link
from courtyard.kernel.files.service.uploads import receive
from courtyard.kernel.http import (
    PUBLIC,
    Answer,
    Body,
    Content,
    IdempotencyKeyReused,
    RangeNotSatisfiable,
    Redirect,
    UploadTooSlow,
    delete,
    get,
    post,
)
from courtyard.kernel.pictures import PictureRefused, TooManyPictures
from courtyard.kernel.quotas import QuotaExceeded
from courtyard.kernel.storage import StorageUnavailable, TooManyUploads

FILES = "/workspaces/{workspace:str}/files"
FILE = f"{FILES}/{{file_id:uuid}}"
ANYTHING = ("application/octet-stream",)

Expires = Annotated[int, Meta(ge=0, le=253_402_300_799, description="Until when the link is good, in seconds of Unix.")]
Signature = Annotated[str, Meta(max_length=64, pattern=r"^[A-Za-z0-9_-]+$(?!\n)", description="What makes it good.")]


@post(
    FILES,
    permission=UPLOAD,
    idempotent=False,
    problems=[
        UnknownFileKind,
        FileTypeRefused,
        QuotaExceeded,
        UploadInProgress,
        UploadLost,
        IdempotencyKeyReused,
        UploadTooSlow,
        TooManyUploads,
        PictureRefused,
        TooManyPictures,
        StorageUnavailable,
    ],
)
async def upload_file(work: Work, body: Body, kind: KindName, name: FileName | None = None) -> Answer[File]:
    """Upload a file.

    The body is the file as it is, or a form with one file. What it is, its content decides. With `Idempotency-Key`,
    the same upload twice makes one file. The file waits a day for becoming part of something.
    """
    file, is_known = await receive(work, body, kind, name)
    return Answer(file, headers=[(b"idempotent-replayed", b"true")] if is_known else ())


@get(FILE, permission=READ)
async def get_file(context: ReadContext, file_id: UUID) -> File:
    """Get what is known of a file."""
    return await queries.get_file(context, file_id)


@get(
    f"{FILE}/content",
    permission=READ,
    media_types=ANYTHING,
    problems=[RangeNotSatisfiable, StorageUnavailable, ThumbnailPending],
)
async def get_file_content(context: ReadContext, file_id: UUID, thumbnail: VariantName | None = None) -> Content:
    """Get the content of a file or of a thumbnail of it, whole or a range."""
    return await read_content(context, file_id, thumbnail)


@post(f"{FILE}/links", permission=READ, idempotent=False)
async def make_file_link(context: ReadContext, file_id: UUID, data: NewLink) -> Link:
    """Make a link to the content of a file, with which anybody reads it for a while."""
    return await sign_link(context, file_id, data)


@get(
    f"{FILE}/link",
    permission=PUBLIC,
    media_types=ANYTHING,
    problems=[LinkInvalid, RangeNotSatisfiable, StorageUnavailable, ThumbnailPending],
)
async def follow_file_link(
    context: ReadContext, file_id: UUID, expires: Expires, signature: Signature, thumbnail: VariantName | None = None
) -> Content | Redirect:
    """Get the content that a link leads to, whole or a range of it."""
    return await read_link(context, file_id, expires, signature, thumbnail or "")


@delete(FILE, permission=UPLOAD, problems=[FileAttached])
async def remove_file(context: Context, file_id: UUID) -> None:
    """Remove an own file that is part of nothing."""
    await service.remove_file(context, file_id)


ROUTES = (upload_file, get_file, get_file_content, make_file_link, follow_file_link, remove_file)
