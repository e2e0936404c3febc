"""The chain in the database: what waits for a seal, seals, heads, and what is removed at the old end."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Uuid, and_, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_there

from courtyard.kernel.crypto import Signer
from courtyard.kernel.database import AnyOf, Database, Prepared, UnitOfWork, UtcDateTime
from courtyard.kernel.trail import GENESIS, AuditChainRow, AuditEntryRow, AuditPendingRow, AuditSealRow, write

PURPOSE = "audit"

_TENANT = bindparam("tenant", type_=Uuid(), required=True)
_FIRST = bindparam("first", type_=Uuid(), required=True)
_NUMBER = bindparam("after_number", type_=BigInteger(), required=True)
_UNTIL = bindparam("until_number", type_=BigInteger(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)


class Head(msgspec.Struct, frozen=True):
    """The head of a chain, and its base: the last link that was removed with those before it."""

    workspace_id: UUID
    number: int
    digest: str
    base_number: int
    base_digest: str
    mac: str

    @property
    def signed(self) -> bytes:
        """The bytes under the keyed digest."""
        parts = (self.workspace_id.hex, self.number, self.digest, self.base_number, self.base_digest)
        return ":".join(map(str, parts)).encode()

    def is_ours(self, signer: Signer) -> bool:
        """Return whether a key of the ring has signed it."""
        try:
            mac = bytes.fromhex(self.mac)
        except ValueError:
            return False
        return signer.matches(PURPOSE, self.signed, mac)

    def under(self, signer: Signer) -> "Head":
        """Return it signed with the newest key."""
        return msgspec.structs.replace(self, mac=signer.digest(PURPOSE, self.signed).hex())


class NewSeal(msgspec.Struct, frozen=True):
    """A seal to be written, in the order of its columns."""

    workspace_id: UUID
    number: int
    entry_id: UUID
    digest: str


class Unsealed(msgspec.Struct, frozen=True):
    """An entry without a seal."""

    id: UUID
    created_at: datetime


_ENTRY = tuple(AuditEntryRow.__table__.columns)
_CREATED_AT = AuditEntryRow.__table__.columns.keys().index("created_at")
_HEAD = tuple(AuditChainRow.__table__.columns)

_WAITING = Prepared(
    select(AuditPendingRow.workspace_id)
    .where(AuditPendingRow.workspace_id >= _FIRST)
    .distinct()
    .order_by(AuditPendingRow.workspace_id)
    .limit(_LIMIT),
    UUID,
    across_workspaces=True,
)
_LOCK = Prepared(
    select(*_HEAD)
    .where(AnyOf(AuditChainRow.workspace_id.expression, "workspaces"))
    .order_by(AuditChainRow.workspace_id)
    .with_for_update(skip_locked=True),
    Head,
    across_workspaces=True,
)
_KNOWN = Prepared(
    select(AuditChainRow.workspace_id).where(AnyOf(AuditChainRow.workspace_id.expression, "workspaces")),
    UUID,
    across_workspaces=True,
)
_BEGIN = Prepared(
    insert_unless_there(AuditChainRow)
    .values({column.name: bindparam(f"new_{column.name}", type_=column.type, required=True) for column in _HEAD})
    .on_conflict_do_nothing(),
    across_workspaces=True,
)
_MOVE = Prepared(
    update(AuditChainRow)
    .where(AuditChainRow.workspace_id == _TENANT)
    .values(
        {
            column.name: bindparam(f"new_{column.name}", type_=column.type, required=True)
            for column in _HEAD
            if column.name != "workspace_id"
        }
    ),
    across_workspaces=True,
)
_HAS_SEALS = Prepared(
    select(AuditSealRow.number).where(AuditSealRow.workspace_id == _TENANT).limit(1), int, across_workspaces=True
)
# The order of its primary key, so that a long queue is not sorted for each lot. Within a workspace: by time.
_TAKE = Prepared(
    select(*_ENTRY)
    .join(
        AuditPendingRow,
        and_(AuditPendingRow.workspace_id == AuditEntryRow.workspace_id, AuditPendingRow.entry_id == AuditEntryRow.id),
    )
    .where(AnyOf(AuditPendingRow.workspace_id.expression, "workspaces"))
    .order_by(AuditPendingRow.workspace_id, AuditPendingRow.entry_id)
    .limit(_LIMIT),
    tuple,
    across_workspaces=True,
)
_SETTLE = Prepared(
    delete(AuditPendingRow).where(
        AnyOf(AuditPendingRow.workspace_id.expression, "workspaces"), AnyOf(AuditPendingRow.entry_id.expression, "ids")
    ),
    across_workspaces=True,
)
_LINKS = Prepared(
    select(AuditSealRow.number, AuditSealRow.entry_id, AuditSealRow.digest, *_ENTRY)
    .outerjoin(
        AuditEntryRow,
        and_(AuditEntryRow.workspace_id == AuditSealRow.workspace_id, AuditEntryRow.id == AuditSealRow.entry_id),
    )
    .where(AuditSealRow.workspace_id == _TENANT, AuditSealRow.number > _NUMBER, AuditSealRow.number <= _UNTIL)
    .order_by(AuditSealRow.number)
    .limit(_LIMIT),
    tuple,
    across_workspaces=True,
)
_ONE_HEAD = Prepared(select(*_HEAD).where(AuditChainRow.workspace_id == _TENANT), Head, across_workspaces=True)
_HEADS = Prepared(
    select(*_HEAD).where(AuditChainRow.workspace_id >= _FIRST).order_by(AuditChainRow.workspace_id).limit(_LIMIT),
    Head,
    across_workspaces=True,
)
_LAST_SEAL = Prepared(
    select(AuditSealRow.number)
    .where(AuditSealRow.workspace_id == _TENANT)
    .order_by(AuditSealRow.number.desc())
    .limit(1),
    int,
    across_workspaces=True,
)
_UNSEALED = Prepared(
    select(AuditEntryRow.id, AuditEntryRow.created_at)
    .outerjoin(
        AuditSealRow,
        and_(AuditSealRow.workspace_id == AuditEntryRow.workspace_id, AuditSealRow.entry_id == AuditEntryRow.id),
    )
    .where(
        AuditEntryRow.workspace_id == _TENANT,
        AuditSealRow.number.is_(None),
        AuditEntryRow.created_at < bindparam("before", type_=UtcDateTime(), required=True),
    )
    .order_by(AuditEntryRow.id)
    .limit(_LIMIT),
    Unsealed,
    across_workspaces=True,
)
# One step at a time: neither database finds the different values at the head of an index by itself.
_NEXT = tuple(
    Prepared(
        select(column).where(column >= _FIRST).order_by(column).limit(1),
        UUID,
        across_workspaces=True,
    )
    for column in (AuditEntryRow.workspace_id, AuditSealRow.workspace_id, AuditChainRow.workspace_id)
)
_OLD_ENTRIES = Prepared(
    delete(AuditEntryRow).where(
        AuditEntryRow.workspace_id == _TENANT,
        AuditEntryRow.id.in_(
            select(AuditSealRow.entry_id).where(
                AuditSealRow.workspace_id == _TENANT,
                AuditSealRow.number <= bindparam("base", type_=BigInteger(), required=True),
            )
        ),
    ),
    across_workspaces=True,
)
_OLD_SEALS = Prepared(
    delete(AuditSealRow).where(
        AuditSealRow.workspace_id == _TENANT,
        AuditSealRow.number <= bindparam("base", type_=BigInteger(), required=True),
    ),
    across_workspaces=True,
)


def behind(workspace_id: UUID) -> UUID:
    """Return the id that comes directly behind another, for a walk over all of them."""
    return UUID(int=workspace_id.int + 1)


async def waiting(database: Database, first: UUID, limit: int) -> list[UUID]:
    """Return workspaces that have entries without a seal, in the order of their ids, at most `limit`.

    Args:
        database: where.
        first: where to begin.
        limit: how many at most.
    """
    return await database.fetch(_WAITING, {"first": first, "limit": limit})


async def lock_heads(unit: UnitOfWork, signer: Signer, workspaces: Sequence[UUID]) -> list[Head]:
    """Return the heads of chains, locked until the commit; without those that another sealer has locked.

    A chain that has not begun does so here. One whose head is gone, while its seals are there, is left alone.
    """
    known = set(await unit.all(_KNOWN, workspaces=list(workspaces)))
    for workspace_id in workspaces:
        if workspace_id not in known and not await unit.all(_HAS_SEALS, tenant=workspace_id):
            head = Head(workspace_id, 0, GENESIS, 0, GENESIS, "").under(signer)
            await unit.execute(_BEGIN, **_bound(head))
    return await unit.all(_LOCK, workspaces=list(workspaces))


async def take(unit: UnitOfWork, workspaces: Sequence[UUID], limit: int) -> list[Sequence[Any]]:
    """Return entries without a seal, as their columns, by workspace and time."""
    return [*await unit.all(_TAKE, workspaces=list(workspaces), limit=limit)]


async def add_seals(unit: UnitOfWork, seals: Sequence[NewSeal], heads: Sequence[Head]) -> None:
    """Write seals, move heads, and take the entries out of the queue."""
    for statement, values in write(AuditSealRow, seals):
        await unit.execute(statement, **values)
    for head in heads:
        await save_head(unit, head)
    workspaces = list({seal.workspace_id for seal in seals})
    await unit.execute(_SETTLE, workspaces=workspaces, ids=[seal.entry_id for seal in seals])


async def save_head(unit: UnitOfWork, head: Head) -> None:
    """Write the head of a chain that is locked."""
    values = {name: value for name, value in _bound(head).items() if name != "new_workspace_id"}
    await unit.execute(_MOVE, tenant=head.workspace_id, **values)


async def remove_until(unit: UnitOfWork, head: Head) -> int:
    """Remove entries and seals up to the base of a head that says so already; return how many entries."""
    values = {"tenant": head.workspace_id, "base": head.base_number}
    removed = await unit.execute(_OLD_ENTRIES, **values)
    await unit.execute(_OLD_SEALS, **values)
    return removed


async def find_head(database: Database, workspace_id: UUID) -> Head | None:
    """Return the head of a chain."""
    return next(iter(await database.fetch(_ONE_HEAD, {"tenant": workspace_id})), None)


async def last_seal(database: Database, workspace_id: UUID) -> int:
    """Return the number of the newest seal, 0 where there is none."""
    return next(iter(await database.fetch(_LAST_SEAL, {"tenant": workspace_id})), 0)


async def links(database: Database, workspace_id: UUID, after: int, until: int, limit: int) -> list[Sequence[Any]]:
    """Return seals with their entries, `after < number <= until`: number, id of the entry, digest, columns."""
    values = {"tenant": workspace_id, "after_number": after, "until_number": until, "limit": limit}
    return [*await database.fetch(_LINKS, values)]


async def unsealed(database: Database, workspace_id: UUID, before: datetime, limit: int) -> list[Unsealed]:
    """Return entries without a seal that were written before a time."""
    return await database.fetch(_UNSEALED, {"tenant": workspace_id, "before": before, "limit": limit})


async def next_workspace(database: Database, first: UUID) -> UUID | None:
    """Return the next workspace, from `first` on, of which a database holds anything of the log; None for no more."""
    found = [one for statement in _NEXT for one in await database.fetch(statement, {"first": first})]
    return min(found, default=None)


async def heads(database: Database, first: UUID, limit: int) -> list[Head]:
    """Return heads in the order of their workspaces, from `first` on, at most `limit`."""
    return await database.fetch(_HEADS, {"first": first, "limit": limit})


def created_at(link: Sequence[Any]) -> datetime | None:
    """Return when the entry of a row of `links` was written; None where it is gone."""
    moment: datetime | None = link[3 + _CREATED_AT]
    return moment


def _bound(head: Head) -> dict[str, Any]:
    return {f"new_{name}": value for name, value in msgspec.structs.asdict(head).items()}
