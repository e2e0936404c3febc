"""The statements that change files. What two do at once is decided by the database, in the condition of each."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, LargeBinary, String, Uuid, and_, bindparam, delete, or_, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_there

from courtyard.kernel.context import Context
from courtyard.kernel.database import WORKSPACE, AnyOf, Prepared, UtcDateTime
from courtyard.kernel.files.models import FileRow


def _bound(name: str, kind: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's types
    return bindparam(name, type_=kind, required=True)


_THIS = (FileRow.workspace_id == WORKSPACE, FileRow.id == _bound("id", Uuid()))
_KIND = FileRow.kind == _bound("kind", String())
_UPLOADING, _READY = FileRow.state == "uploading", FileRow.state == "ready"

_CLAIM = Prepared(
    insert_unless_there(FileRow)
    .values(
        workspace_id=WORKSPACE,
        state="uploading",
        id=_bound("id", Uuid()),
        owner_id=_bound("owner_id", Uuid()),
        kind=_bound("kind", String()),
        name=_bound("name", String()),
        content_type=_bound("content_type", String()),
        size_bytes=_bound("size_bytes", BigInteger()),
        upload_key=_bound("upload_key", String()),
        thumbnail_bytes=0,
        created_at=_bound("now", UtcDateTime()),
        alive_at=_bound("now", UtcDateTime()),
    )
    .on_conflict_do_nothing()
)
_FINISH = Prepared(
    update(FileRow)
    .where(*_THIS, _UPLOADING)
    .values(
        state="ready",
        size_bytes=_bound("size_bytes", BigInteger()),
        sha256=_bound("sha256", LargeBinary()),
        received_sha256=_bound("received_sha256", LargeBinary()),
        width=_bound("width", BigInteger()),
        height=_bound("height", BigInteger()),
    )
)
_BEAT = Prepared(update(FileRow).where(*_THIS, _UPLOADING).values(alive_at=_bound("now", UtcDateTime())))
# Its key is free for whoever sends it again; the bytes and their part of the quota are for the sweep.
_SUPERSEDE = Prepared(
    update(FileRow)
    .where(*_THIS, _UPLOADING, FileRow.alive_at < _bound("silent_since", UtcDateTime()))
    .values(state="removed", upload_key=None)
)
_COUNT_THUMBNAILS = Prepared(
    update(FileRow).where(*_THIS, _READY).values(thumbnail_bytes=_bound("thumbnail_bytes", BigInteger()))
)
_ABANDON = Prepared(delete(FileRow).where(*_THIS, _UPLOADING))
_ATTACH = Prepared(
    update(FileRow)
    .where(
        FileRow.workspace_id == WORKSPACE,
        _READY,
        _KIND,
        FileRow.owner_id == _bound("owner_id", Uuid()),
        FileRow.attached_id.is_(None),
        AnyOf(FileRow.id.expression, "ids"),
    )
    .values(attached_id=_bound("attached_id", Uuid()))
)
_REMOVE = Prepared(update(FileRow).where(*_THIS, _READY).values(state="removed"))
_DETACH = Prepared(
    update(FileRow)
    .where(FileRow.workspace_id == WORKSPACE, _READY, _KIND, AnyOf(FileRow.attached_id.expression, "attached_ids"))
    .values(state="removed")
)
# What became part of nothing in time, and uploads whose process has died. Whoever attaches or finishes one at the same
# time holds its row: then the condition is looked at again, and does not hold.
_EXPIRE = Prepared(
    update(FileRow)
    .where(
        *_THIS,
        or_(
            and_(
                _READY, FileRow.attached_id.is_(None), FileRow.created_at < _bound("unattached_before", UtcDateTime())
            ),
            and_(_UPLOADING, FileRow.created_at < _bound("uploading_before", UtcDateTime())),
        ),
    )
    .values(state="removed")
)
_FORGET = Prepared(delete(FileRow).where(*_THIS, FileRow.state == "removed"))


async def claim(context: Context, file_id: UUID, **values: Any) -> bool:
    """Write that a file is being uploaded; False where the same upload is known by its key."""
    return bool(await context.db.execute(_CLAIM, id=file_id, now=context.now, **values))


async def finish(context: Context, file_id: UUID, **values: Any) -> bool:
    """Let a file that is stored be seen; False where its upload was cleared away meanwhile."""
    return bool(await context.db.execute(_FINISH, id=file_id, **values))


async def beat(context: Context, file_id: UUID) -> None:
    """Say that an upload goes on."""
    await context.db.execute(_BEAT, id=file_id, now=context.now)


async def supersede(context: Context, file_id: UUID, silent_since: datetime) -> bool:
    """Give up an upload of which nothing was heard since a moment; False where something was, or it has ended."""
    return bool(await context.db.execute(_SUPERSEDE, id=file_id, silent_since=silent_since))


async def count_thumbnails(context: Context, file_id: UUID, thumbnail_bytes: int) -> None:
    """Say how long the thumbnails of a file are, whose row is locked."""
    await context.db.execute(_COUNT_THUMBNAILS, id=file_id, thumbnail_bytes=thumbnail_bytes)


async def abandon(context: Context, file_id: UUID) -> bool:
    """Forget an upload that has not ended; False where it has."""
    return bool(await context.db.execute(_ABANDON, id=file_id))


async def attach(context: Context, file_ids: list[UUID], kind: str, attached_id: UUID) -> int:
    """Make files of the caller part of a thing; return how many of them could be."""
    values = {"ids": file_ids, "kind": kind, "attached_id": attached_id, "owner_id": context.account_id}
    return await context.db.execute(_ATTACH, **values)


async def remove(context: Context, file_id: UUID) -> bool:
    """Let a file be seen no more."""
    return bool(await context.db.execute(_REMOVE, id=file_id))


async def detach(context: Context, kind: str, attached_ids: list[UUID]) -> int:
    """Let the files of things be seen no more; return how many there were."""
    return await context.db.execute(_DETACH, kind=kind, attached_ids=attached_ids)


async def expire(context: Context, file_id: UUID, unattached_before: datetime, uploading_before: datetime) -> bool:
    """Let a file be seen no more that became part of nothing, or was never finished; False where it did or was."""
    values = {"unattached_before": unattached_before, "uploading_before": uploading_before}
    return bool(await context.db.execute(_EXPIRE, id=file_id, **values))


async def forget(context: Context, file_id: UUID) -> bool:
    """Forget a file that is not stored any more; False where somebody else has."""
    return bool(await context.db.execute(_FORGET, id=file_id))
