"""Identifiers: UUID version 7 (RFC 9562), so that they sort by the time they were made."""

import secrets
from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7

# The time has 48 bits.
_LAST_MILLISECOND = (1 << 48) - 1
_VERSION_7 = 7 << 76
_VARIANT = 0b10 << 62


def new_id() -> UUID:
    """Return a new UUIDv7, greater than every one this process has made before in the same millisecond."""
    return uuid7()


def id_at(moment: datetime) -> UUID:
    """Return a new UUIDv7 of a time, exact to a quarter of a microsecond (RFC 9562, section 6.2, method 3).

    Adding to its number makes more of the same time, in this order.
    """
    fraction = (moment.microsecond % 1_000 << 12) // 1_000
    # One random bit less than there could be, so that there is room to add.
    random = secrets.randbits(61)
    return UUID(int=_milliseconds(moment) << 80 | _VERSION_7 | fraction << 64 | _VARIANT | random)


def first_id_at(moment: datetime) -> UUID:
    """Return what sorts before every UUIDv7 of the millisecond of a time, and behind all of the one before.

    The time is of the Unix era: what lies before it comes out as its beginning.
    """
    return UUID(int=_milliseconds(moment) << 80)


def _milliseconds(moment: datetime) -> int:
    return min(max(0, int(moment.timestamp() * 1_000)), _LAST_MILLISECOND)
