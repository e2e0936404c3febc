"""Whether the rows of a workspace are the same at both ends, by counts and checksums of each table."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Select, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from courtyard.kernel.relocation.copying import BATCH, Key
from courtyard.kernel.relocation.plan import Moved, Plan

_MODULUS = 1 << 128


class Sum(msgspec.Struct, frozen=True):
    """How many rows, and the sum of their digests, which does not depend on their order."""

    rows: int
    digest: int


async def sum_of(connection: AsyncConnection, rows: Select[Any]) -> Sum:
    """Return the sum of the rows that a statement selects."""
    count, digest = 0, 0
    async with connection.stream(rows) as result:
        async for part in result.partitions(BATCH):
            count += len(part)
            digest = (digest + sum(_digest(row) for row in part)) % _MODULUS
    return Sum(count, digest)


async def differences(plan: Plan, source: AsyncConnection, target: AsyncConnection) -> list[str]:
    """Return the tables that differ, with what differs, and nothing where the ends are the same."""
    found = []
    for moved in plan.tables:
        there = await sum_of(source, select(moved.rows).where(moved.rows.c.workspace_id == plan.workspace_id))
        here = await sum_of(
            target, select(moved.destination).where(moved.destination.c.workspace_id == plan.workspace_id)
        )
        found += _told(moved, there, here)
    return found


async def differences_of(
    plan: Plan, keys: Iterable[Key], source: AsyncConnection, target: AsyncConnection
) -> list[str]:
    """Return what differs among some rows."""
    by_table: dict[str, list[tuple[Any, ...]]] = {}
    for name, key in keys:
        by_table.setdefault(name, []).append(key)
    found = []
    for moved in plan.tables:
        wanted = by_table.get(moved.name, [])
        for first in range(0, len(wanted), BATCH):
            some = wanted[first : first + BATCH]
            there = await sum_of(source, _of(moved, some, staged=False))
            here = await sum_of(target, _of(moved, some, staged=moved.is_staged))
            found += _told(moved, there, here)
    return found


def _of(moved: Moved, keys: Sequence[tuple[Any, ...]], *, staged: bool) -> Select[Any]:
    table = moved.stage if staged else moved.rows
    return select(table).where(tuple_(*(table.c[name] for name in moved.key)).in_(keys))


def _told(moved: Moved, there: Sum, here: Sum) -> list[str]:
    if there.rows != here.rows:
        return [f"{moved.name}: {there.rows} rows there, {here.rows} here"]
    return [] if there == here else [f"{moved.name}: the contents differ"]


def _digest(row: Iterable[Any]) -> int:
    encoded = msgspec.msgpack.encode([_canonical(value) for value in row])
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=16).digest(), "big")


def _canonical(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    match value:
        case msgspec.Raw():
            # PostgreSQL writes JSON in another order and with other spaces.
            return msgspec.json.encode(_numbers(msgspec.json.decode(bytes(value))), order="sorted")
        case datetime():
            return value.astimezone(UTC).isoformat()
        case UUID():
            return value.bytes
        case bool():
            return int(value)
        case _:
            return value


def _numbers(value: Any) -> Any:  # noqa: ANN401
    """Return JSON with every number in one form: 1.0 is 1."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {key: _numbers(each) for key, each in value.items()}
        case list():
            return [_numbers(each) for each in value]
        case _:
            return value
