"""Where a workspace lives. What opens a database or a bucket is never shown."""

import msgspec

from courtyard.kernel.context import ReadContext
from courtyard.kernel.crypto import CryptoError
from courtyard.kernel.database import address
from courtyard.kernel.relocation import find_move, urls_of
from courtyard.kernel.residence.permissions import READ
from courtyard.kernel.residence.schemas import DatabasePlace, MoveState, StoragePlace, WorkspaceMove, WorkspacePlaces
from courtyard.kernel.settings import StorageSettings
from courtyard.kernel.shards import find_stored, load_placed, storages_of, url_of


async def get_places(context: ReadContext) -> WorkspacePlaces:
    """Return where the workspace lives.

    Raises:
        Forbidden: the caller does not own it.
    """
    context.require(READ)
    return WorkspacePlaces(await _database(context), await _storage(context), await _move(context))


async def _database(context: ReadContext) -> DatabasePlace:
    placed = await load_placed(context.db, context.workspace.workspace_id)
    if placed is None:
        return DatabasePlace(own=False, address=None, since=None)
    try:
        where = address(url_of(context.runtime.keys, placed))
    except CryptoError:
        where = None
    return DatabasePlace(own=True, address=where, since=placed.placed_at)


async def _storage(context: ReadContext) -> StoragePlace:
    stored = await find_stored(context.db, context.workspace.workspace_id)
    place = StoragePlace(own=False, kind=None, bucket=None, prefix=None, endpoint=None, since=None, moving=False)
    if stored is None:
        return place
    place = msgspec.structs.replace(
        place, own=stored.written is not None, since=stored.placed_at, moving=stored.is_also_read
    )
    try:
        written, _ = storages_of(context.runtime.keys, stored)
    except CryptoError:
        return place
    if written is None:
        return place
    chosen = StorageSettings.model_validate_json(written)
    return msgspec.structs.replace(
        place, kind=chosen.kind, bucket=chosen.bucket, prefix=chosen.prefix, endpoint=chosen.endpoint
    )


async def _move(context: ReadContext) -> WorkspaceMove | None:
    found = await find_move(context.db, context.workspace.workspace_id)
    if found is None:
        return None
    try:
        _, target = urls_of(context.runtime.keys, found)
    except CryptoError:
        target = None
    where = None if target is None else address(target)
    return WorkspaceMove(msgspec.convert(found.state, MoveState), where, found.started_at, found.changed_at)
