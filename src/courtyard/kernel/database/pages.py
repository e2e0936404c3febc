"""Keyset pages: a cursor holds the sort key of the last row, so a page costs the same wherever it lies."""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from courtyard.kernel.errors import FieldError, InvalidInput

T = TypeVar("T")
K = TypeVar("K")

DEFAULT_LIMIT = 50
Limit = Annotated[int, Meta(ge=1, le=200, description="How many items a page has at the most.")]
Cursor = Annotated[
    str, Meta(min_length=1, max_length=300, description="The `next` of the page before.", pattern="^[A-Za-z0-9_-]+$")
]
# A number of a `bigint` column; a cursor is made by anybody who likes.
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list; `next` is the cursor of the page behind it, null on the last."""

    items: Sequence[T]
    next: str | None


def page(rows: Sequence[T], limit: int, key: Callable[[T], tuple[Any, ...]]) -> Page[T]:
    """Make a page from rows that were read with a limit of one more than the page holds.

    Args:
        rows: at most `limit + 1` rows in the order of the list.
        limit: the size of the page.
        key: the sort key of a row, unique in the list.
    """
    if len(rows) <= limit:
        return Page(rows, None)
    items = rows[:limit]
    packed = msgspec.msgpack.encode(key(items[-1]))
    return Page(items, base64.urlsafe_b64encode(packed).rstrip(b"=").decode())


def sort_key(cursor: str, kind: type[K]) -> K:
    """Return the sort key that a cursor holds.

    Args:
        cursor: as a client gave it.
        kind: the type of the key, such as `tuple[datetime, UUID]`.

    Raises:
        InvalidInput: it is not a cursor of such a list.
    """
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = msgspec.msgpack.decode(packed, type=kind)
        for part in key if isinstance(key, tuple) else ():
            if isinstance(part, datetime):
                # Databases compare in UTC, where the first and the last hours of time do not exist.
                part.astimezone(UTC)
    except (binascii.Error, msgspec.MsgspecError, ValueError, OverflowError) as error:
        raise InvalidInput(errors=[FieldError("is not a cursor of this list", parameter="cursor")]) from error
    return key
