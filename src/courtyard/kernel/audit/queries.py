"""Every read of the audit log for people. A workspace's entries are in its database and in the main one."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import lru_cache
from heapq import merge
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Uuid, and_, bindparam, select

from courtyard.kernel.audit.permissions import EXPORT, READ
from courtyard.kernel.audit.schemas import AuditEntry, AuditEntryDetail, ColumnChange, Seal
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import (
    INSTALLATION,
    WORKSPACE,
    Database,
    Page,
    Placement,
    Prepared,
    ReadUnit,
    SharedPlacement,
    UtcDateTime,
    page,
    sort_key,
)
from courtyard.kernel.errors import NotFound
from courtyard.kernel.ids import first_id_at
from courtyard.kernel.trail import AuditEntryRow, AuditSealRow, Entry

EXPORT_LOT = 500

_TABLE = AuditEntryRow.__table__
_SUMMARY = tuple(_TABLE.c[name] for name in AuditEntry.__struct_fields__)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)
_ID = bindparam("entry_id", type_=Uuid(), required=True)
_CONDITIONS: dict[str, Any] = {
    **{
        name: _TABLE.c[name] == bindparam(name, type_=_TABLE.c[name].type, required=True)
        for name in ("object_type", "object_id", "actor_id", "name", "action")
    },
    # An id is of the time of its entry, and has an index.
    "since": and_(
        _TABLE.c.created_at >= bindparam("since", type_=UtcDateTime(), required=True),
        _TABLE.c.id >= bindparam("since_id", type_=Uuid(), required=True),
    ),
    "until": and_(
        _TABLE.c.created_at < bindparam("until", type_=UtcDateTime(), required=True),
        _TABLE.c.id < bindparam("until_id", type_=Uuid(), required=True),
    ),
    # Newest first.
    "before": _TABLE.c.id < bindparam("before", type_=Uuid(), required=True),
}
_ONE = Prepared(select(*_TABLE.c).where(_TABLE.c.workspace_id == WORKSPACE, _TABLE.c.id == _ID), Entry)
_SEAL = Prepared(
    select(AuditSealRow.number, AuditSealRow.digest).where(
        AuditSealRow.workspace_id == WORKSPACE, AuditSealRow.entry_id == _ID
    ),
    Seal,
)


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are wanted; None is any.

    Attributes:
        object_type: about what kind of thing.
        object_id: about which one.
        actor_id: who acted.
        name: `source:subject:action`.
        action: what became of a row, `noted` or `refused`.
        since: written then or later.
        until: written before.
    """

    object_type: str | None = None
    object_id: str | None = None
    actor_id: UUID | None = None
    name: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def given(self) -> dict[str, Any]:
        """Return those that are not any."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


# Each set of filters has a statement of its own, so that each has a plan of its own.
@lru_cache(maxsize=512)
def _newest(conditions: frozenset[str], *, whole: bool) -> Prepared[Any]:
    columns, row = (tuple(_TABLE.c), Entry) if whole else (_SUMMARY, AuditEntry)
    return Prepared(
        select(*columns)
        .where(_TABLE.c.workspace_id == WORKSPACE, *(_CONDITIONS[name] for name in sorted(conditions)))
        .order_by(_TABLE.c.id.desc())
        .limit(_LIMIT),
        row,
    )


async def units_of(placement: Placement, workspace_id: UUID) -> list[ReadUnit]:
    """Return a unit for each database that holds entries of a workspace."""
    databases: list[Database] = [placement.main]
    if workspace_id != INSTALLATION and (own := await placement.database_of(workspace_id)) is not placement.main:
        databases.append(own)
    return [ReadUnit(SharedPlacement(database), workspace_id) for database in databases]


async def newest(
    units: Sequence[ReadUnit], filters: Filters, limit: int, before: UUID | None, *, whole: bool = False
) -> list[Any]:
    """Return entries, newest first, at most `limit`.

    Args:
        units: of the databases that hold them.
        filters: which ones.
        limit: how many.
        before: the entry behind which to begin; None for the newest.
        whole: whether to return `Entry` with all that is stored, or `AuditEntry`.
    """
    values = filters.given() | ({} if before is None else {"before": before})
    statement = _newest(frozenset(values), whole=whole)
    if filters.since is not None:
        values["since_id"] = first_id_at(filters.since)
    if filters.until is not None:
        # The next millisecond: the other condition is the exact one.
        values["until_id"] = UUID(int=first_id_at(filters.until).int + (1 << 80))
    found = [await unit.all(statement, limit=limit, **values) for unit in units]
    return list(merge(*found, key=_id, reverse=True))[:limit]


def _id(entry: AuditEntry | Entry) -> UUID:
    return entry.id


async def list_entries(context: ReadContext, filters: Filters, limit: int, cursor: str | None) -> Page[AuditEntry]:
    """Return entries of the workspace, newest first."""
    context.require(READ)
    (before,) = (None,) if cursor is None else sort_key(cursor, tuple[UUID])
    units = await units_of(context.runtime.placement, context.workspace.workspace_id)
    return page(await newest(units, filters, limit + 1, before), limit, lambda entry: (entry.id,))


async def get_entry(context: ReadContext, entry_id: UUID) -> AuditEntryDetail:
    """Return one entry with all that is known of it.

    Raises:
        NotFound: the log of this workspace has no such entry.
    """
    context.require(READ)
    for unit in await units_of(context.runtime.placement, context.workspace.workspace_id):
        entry = await unit.first(_ONE, entry_id=entry_id)
        if entry is None:
            continue
        request, seals = entry.request, await unit.all(_SEAL, entry_id=entry_id)
        if entry.request_entry_id is not None:
            first = await unit.first(_ONE, entry_id=entry.request_entry_id)
            request = None if first is None else first.request
        return AuditEntryDetail(
            entry=AuditEntry(**{name: getattr(entry, name) for name in AuditEntry.__struct_fields__}),
            changes=differences(entry),
            details=_raw(entry.details),
            request=_raw(request),
            seal=seals[0] if seals else None,
        )
    raise NotFound


async def begin_export(context: ReadContext, filters: Filters) -> AsyncIterator[list[Entry]]:
    """Return the lots of an export, newest first, each read when it is asked for.

    Raises:
        Forbidden: before anything is read.
    """
    context.require(EXPORT)
    units = await units_of(context.runtime.placement, context.workspace.workspace_id)
    return lots(units, filters)


async def lots(units: Sequence[ReadUnit], filters: Filters) -> AsyncIterator[list[Entry]]:
    """Yield all entries, newest first, lot by lot."""
    before: UUID | None = None
    while True:
        lot: list[Entry] = await newest(units, filters, EXPORT_LOT, before, whole=True)
        if lot:
            yield lot
        if len(lot) < EXPORT_LOT:
            return
        before = lot[-1].id


def differences(entry: Entry) -> list[ColumnChange]:
    """Return what an entry says of each column, in the order of the table."""
    before, after = (_decoded(state) for state in (entry.before, entry.after))
    return [ColumnChange(name, before.get(name), after.get(name)) for name in {**before, **after}]


def _decoded(state: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {} if state is None else msgspec.json.decode(state)
    return found


def _raw(json: str | None) -> msgspec.Raw | None:
    return None if json is None else msgspec.Raw(json.encode())
