"""Keeps a caller who is refused again and again from filling the log."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class Gate:
    """Lets the same thing through once in a while, and counts what it holds back. One per process.

    Args:
        seconds: how long the same thing is held back.
        size: how many things are remembered; the oldest are forgotten, and let through again.
        clock: seconds that only grow.
    """

    def __init__(
        self, *, seconds: float = 60.0, size: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        # When it was let through last, and how often it was held back since.
        self._known: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def admit(self, key: Hashable) -> int | None:
        """Return how often this was held back since it was let through last; None where it is held back now."""
        now = self._clock()
        let_through, held_back = self._known.get(key, (None, 0))
        if let_through is not None and now - let_through < self._seconds:
            self._known[key] = (let_through, held_back + 1)
            return None
        self._known[key] = (now, 0)
        self._known.move_to_end(key)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
        return held_back
