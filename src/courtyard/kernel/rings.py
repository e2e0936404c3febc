"""Key rings with dates: which key makes new values now, and which keys are still believed.

A new key takes over from an old one in three steps, each at its date and none at a restart: all servers know the new
key, then it signs (`not_before`), then nothing is left that the old one has signed (`retire_at`).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
from typing_extensions import override

from courtyard.kernel.clock import Clock, SystemClock

KEY_BYTES = 32
BEGINNING = datetime.min.replace(tzinfo=UTC)


class RingKey(msgspec.Struct, frozen=True):
    """One key of a ring.

    Attributes:
        id: what ciphertexts and tokens name it by, 1 to 255 bytes.
        secret: 32 random bytes.
        not_before: from when on it makes new values; None for always. It is believed before: the clock of another
            server may be ahead.
        retire_at: from when on nothing that it made is believed any more; None for never.
    """

    id: str
    secret: bytes
    not_before: datetime | None = None
    retire_at: datetime | None = None

    def is_retired(self, now: datetime) -> bool:
        """Return whether nothing that it made counts any more."""
        return self.retire_at is not None and self.retire_at <= now

    @override
    def __repr__(self) -> str:
        return f"RingKey({self.id!r})"


def current_key(keys: Sequence[RingKey], now: datetime) -> RingKey:
    """Return the key that makes new values: the newest whose time has come and is not over.

    Of keys without dates it is the first. Where the time of none has come, it is the next one's: all servers believe
    it already.

    Raises:
        ValueError: every key is retired.
    """
    left = [key for key in keys if not key.is_retired(now)]
    if not left:
        raise ValueError("every key of the ring is retired")
    begun = [key for key in left if _beginning(key) <= now]
    return max(begun, key=_beginning) if begun else min(left, key=_beginning)


def _beginning(key: RingKey) -> datetime:
    return key.not_before or BEGINNING


class Ring:
    """The keys of one kind of use, looked at by the clock at every use, and replaced while the server runs.

    Args:
        keys: `RingKey`s, or pairs of id and secret for keys without dates.
        clock: the time.

    Raises:
        ValueError: there is no key, or one is not 32 bytes long.
    """

    def __init__(self, keys: Iterable[RingKey | tuple[str, bytes]], clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.replace(keys)

    def replace(self, keys: Iterable[RingKey | tuple[str, bytes]]) -> None:
        """Put other keys in the place of those that are there.

        Raises:
            ValueError: there is no key, or one is not 32 bytes long; those that are there stay.
        """
        ring = tuple(key if isinstance(key, RingKey) else RingKey(*key) for key in keys)
        if not ring:
            raise ValueError("a key ring needs at least one key")
        for key in ring:
            if len(key.secret) != KEY_BYTES or not 1 <= len(key.id.encode()) <= 255:  # noqa: PLR2004 - a byte
                raise ValueError(f"key {key.id!r} needs {KEY_BYTES} bytes and an id of 1 to 255")
        # Another tuple whenever the keys are others: what is derived from them is made anew then.
        self.keys = ring

    def current(self, now: datetime | None = None) -> RingKey:
        """Return the key that makes new values, at the time of the clock unless another is given."""
        return current_key(self.keys, now or self._clock.now())

    def believed(self) -> list[RingKey]:
        """Return every key whose values count now."""
        now = self._clock.now()
        return [key for key in self.keys if not key.is_retired(now)]

    def find(self, key_id: str) -> RingKey | None:
        """Return the key of an id, retired or not."""
        return next((key for key in self.keys if key.id == key_id), None)


Keys = Ring | Sequence[tuple[str, bytes]]


def ring_of(keys: Keys) -> Ring:
    """Return a ring of what may be one already.

    Raises:
        ValueError: there is no key, or one is not 32 bytes long.
    """
    return keys if isinstance(keys, Ring) else Ring(keys)
