"""The table of entries: written in as few statements as there can be."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import bindparam, insert
from sqlalchemy.orm import DeclarativeBase

from courtyard.kernel.database import Prepared

T = TypeVar("T")

# Any number of rows below this has a statement of its own; above it, powers of two do, up to the other.
EXACT = 16
MOST = 128


class Entry(msgspec.Struct, frozen=True):
    """One entry, in the order of its columns. JSON is text."""

    workspace_id: UUID
    id: UUID
    created_at: datetime
    name: str
    action: str
    actor_kind: str
    actor_id: UUID | None
    origin: str
    object_type: str | None
    object_id: str | None
    before: str | None
    after: str | None
    details: str | None
    request: str | None
    request_entry_id: UUID | None
    address: str | None
    request_id: str | None


def in_chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield rows in lots of few different sizes, so that there are few statements to compile and to prepare."""
    start = 0
    while left := len(rows) - start:
        size = left if left < EXACT else min(1 << (left.bit_length() - 1), MOST)
        yield rows[start : start + size]
        start += size


@lru_cache(maxsize=256)
def insertion_of(model: type[DeclarativeBase], size: int) -> Prepared[None]:
    """Return the statement that inserts this many rows, whose values are bound as `<column>_<place>`."""
    columns = model.__table__.columns
    rows = [
        {column.name: bindparam(f"{column.name}_{place}", type_=column.type, required=True) for column in columns}
        for place in range(size)
    ]
    # Each row says whose it is: the main database has entries of every workspace.
    return Prepared(insert(model).values(rows), across_workspaces=True)


def write(
    model: type[DeclarativeBase], rows: Sequence[msgspec.Struct]
) -> Iterator[tuple[Prepared[None], Mapping[str, Any]]]:
    """Return the statements that insert rows, with their values."""
    for lot in in_chunks(rows):
        values = chain.from_iterable(map(msgspec.structs.astuple, lot))
        yield insertion_of(model, len(lot)), dict(zip(_names(type(lot[0]), len(lot)), values, strict=True))


@lru_cache(maxsize=256)
def _names(kind: type[msgspec.Struct], size: int) -> list[str]:
    return [f"{name}_{place}" for place in range(size) for name in kind.__struct_fields__]
