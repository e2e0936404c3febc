"""Password hashes: Argon2id (RFC 9106), a few at a time, off the event loop."""

import asyncio
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2
import msgspec
from zxcvbn import zxcvbn

from courtyard.kernel.errors import Unavailable

MAX_WAITING = 64
MEASURED = 64

T = TypeVar("T")


class Strength(msgspec.Struct, frozen=True):
    """How hard a password is to guess, in the measure of zxcvbn (Wheeler, USENIX Security 2016).

    Attributes:
        score: 0 (at once) to 4 (hardly).
        warning: what is wrong with it, in English; empty for a good one.
        suggestions: what would be better.
    """

    score: int
    warning: str
    suggestions: tuple[str, ...]


class Passwords:
    """Hashes and verifies. Each hash takes tens of milliseconds and tens of MiB, so the number at once is bounded.

    Args:
        time_cost: passes over the memory.
        memory_kib: memory of one hash, in KiB.
        parallelism: lanes of one hash.
        workers: hashes at once; others wait, and too many waiting are refused.
    """

    def __init__(self, *, time_cost: int, memory_kib: int, parallelism: int, workers: int) -> None:
        self._hasher = argon2.PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="argon2")
        self._waiting = 0
        # Verified in place of a hash that does not exist, so that an unknown address takes as long as a known one.
        self._decoy = self._hasher.hash("the password of nobody")

    async def hash(self, password: str) -> str:
        """Return the hash of a password, with its parameters, in the PHC format."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Return whether a password belongs to a stored hash; takes as long where there is none."""

        def check() -> bool:
            try:
                self._hasher.verify(stored or self._decoy, password)
            except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
                return False
            return stored is not None

        return await self._run(check)

    async def strength(self, password: str, known: Sequence[str] = ()) -> "Strength":
        """Return how hard a password is to guess, for somebody who knows these words about its owner."""

        def measure() -> Strength:
            # Longer than the library takes, and its time grows with the square.
            found = zxcvbn(password[:MEASURED], [part for text in known for part in re.findall(r"\w{3,}", text)])
            feedback = found["feedback"]
            return Strength(found["score"], feedback["warning"] or "", tuple(feedback["suggestions"]))

        return await self._run(measure)

    def is_outdated(self, stored: str) -> bool:
        """Return whether a hash was made with other parameters than the present ones."""
        return self._hasher.check_needs_rehash(stored)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many logins at once.", retry_after_seconds=2)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
