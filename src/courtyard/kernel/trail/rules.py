"""What goes into an entry, and how entries are chained. Pure, without I/O. What is left out is told by `redaction`."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

# An entry stays readable and the log small: longer texts are cut, and say so.
REQUEST_BYTES = 16_384
STATE_BYTES = 65_536
GENESIS = "0" * 64
# The form of what a digest is made of. A change of it needs a new number, under which old entries still verify.
CANONICAL_VERSION = 1


def bounded(value: object, limit: int) -> str:
    """Return a value as JSON of at most `limit` bytes; where it was longer, its texts and lists are cut and say so."""
    full = encoded = msgspec.json.encode(value)
    for longest in (4_000, 500, 100, 20):
        if len(encoded) <= limit:
            return encoded.decode()
        encoded = msgspec.json.encode(_cut(msgspec.json.decode(full), longest))
    return encoded.decode() if len(encoded) <= limit else f'{{"[truncated]":"{len(full)} bytes"}}'


def _cut(value: Any, longest: int) -> Any:  # noqa: ANN401 - any value of JSON
    if isinstance(value, str) and len(value) > longest:
        return f"{value[:longest]}[{len(value) - longest} more]"
    if isinstance(value, list):
        cut = [_cut(item, longest) for item in value[:longest]]
        return cut if len(value) <= longest else [*cut, f"[{len(value) - longest} more]"]
    if isinstance(value, dict):
        fields = {key: _cut(item, longest) for key, item in list(value.items())[:longest]}
        return fields if len(value) <= longest else {**fields, "[truncated]": f"{len(value) - longest} more"}
    return value


def canonical(number: int, fields: Sequence[object]) -> bytes:
    """Return the bytes that the digest of an entry is made of.

    Args:
        number: its place in the chain.
        fields: what the entry holds, in the order of its columns; JSON as the text that is stored.
    """
    return msgspec.json.encode([CANONICAL_VERSION, number, *map(_plain, fields)])


def _plain(value: object) -> object:
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    return value


def chained(digest: str, entry: bytes) -> str:
    """Return the digest of a link: that of the one before it, and its own bytes, under SHA-256."""
    return hashlib.sha256(bytes.fromhex(digest) + entry).hexdigest()
