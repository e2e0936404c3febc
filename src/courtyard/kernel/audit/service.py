"""Exporting, sealing, verifying and removing. Whoever calls commits."""

import csv
import io
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from courtyard.kernel.audit import store
from courtyard.kernel.audit.queries import Filters
from courtyard.kernel.audit.rules import Fault, Link, Walk
from courtyard.kernel.audit.store import Head, NewSeal
from courtyard.kernel.context import Context
from courtyard.kernel.crypto import Signer
from courtyard.kernel.database import Database, UnitOfWork
from courtyard.kernel.http import Stream
from courtyard.kernel.trail import GENESIS, Entry, canonical, chained

ExportForm: TypeAlias = Literal["ndjson", "csv"]

EXPORTED = "audit:log:exported"
MEDIA_TYPES: dict[ExportForm, str] = {"ndjson": "application/x-ndjson", "csv": "text/csv"}
_JSON = frozenset({"before", "after", "details", "request"})
_FORMULA = frozenset("=+-@\t\r")

LOT = 500
# An entry that has no seal after this long has been passed over, or nobody seals.
UNSEALED_SECONDS = 60.0
MAX_UNSEALED = 100


class Sealed(msgspec.Struct, frozen=True):
    """What a turn of the sealer came to.

    Attributes:
        count: how many entries were sealed.
        broken: workspaces whose head cannot be trusted, so that nothing is built on it.
    """

    count: int
    broken: tuple[UUID, ...] = ()


class Verified(msgspec.Struct, frozen=True):
    """What became of the check of one chain.

    Attributes:
        workspace_id: whose it is.
        entries: how many sealed entries were looked at.
        number: of the last link.
        digest: of the last link. Kept elsewhere, it shows later that the chain still begins with these entries.
        faults: what is wrong.
    """

    workspace_id: UUID
    entries: int
    number: int
    digest: str
    faults: tuple[Fault, ...]


def export(context: Context, lots: AsyncIterator[list[Entry]], form: ExportForm, filters: Filters) -> Stream:
    """Return an export of the log of the workspace, which is noted in it.

    Args:
        context: of who exports it.
        lots: its entries.
        form: a line of JSON for each, or CSV.
        filters: which entries are wanted.
    """
    context.note(EXPORTED, format=form, filters=filters.given())
    return Stream(written(lots, form), MEDIA_TYPES[form], f"audit-{context.workspace.slug}.{form}")


async def written(lots: AsyncIterator[list[Entry]], form: ExportForm) -> AsyncIterator[bytes]:
    """Write entries, lot by lot. Columns are those of the table, JSON in a column of CSV is text."""
    if form == "csv":
        yield _csv([Entry.__struct_fields__])
    async for lot in lots:
        if form == "csv":
            yield _csv([[_cell(value) for value in msgspec.structs.astuple(entry)] for entry in lot])
        else:
            yield b"".join(msgspec.json.encode(_document(entry)) + b"\n" for entry in lot)


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    # A spreadsheet takes a cell that begins so for a formula (OWASP, CSV Injection).
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value


def _document(entry: Entry) -> dict[str, object]:
    return {
        name: msgspec.Raw(value.encode()) if name in _JSON and value is not None else value
        for name, value in msgspec.structs.asdict(entry).items()
    }


async def seal(unit: UnitOfWork, signer: Signer, workspaces: Sequence[UUID], limit: int = LOT) -> Sealed:
    """Seal entries of some workspaces that are committed and have no seal, at most `limit`.

    Two sealers never work on one chain: its head is locked until the commit. Nobody who writes an entry waits for
    that.
    """
    heads = {head.workspace_id: head for head in await store.lock_heads(unit, signer, workspaces)}
    broken = tuple(one for one, head in heads.items() if not head.is_ours(signer))
    for workspace_id in broken:
        del heads[workspace_id]
    seals: list[NewSeal] = []
    moved: dict[UUID, Head] = {}
    for columns in await store.take(unit, list(heads), limit) if heads else ():
        workspace_id, entry_id = columns[0], columns[1]
        head = moved.get(workspace_id) or heads[workspace_id]
        number = head.number + 1
        digest = chained(head.digest, canonical(number, columns))
        seals.append(NewSeal(workspace_id, number, entry_id, digest))
        moved[workspace_id] = msgspec.structs.replace(head, number=number, digest=digest)
    if seals:
        await store.add_seals(unit, seals, [head.under(signer) for head in moved.values()])
    return Sealed(len(seals), broken)


