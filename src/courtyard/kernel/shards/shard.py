"""The database of some workspaces: bounded, proved to be ours, and left alone while it does not answer."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from math import ceil
from uuid import UUID
from weakref import WeakSet

import structlog
from typing_extensions import override

from courtyard.kernel.application import Application
from courtyard.kernel.database import Connection, Database, DatabaseUnavailable, Pool, address, pending, sqlite_path
from courtyard.kernel.settings import DatabaseSettings, ShardSettings
from courtyard.kernel.shards.errors import ShardAway, ShardBehind
from courtyard.kernel.shards.store import marker_of

log = structlog.get_logger()

# How long it counts that the tables are those of this code, and how long that they are not.
GOOD_SECONDS = 10.0
BEHIND_SECONDS = 1.0
BEHIND_RETRY_SECONDS = 30
NAME_DIGITS = 8


class _GuardedPool(Pool):
    """A pool whose callers are refused at once while the database is away.

    Attributes:
        answered: how many connections have come back that are still good.
    """

    def __init__(self, check: Callable[[], None], open_: Callable[[], Awaitable[Connection]], **bounds: int) -> None:
        super().__init__(open_, **bounds)
        self._check = check
        self.answered = 0

    @override
    async def acquire(self) -> Connection:
        self._check()
        return await super().acquire()

    @override
    def release(self, connection: Connection) -> None:
        # One that was lost, or could not be opened, says nothing of those that are waited for.
        self.answered += not connection.closed
        super().release(connection)


class Shard(Database):
    """A database of workspaces.

    Args:
        url: as for `Database`.
        database: the settings of the main database, whose time-outs count here too.
        settings: bounds of its own.
        opened: is told when a connection is opened.
    """

    def __init__(
        self, url: str, database: DatabaseSettings, settings: ShardSettings, opened: Callable[["Shard"], None]
    ) -> None:
        bounds = {
            "pool_size": settings.pool_size,
            "read_pool_size": settings.read_pool_size,
            "acquire_timeout_seconds": settings.answer_seconds,
        }
        super().__init__(url, database.model_copy(update=bounds))
        self._shard_settings = settings
        self._opened = opened
        self._connections: WeakSet[Connection] = WeakSet()
        # While it is set, callers are refused; the first one after that tries anew.
        self._away_until: float | None = None
        self._problem: ShardBehind | None = None
        self._known_until = 0.0
        self._verifying = asyncio.Lock()
        self._answered = 0
        self.readers: _GuardedPool = self._pool(self.readers, read_only=True)
        self.writers: _GuardedPool = self._pool(self.writers, read_only=False)

    def _pool(self, pool: Pool, *, read_only: bool) -> _GuardedPool:
        return _GuardedPool(
            self._check,
            lambda: self._open(read_only=read_only),
            size=pool.size,
            acquire_timeout_seconds=self._shard_settings.answer_seconds,  # type: ignore[arg-type]
            max_waiting=self._shard_settings.waiting,
        )

    @property
    def in_use(self) -> int:
        """How many of its connections are in somebody's hands."""
        return self.readers.in_use + self.writers.in_use

    @property
    def is_open(self) -> bool:
        """Whether there is any connection to it."""
        return bool(self.in_use or self.readers.idle or self.writers.idle)

    @property
    def is_usable(self) -> bool:
        """Whether it answered, and was ours and up to date, when it was asked last; also where nobody has asked yet."""
        return self._away_until is None and self._problem is None

    @property
    def name(self) -> str:
        """What metrics call it: the same in all processes, and without a word of where it is."""
        return f"shard-{hashlib.sha256(address(self.url).encode()).hexdigest()[:NAME_DIGITS]}"

    def _check(self) -> None:
        if self._away_until is None:
            return
        left = self._away_until - time.monotonic()
        if left > 0:
            raise ShardAway("The database of this workspace does not answer.", retry_after_seconds=ceil(left))
        # This caller tries. Until it knows more, the others are refused as before.
        self._away_until = time.monotonic() + self._shard_settings.answer_seconds + self._shard_settings.retry_seconds

    @override
    async def _open(self, *, read_only: bool) -> Connection:
        try:
            connection = await super()._open(read_only=read_only)
        except DatabaseUnavailable as error:
            self._trip(error)
            seconds = ceil(self._shard_settings.retry_seconds)
            raise ShardAway("The database of this workspace does not answer.", retry_after_seconds=seconds) from error
        if self._away_until is not None:
            log.info("shard.back", database=address(self.url))
            self._away_until = None
        self._connections.add(connection)
        self._opened(self)
        return connection

    @override
    async def _connect(self, *, read_only: bool) -> Connection:
        # SQLite would make a new file where a disk is not mounted.
        if self.is_sqlite and not sqlite_path(self.url).exists():
            raise DatabaseUnavailable("There is no such file.")
        return await super()._connect(read_only=read_only)

    def _trip(self, error: BaseException) -> None:
        if self._away_until is None:
            log.warning("shard.away", database=address(self.url), error=str(error.__cause__ or error))
        self._away_until = time.monotonic() + self._shard_settings.retry_seconds
        self._known_until = 0.0

    async def watch(self) -> None:
        """Find out whether it hangs, where all who use it have been waiting since the last look.

        One that does not answer is cut off: those who wait get their answer now, and not when their time is over. That
        others were refused a connection meanwhile changes nothing for them.
        """
        answered = self.readers.answered + self.writers.answered
        is_stuck = self.in_use > 0 and answered == self._answered
        self._answered = answered
        if not is_stuck or self.is_sqlite:
            return
        try:
            async with asyncio.timeout(self._shard_settings.answer_seconds):
                connection = await self._connect(read_only=True)
                try:
                    await connection.fetch("SELECT 1", ())
                finally:
                    await connection.close()
        except (DatabaseUnavailable, TimeoutError) as error:
            self._trip(error)
            for each in list(self._connections):
                await each.close()

    async def admit(self, parts: Sequence[Application], installation_id: UUID | None) -> None:
        """Go on only where it is ours, with the tables of this code.

        Raises:
            ShardBehind: it is not.
            DatabaseUnavailable: it does not answer.
        """
        if time.monotonic() >= self._known_until:
            async with self._verifying:
                if time.monotonic() >= self._known_until:
                    await self._verify(parts, installation_id)
        if self._problem is not None:
            raise self._problem

    async def _verify(self, parts: Sequence[Application], installation_id: UUID | None) -> None:
        # A file that is not there counts as one without tables otherwise.
        await self.ping()
        behind = await pending(self, parts, main=False)
        problem = None
        if behind:
            modules = ", ".join(state.module for state in behind)
            problem = ShardBehind(
                "The database of this workspace is not up to date.", retry_after_seconds=BEHIND_RETRY_SECONDS
            )
            log.warning("shard.behind", database=address(self.url), modules=modules)
        elif await marker_of(self) != installation_id:
            problem = ShardBehind(
                "The database of this workspace is not the right one.", retry_after_seconds=BEHIND_RETRY_SECONDS
            )
            log.error("shard.foreign", database=address(self.url))
        self._problem = problem
        self._known_until = time.monotonic() + (GOOD_SECONDS if problem is None else BEHIND_SECONDS)
