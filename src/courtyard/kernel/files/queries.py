"""Every read of files."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, String, Uuid, and_, bindparam, cast, func, or_, select

from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import WORKSPACE, AnyOf, Database, Prepared, UtcDateTime
from courtyard.kernel.errors import NotFound
from courtyard.kernel.files import rules
from courtyard.kernel.files.models import FileRow
from courtyard.kernel.files.permissions import READ
from courtyard.kernel.files.rules import FileKind
from courtyard.kernel.files.schemas import Due, File, StoredFile

_ID = FileRow.id == bindparam("id", type_=Uuid(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)
_COLUMNS = (
    FileRow.id,
    FileRow.owner_id,
    FileRow.kind,
    FileRow.name,
    FileRow.content_type,
    FileRow.size_bytes,
    FileRow.sha256,
    FileRow.width,
    FileRow.height,
    FileRow.attached_id,
    FileRow.created_at,
    FileRow.state,
    FileRow.received_sha256,
    FileRow.thumbnail_bytes,
)
_FILES = select(*_COLUMNS).where(FileRow.workspace_id == WORKSPACE)
_READY = FileRow.state == "ready"

_ONE = Prepared(_FILES.where(_ID, _READY), StoredFile)
_LOCKED = Prepared(_FILES.where(_ID, _READY).with_for_update(), StoredFile)
_BY_KEY = Prepared(
    _FILES.where(
        FileRow.owner_id == bindparam("owner_id", type_=Uuid(), required=True),
        FileRow.upload_key == bindparam("upload_key", type_=String(), required=True),
    ),
    StoredFile,
)
_OF_THINGS = Prepared(
    _FILES.where(
        _READY,
        FileRow.kind == bindparam("kind", type_=String(), required=True),
        AnyOf(FileRow.attached_id.expression, "attached_ids"),
    ).order_by(FileRow.id),
    StoredFile,
)
# PostgreSQL adds up to a `numeric`, which is no number in JSON.
_BYTES = Prepared(
    select(cast(func.coalesce(func.sum(FileRow.size_bytes + FileRow.thumbnail_bytes), 0), BigInteger)).where(
        FileRow.workspace_id == WORKSPACE
    ),
    int,
)

# For the upkeep of a whole database.
_DUE = select(FileRow.workspace_id, FileRow.id, FileRow.kind, FileRow.size_bytes, FileRow.thumbnail_bytes)
_REMOVED = Prepared(
    _DUE.where(FileRow.state == "removed").order_by(FileRow.created_at).limit(_LIMIT),
    Due,
    across_workspaces=True,
)
_OVER = Prepared(
    _DUE.where(
        or_(
            and_(
                _READY,
                FileRow.attached_id.is_(None),
                FileRow.created_at < bindparam("unattached_before", type_=UtcDateTime(), required=True),
            ),
            and_(
                FileRow.state == "uploading",
                FileRow.created_at < bindparam("uploading_before", type_=UtcDateTime(), required=True),
            ),
        )
    )
    .order_by(FileRow.created_at)
    .limit(_LIMIT),
    Due,
    across_workspaces=True,
)
_KNOWN = Prepared(
    select(FileRow.id).where(FileRow.workspace_id == WORKSPACE, AnyOf(FileRow.id.expression, "ids")), UUID
)
_STORED = Prepared(
    _DUE.where(
        _READY,
        FileRow.created_at < bindparam("before", type_=UtcDateTime(), required=True),
        FileRow.id > bindparam("after", type_=Uuid(), required=True),
    )
    .order_by(FileRow.id)
    .limit(_LIMIT),
    Due,
    across_workspaces=True,
)


async def get_file(context: ReadContext, file_id: UUID) -> File:
    """Return a file that the caller may read.

    Raises:
        NotFound: there is none, or the caller may not know of it.
    """
    return (await readable(context, file_id)).shown()


async def readable(context: ReadContext, file_id: UUID) -> StoredFile:
    """Return a file that the caller may read: an own one, or one of a thing that the application lets the caller see.

    Raises:
        NotFound: there is none, or the caller may not know of it.
    """
    context.require(READ)
    file = await stored(context, file_id)
    if file.attached_id is None:
        if file.owner_id != context.account_id:
            raise NotFound
        return file
    kind = rules.kind_named(context.runtime.parts, file.kind)
    if kind is None:
        # Its application is not installed any more.
        raise NotFound
    await kind.authorise(context, file.attached_id)
    return file


async def stored(context: ReadContext, file_id: UUID) -> StoredFile:
    """Return a file of the workspace, for a caller whose rights are known.

    Raises:
        NotFound: there is none.
    """
    file = await context.db.first(_ONE, id=file_id)
    if file is None:
        raise NotFound
    return file


async def lock(context: ReadContext, file_id: UUID) -> StoredFile:
    """Return a file that nobody else changes until the commit.

    Raises:
        NotFound: there is none.
    """
    file = await context.db.first(_LOCKED, id=file_id)
    if file is None:
        raise NotFound
    return file


async def of_upload(context: ReadContext, upload_key: str) -> StoredFile | None:
    """Return what the caller has uploaded, or is uploading, under a key."""
    return await context.db.first(_BY_KEY, owner_id=context.account_id, upload_key=upload_key)


async def files_of(context: ReadContext, kind: FileKind, ids: Sequence[UUID]) -> Mapping[UUID, list[File]]:
    """Return the files of things, by the id of the thing, in the order of their upload.

    For the application of the kind, which knows who may see the things. Ask for no more than a page of them.
    """
    found: dict[UUID, list[File]] = {}
    for file in await context.db.all(_OF_THINGS, kind=kind.name, attached_ids=list(ids)):
        if file.attached_id is not None:
            found.setdefault(file.attached_id, []).append(file.shown())
    return found


async def count_bytes(context: ReadContext) -> int:
    """Return how many bytes of files and thumbnails the workspace has."""
    return await context.db.one(_BYTES)


async def over(database: Database, unattached_before: datetime, uploading_before: datetime, limit: int) -> list[Due]:
    """Return files of a database that became part of nothing in time, or were never finished."""
    values = {"unattached_before": unattached_before, "uploading_before": uploading_before, "limit": limit}
    return await database.fetch(_OVER, values)


async def removed(database: Database, limit: int) -> list[Due]:
    """Return files of a database that nobody sees any more, and that are stored still."""
    return await database.fetch(_REMOVED, {"limit": limit})


async def known(context: ReadContext, ids: Sequence[UUID]) -> set[UUID]:
    """Return those of these ids that are files of the workspace, in whichever state."""
    return set(await context.db.all(_KNOWN, ids=list(ids)))


async def ready(database: Database, before: datetime, after: UUID, limit: int) -> list[Due]:
    """Return files of a database in the order of their ids, from behind one on."""
    return await database.fetch(_STORED, {"before": before, "after": after, "limit": limit})