async def renew_heads(unit: UnitOfWork, signer: Signer, heads: Sequence[Head]) -> int:
    """Sign heads with the newest key that were signed with an older one; return how many."""
    old = [head.workspace_id for head in heads if head.is_ours(signer) and head != head.under(signer)]
    locked = await store.lock_heads(unit, signer, old) if old else []
    for head in locked:
        if head.is_ours(signer):
            await store.save_head(unit, head.under(signer))
    return len(locked)


async def verify(
    database: Database, signer: Signer, now: datetime, only: UUID | None = None
) -> AsyncIterator[Verified]:
    """Check the chains of a database, one after the other, in constant memory.

    Args:
        database: where.
        signer: of the keys that have signed the heads.
        now: the time.
        only: the one workspace to look at; None for all.
    """
    first = UUID(int=0) if only is None else only
    while (workspace_id := await store.next_workspace(database, first)) is not None:
        if only not in {None, workspace_id}:
            break
        yield await verify_one(database, signer, now, workspace_id)
        first = store.behind(workspace_id)


async def verify_one(database: Database, signer: Signer, now: datetime, workspace_id: UUID) -> Verified:
    """Check one chain, and that nothing was left out of it."""
    head = await store.find_head(database, workspace_id)
    before = now - timedelta(seconds=UNSEALED_SECONDS)
    left = await store.unsealed(database, workspace_id, before, MAX_UNSEALED)
    faults = [Fault(kind="unsealed", entry_id=entry.id) for entry in left]
    if head is None and await store.last_seal(database, workspace_id):
        # One that has just begun was not there a moment ago.
        head = await store.find_head(database, workspace_id)
        faults += [Fault(kind="head_missing")] if head is None else []
    if head is None:
        return Verified(workspace_id, 0, 0, GENESIS, tuple(faults))
    walk, count = Walk(head.base_number, head.base_digest), 0
    found: Sequence[Sequence[Any]] = ()
    while not walk.full and (found := await store.links(database, workspace_id, walk.number, head.number, LOT)):
        for row in found:
            walk.follow(link_of(row))
        count += len(found)
    # With that many faults, the rest was not looked at.
    end = (walk.number, walk.digest) if walk.full else (head.number, head.digest)
    # Seals and head move in one transaction, so that a head which is read last is never behind.
    newest = await store.last_seal(database, workspace_id)
    later = await store.find_head(database, workspace_id)
    if not head.is_ours(signer) or later is None or newest > later.number:
        faults.append(Fault(kind="head_forged"))
    base = head.base_number if later is None else later.base_number
    faults += [fault for fault in walk.faults(*end) if (fault.until or fault.number or 0) > base]
    return Verified(workspace_id, count, head.number, head.digest, tuple(faults))


def link_of(row: Sequence[Any]) -> Link:
    """Return the link of a row of `store.links`."""
    number, entry_id, digest, *fields = row
    return Link(number, entry_id, digest, fields if fields[1] is not None else None)


async def prune(
    unit: UnitOfWork, database: Database, signer: Signer, workspace_id: UUID, before: datetime
) -> int | None:
    """Remove the oldest entries of a chain as far as they were written before a time, at most `LOT`.

    What is removed was sealed and is verified once more; the rest of the chain begins behind it. The base is moved
    first: only then the database lets entries go.

    Args:
        unit: to remove them in.
        database: where they are.
        signer: of the keys that have signed the head.
        workspace_id: whose they are.
        before: entries from then on stay.

    Returns:
        How many were removed; None where the chain does not hold, so that nothing is removed.
    """
    locked = await store.lock_heads(unit, signer, [workspace_id])
    if not locked:
        return 0
    (head,) = locked
    walk, last = Walk(head.base_number, head.base_digest), None
    for row in await store.links(database, workspace_id, head.base_number, head.number, LOT):
        moment = store.created_at(row)
        if moment is None or moment >= before:
            if moment is None:
                return None
            break
        last = link_of(row)
        walk.follow(last)
    if not walk.sound or not head.is_ours(signer):
        return None
    if last is None:
        return 0
    moved = msgspec.structs.replace(head, base_number=last.number, base_digest=last.digest).under(signer)
    await store.save_head(unit, moved)
    return await store.remove_until(unit, moved)
