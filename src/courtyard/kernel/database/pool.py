"""A bounded pool of open connections, last in first out, the same for both drivers."""

import asyncio
from collections.abc import Awaitable, Callable

from courtyard.kernel.database.drivers import Connection
from courtyard.kernel.database.errors import DatabaseUnavailable


class Pool:
    """Hands out at most `size` connections at a time and opens them when they are first needed.

    asyncpg's own pool resets a connection with a round trip and a task at each return; here a connection comes
    back only after its transaction has ended, so there is nothing to reset (`docs/decisions/0002`).

    Args:
        open_: opens a connection.
        size: how many may be open.
        acquire_timeout_seconds: how long a caller waits for one before `DatabaseUnavailable`.
        max_waiting: how many may wait for one; the next is refused at once. None for no bound.

    Attributes:
        size: how many may be open.
        in_use: how many are in somebody's hands.
        returned: how many have come back so far.
        waiting: how many callers wait for one.
        refused: how many have waited in vain, or were not let in to wait.
    """

    def __init__(
        self,
        open_: Callable[[], Awaitable[Connection]],
        *,
        size: int,
        acquire_timeout_seconds: float,
        max_waiting: int | None = None,
    ) -> None:
        self._open = open_
        self._timeout = acquire_timeout_seconds
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self.size = size
        self.in_use = 0
        self.returned = 0
        self.waiting = 0
        self.refused = 0
        self._max_waiting = max_waiting

    @property
    def idle(self) -> int:
        """How many are open and in nobody's hands."""
        return len(self._idle)

    async def acquire(self) -> Connection:
        """Return a connection with no transaction open. Give it back with `release`."""
        if self._free.locked():
            if self.waiting == self._max_waiting:
                self.refused += 1
                raise DatabaseUnavailable("Too many wait for a database connection.")
            self.waiting += 1
            try:
                async with asyncio.timeout(self._timeout):
                    await self._free.acquire()
            except TimeoutError as error:
                self.refused += 1
                raise DatabaseUnavailable("No database connection became free in time.") from error
            finally:
                self.waiting -= 1
        else:
            await self._free.acquire()
        self.in_use += 1
        while self._idle:
            connection = self._idle.pop()
            # The driver learns of a server that went away by itself, so a restart costs no request.
            if not connection.closed:
                return connection
        try:
            return await self._open()
        except BaseException:
            self._give_back()
            raise

    async def replace(self) -> Connection:
        """Return a new connection in the place of one that turned out to be lost when it was used.

        The idle ones are let go of: the server that went away was theirs too.
        """
        await self.close()
        return await self._open()

    def release(self, connection: Connection) -> None:
        """Take a connection back; one that has been closed makes room for a new one."""
        if not connection.closed:
            self._idle.append(connection)
        self._give_back()

    def _give_back(self) -> None:
        self.in_use -= 1
        self.returned += 1
        self._free.release()

    async def close(self) -> None:
        """Close the idle connections. Those in use are closed by who holds them."""
        while self._idle:
            await self._idle.pop().close()
