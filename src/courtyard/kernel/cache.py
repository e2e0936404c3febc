"""A small cache for what may be a second old: who a session belongs to, what somebody may do."""

import time
from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ShortCache(Generic[K, V]):
    """A bounded mapping whose entries live for a moment; the oldest go first.

    Args:
        seconds: the life of an entry.
        size: the greatest number of entries.
    """

    def __init__(self, *, seconds: float, size: int) -> None:
        self._seconds = seconds
        self._size = size
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """Return what was put under the key no longer ago than its life, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] < time.monotonic():
            del self._entries[key]
            return None
        return entry[1]

    def put(self, key: K, value: V, since: float | None = None) -> None:
        """Keep a value for a moment.

        Args:
            key: under which it is found.
            value: what is found.
            since: from when on it may be out of date, which is when it was asked for and not when the answer had
                come, by `time.monotonic`; now by default.
        """
        self._entries[key] = ((time.monotonic() if since is None else since) + self._seconds, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def forget(self, key: K) -> None:
        """Drop one entry."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop every entry."""
        self._entries.clear()
