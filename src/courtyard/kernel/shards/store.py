"""Placements in the main database, and the marker in each."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import Boolean, LargeBinary, Uuid, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from courtyard.kernel.crypto import KeyRing
from courtyard.kernel.database import INSTALLATION, WORKSPACE, Database, Prepared, ReadUnit, UnitOfWork, UtcDateTime
from courtyard.kernel.ids import new_id
from courtyard.kernel.shards.models import MarkerRow, PlacementRow, PlacementsRow, StorageRow

# What a URL is encrypted for, with the id of the workspace.
URI_COLUMN = "workspace_placement.uri"


STORAGE_COLUMNS = ("workspace_storage.written", "workspace_storage.also_read")


class Stored(msgspec.Struct, frozen=True):
    """Where the files of a workspace are; the settings are encrypted, None for the shared storage."""

    workspace_id: UUID
    written: bytes | None
    also_read: bytes | None
    is_also_read: bool
    placed_at: datetime


class Placed(msgspec.Struct, frozen=True):
    """Where a workspace lives; the URL is encrypted."""

    workspace_id: UUID
    uri: bytes
    placed_at: datetime


_ID = bindparam("id", type_=Uuid(), required=True)
_URI = bindparam("uri", type_=LargeBinary(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_INSTALLATION_ID = bindparam("installation_id", type_=Uuid(), required=True)

_NUMBER = Prepared(select(PlacementsRow.number), int)
_PLACED = Prepared(select(PlacementRow.workspace_id, PlacementRow.uri, PlacementRow.placed_at), Placed)
_PLACED_ONE = Prepared(
    select(PlacementRow.workspace_id, PlacementRow.uri, PlacementRow.placed_at).where(PlacementRow.workspace_id == _ID),
    Placed,
)
_STORED_COLUMNS = (
    StorageRow.workspace_id,
    StorageRow.written,
    StorageRow.also_read,
    StorageRow.is_also_read,
    StorageRow.placed_at,
)
_STORED = Prepared(select(*_STORED_COLUMNS), Stored)
_STORED_ONE = Prepared(select(*_STORED_COLUMNS).where(StorageRow.workspace_id == _ID), Stored)
_STORAGE = {
    "written": bindparam("written", type_=LargeBinary(), required=True),
    "also_read": bindparam("also_read", type_=LargeBinary(), required=True),
    "is_also_read": bindparam("is_also_read", type_=Boolean(), required=True),
    "placed_at": _NOW,
}
_STORE = Prepared(
    upsert(StorageRow)
    .values(workspace_id=_ID, **_STORAGE)
    .on_conflict_do_update(index_elements=[StorageRow.workspace_id], set_=_STORAGE)
)
_COUNT = Prepared(
    upsert(PlacementsRow)
    .values(id=1, number=1)
    .on_conflict_do_update(index_elements=[PlacementsRow.id], set_={"number": PlacementsRow.number + 1})
)
_PLACE = Prepared(
    upsert(PlacementRow)
    .values(workspace_id=_ID, uri=_URI, placed_at=_NOW)
    .on_conflict_do_update(index_elements=[PlacementRow.workspace_id], set_={"uri": _URI, "placed_at": _NOW})
)
_UNPLACE = Prepared(delete(PlacementRow).where(PlacementRow.workspace_id == _ID))
_MARKER = Prepared(select(MarkerRow.installation_id).where(MarkerRow.workspace_id == WORKSPACE), UUID)
_MARK = Prepared(
    upsert(MarkerRow)
    .values(workspace_id=WORKSPACE, installation_id=_INSTALLATION_ID, created_at=_NOW)
    .on_conflict_do_nothing()
)


def url_of(keys: KeyRing, placed: Placed) -> str:
    """Return the URL of the database of a workspace.

    Raises:
        CryptoError: its key is not there any more.
    """
    return keys.decrypt(placed.uri, URI_COLUMN, placed.workspace_id).decode()


async def number_of_changes(main: Database) -> int:
    """Return the number that goes up with each change of a placement."""
    return next(iter(await main.fetch(_NUMBER, {})), 0)


async def load_placements(main: Database) -> list[Placed]:
    """Return every workspace that does not live in the main database."""
    return await main.fetch(_PLACED, {})


async def load_placed(unit: ReadUnit, workspace_id: UUID) -> Placed | None:
    """Return where a workspace lives; None for the main database."""
    return await unit.first(_PLACED_ONE, id=workspace_id)


async def place(unit: UnitOfWork, keys: KeyRing, workspace_id: UUID, url: str | None, now: datetime) -> None:
    """Let a workspace live in another database.

    Args:
        unit: outside of any workspace.
        keys: encrypts the URL.
        workspace_id: which workspace.
        url: of the database; None for the main one.
        now: the time.
    """
    # The lock of this row lets placements change one after the other.
    await unit.execute(_COUNT)
    if url is None:
        await unit.execute(_UNPLACE, id=workspace_id)
    else:
        encrypted = keys.encrypt(url.encode(), URI_COLUMN, workspace_id)
        await unit.execute(_PLACE, id=workspace_id, uri=encrypted, now=now)


async def load_stored(main: Database) -> list[Stored]:
    """Return every workspace whose files are not simply in the shared storage."""
    return await main.fetch(_STORED, {})


async def find_stored(unit: ReadUnit, workspace_id: UUID) -> Stored | None:
    """Return where the files of a workspace are; None for the shared storage."""
    return await unit.first(_STORED_ONE, id=workspace_id)


def storages_of(keys: KeyRing, stored: Stored) -> list[bytes | None]:
    """Return the settings of the storage that is written to, and of the one that is read too.

    Raises:
        CryptoError: a key is not there any more.
    """
    return [
        None if value is None else keys.decrypt(value, column, stored.workspace_id)
        for value, column in zip((stored.written, stored.also_read), STORAGE_COLUMNS, strict=True)
    ]


async def store_in(
    unit: UnitOfWork,
    keys: KeyRing,
    workspace_id: UUID,
    settings: tuple[bytes | None, bytes | None],
    now: datetime,
    *,
    also: bool,
) -> None:
    """Let the files of a workspace be written to one storage, and be read from another too.

    Args:
        unit: outside of any workspace.
        keys: encrypts the settings.
        workspace_id: which workspace.
        settings: of both, as JSON; None for the shared one.
        now: the time.
        also: whether there is another.
    """
    await unit.execute(_COUNT)
    written, also_read = (
        None if value is None else keys.encrypt(value, column, workspace_id)
        for value, column in zip(settings, STORAGE_COLUMNS, strict=True)
    )
    await unit.execute(_STORE, id=workspace_id, written=written, also_read=also_read, is_also_read=also, now=now)


async def marker_of(database: Database) -> UUID | None:
    """Return the id of the installation that a database belongs to; None where it says nothing."""
    return next(iter(await database.fetch(_MARKER, {"workspace_id": INSTALLATION})), None)


async def mark(database: Database, id_: UUID, now: datetime) -> UUID:
    """Let a database belong to an installation, unless it belongs to one; return which."""
    await database.fetch(_MARK, {"workspace_id": INSTALLATION, "installation_id": id_, "now": now}, writers=True)
    marked = await marker_of(database)
    return id_ if marked is None else marked


async def installation_id(main: Database, now: datetime) -> UUID:
    """Return the id of this installation, which it is given when it is first asked for."""
    return await marker_of(main) or await mark(main, new_id(), now)
