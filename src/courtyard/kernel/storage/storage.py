"""What a storage is, to everything above it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol


class StoredObject(NamedTuple):
    """What a storage knows of something in it.

    Attributes:
        key: under which it is.
        size: in bytes.
        modified_at: when it was written.
    """

    key: str
    size: int
    modified_at: datetime


class Storage(Protocol):
    """Keeps bytes under keys: words of letters, digits, `-`, `_`, `.`, with slashes between them.

    Every method raises `StorageUnavailable` where the storage does not do its part.
    """

    async def write(self, key: str, parts: AsyncIterator[bytes], attributes: Mapping[str, str]) -> None:
        """Store what comes in parts, all of it or nothing: it is seen under its key when this returns, not before.

        Args:
            key: where. Nothing is there yet.
            parts: the content. What they raise is raised here, and nothing is stored then.
            attributes: `Content-Type` and such, for stores that answer requests themselves.
        """
        ...

    def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Return the bytes from `start` up to and without `end`, in parts that are read as they are asked for.

        Raises:
            Missing: there is nothing under the key.
        """
        ...

    async def stat(self, key: str) -> StoredObject:
        """Return what is known of a key.

        Raises:
            Missing: there is nothing under the key.
        """
        ...

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove what is under these keys. That nothing is there is fine."""
        ...

    def everything(self) -> AsyncIterator[Sequence[StoredObject]]:
        """Return all that is stored, in bounded lots."""
        ...

    async def remove_unfinished(self, before: datetime) -> int:
        """Remove what writes that were cut off before a time have left; return how much.

        Only where the storage has no rule of its own for it, as buckets do.
        """
        ...

    async def sign(self, key: str, seconds: int) -> str | None:
        """Return an address at which anybody can read it for so long; None where the storage has no such addresses."""
        ...

    async def check(self) -> None:
        """Prove that something can be written, read and removed."""
        ...
