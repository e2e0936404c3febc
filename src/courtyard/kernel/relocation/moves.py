"""Moves in the main database: where each one stands."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import LargeBinary, String, Uuid, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from courtyard.kernel.crypto import KeyRing
from courtyard.kernel.database import Prepared, ReadUnit, UnitOfWork, UtcDateTime
from courtyard.kernel.ids import new_id
from courtyard.kernel.relocation.models import COPYING, MoveRow

_COLUMNS = ("workspace_move.source", "workspace_move.target")


class Move(msgspec.Struct, frozen=True):
    """A move; the URLs are encrypted, None for the main database."""

    workspace_id: UUID
    id: UUID
    state: str
    source: bytes | None
    target: bytes | None
    started_at: datetime
    changed_at: datetime


_ID = bindparam("id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_STATE = bindparam("new_state", type_=String(), required=True)
_FIND = Prepared(
    select(
        MoveRow.workspace_id,
        MoveRow.id,
        MoveRow.state,
        MoveRow.source,
        MoveRow.target,
        MoveRow.started_at,
        MoveRow.changed_at,
    ).where(MoveRow.workspace_id == _ID),
    Move,
)
_BEGIN = Prepared(
    upsert(MoveRow)
    .values(
        workspace_id=_ID,
        id=bindparam("move_id", type_=Uuid(), required=True),
        state=_STATE,
        source=bindparam("source", type_=LargeBinary(), required=True),
        target=bindparam("target", type_=LargeBinary(), required=True),
        started_at=_NOW,
        changed_at=_NOW,
    )
    .on_conflict_do_nothing()
)
_PASS = Prepared(
    update(MoveRow)
    .where(MoveRow.workspace_id == _ID, MoveRow.state == bindparam("old_state", type_=String(), required=True))
    .values(state=_STATE, changed_at=_NOW)
)
_END = Prepared(delete(MoveRow).where(MoveRow.workspace_id == _ID))


async def find_move(unit: ReadUnit, workspace_id: UUID) -> Move | None:
    """Return the move of a workspace that has not been cleared away."""
    return await unit.first(_FIND, id=workspace_id)


async def begin(
    unit: UnitOfWork, keys: KeyRing, workspace_id: UUID, source: str | None, target: str | None, now: datetime
) -> None:
    """Write down that a workspace is to be moved; does nothing where it is being moved."""
    encrypted = [
        None if url is None else keys.encrypt(url.encode(), column, workspace_id)
        for url, column in zip((source, target), _COLUMNS, strict=True)
    ]
    values = dict(zip(("source", "target"), encrypted, strict=True))
    await unit.execute(_BEGIN, id=workspace_id, move_id=new_id(), new_state=COPYING, now=now, **values)


async def advance(unit: UnitOfWork, move: Move, state: str, now: datetime) -> bool:
    """Let a move come further; return False where somebody else has."""
    return bool(await unit.execute(_PASS, id=move.workspace_id, old_state=move.state, new_state=state, now=now))


async def end(unit: UnitOfWork, workspace_id: UUID) -> None:
    """Forget a move."""
    await unit.execute(_END, id=workspace_id)


def urls_of(keys: KeyRing, move: Move) -> list[str | None]:
    """Return the URLs of both ends; None for the main database.

    Raises:
        CryptoError: a key is not there any more.
    """
    return [
        None if value is None else keys.decrypt(value, column, move.workspace_id).decode()
        for value, column in zip((move.source, move.target), _COLUMNS, strict=True)
    ]
