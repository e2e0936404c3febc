"""A bound on how much is under way at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from courtyard.kernel.errors import Unavailable


class Slots:
    """So many at once, and no queue: who comes too late is told to come again.

    Args:
        most: how many.
        problem: what is raised where there are so many.
    """

    def __init__(self, most: int, problem: type[Unavailable]) -> None:
        self._free = most
        self._problem = problem

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take one for the length of a block."""
        if self._free <= 0:
            raise self._problem
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
