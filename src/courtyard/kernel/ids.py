"""Identifiers: UUID version 7 (RFC 9562), so that they sort by the time they were made."""

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a new UUIDv7, greater than every one this process has made before in the same millisecond."""
    return uuid7()
