"""Where hits are counted: in this process, or in Redis for all processes. Both behind the library's interface."""

import time
from collections import OrderedDict, deque
from itertools import islice
from math import floor
from typing import Any, cast

import redis.asyncio as redis
from limits.aio.storage import MovingWindowSupport, RedisStorage, SlidingWindowCounterSupport, Storage
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from typing_extensions import override

from courtyard.kernel.telemetry import LIMITS_DROPPED

# A Redis that is slower than this is as good as away. Less would take a busy process of ours for a slow Redis.
STORE_SECONDS = 0.5
CONNECTIONS = 16


class _Hits:
    """What is remembered under one key."""

    __slots__ = ("count", "expires_at", "previous", "times", "window")

    def __init__(self) -> None:
        self.expires_at = 0.0
        self.count = 0
        # Of a sliding window: its number since the epoch, and the count of the one before.
        self.window = 0
        self.previous = 0
        # Of a moving window: when each hit was, the oldest first.
        self.times: deque[float] = deque()

    def within(self, since: float) -> deque[float]:
        """Return the hits of a moving window that are not older than this; the others are forgotten."""
        while self.times and self.times[0] <= since:
            self.times.popleft()
        return self.times


class MemoryStore(Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """Counts in this process, in bounded memory.

    The library's own store looks at all of its keys at nearly every hit, and has as many as there are.

    Args:
        size: the greatest number of keys; those that were not asked for longest go first.
    """

    def __init__(self, size: int = 100_000) -> None:
        super().__init__()
        self._size = size
        self._keys: OrderedDict[str, _Hits] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    @property
    @override
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def _find(self, key: str, now: float) -> _Hits | None:
        hits = self._keys.get(key)
        if hits is None:
            return None
        if hits.expires_at <= now:
            del self._keys[key]
            return None
        self._keys.move_to_end(key)
        return hits

    def _find_or_make(self, key: str, now: float) -> _Hits:
        hits = self._find(key, now)
        if hits is None:
            for old in [*islice(self._keys, 2)]:
                # Two for each that comes, so that what nobody asks for any more is gone before there is no room.
                if self._keys[old].expires_at <= now:
                    del self._keys[old]
            if len(self._keys) >= self._size:
                self._keys.popitem(last=False)
                LIMITS_DROPPED.inc()
            hits = self._keys[key] = _Hits()
        return hits

    # Fixed windows

    @override
    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = time.time()
        hits = self._find_or_make(key, now)
        if not hits.count:
            hits.expires_at = now + expiry
        hits.count += amount
        return hits.count

    @override
    async def get(self, key: str) -> int:
        hits = self._find(key, time.time())
        return 0 if hits is None else hits.count

    @override
    async def get_expiry(self, key: str) -> float:
        now = time.time()
        hits = self._find(key, now)
        return now if hits is None else hits.expires_at

    # Moving windows

    @override
    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        if amount > limit:
            return False
        now = time.time()
        hits = self._find_or_make(key, now)
        if len(hits.within(now - expiry)) + amount > limit:
            return False
        hits.times.extend([now] * amount)
        hits.expires_at = now + expiry
        return True

    @override
    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        now = time.time()
        hits = self._find(key, now)
        within = None if hits is None else hits.within(now - expiry)
        return (within[0], len(within)) if within else (now, 0)

    # Sliding windows

    def _slide(self, hits: _Hits, expiry: int, now: float) -> float:
        """Move on to the current window; return how much of the one before still counts, in seconds."""
        window = int(now // expiry)
        if window > hits.window:
            hits.previous = hits.count if hits.window == window - 1 else 0
            hits.count = 0
            hits.window = window
        # A clock that has gone back gives nothing away.
        return expiry if window < hits.window else expiry - now % expiry

    @override
    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        if amount > limit:
            return False
        now = time.time()
        hits = self._find_or_make(key, now)
        rest = self._slide(hits, expiry, now)
        if floor(hits.previous * rest / expiry) + hits.count + amount > limit:
            return False
        hits.count += amount
        hits.expires_at = now + 2 * expiry
        return True

    @override
    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        now = time.time()
        hits = self._find(key, now)
        if hits is None:
            return 0, 0.0, 0, 0.0
        rest = self._slide(hits, expiry, now)
        return hits.previous, rest, hits.count, rest + expiry

    @override
    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        self._keys.pop(key, None)

    # All

    @override
    async def clear(self, key: str) -> None:
        self._keys.pop(key, None)

    @override
    async def check(self) -> bool:
        return True

    @override
    async def reset(self) -> int | None:
        count = len(self._keys)
        self._keys.clear()
        return count


class SharedStore(RedisStorage):
    """Counts in Redis, for all processes, with the scripts of the library.

    A hit and the look at the window behind it are one round trip: what was seen is kept for the look, which follows
    before anything else in this loop has its turn.

    Args:
        url: of Redis.
        prefix: goes before every key.
    """

    def __init__(self, url: str, prefix: str) -> None:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=STORE_SECONDS,
            socket_timeout=STORE_SECONDS,
            socket_connect_timeout=STORE_SECONDS,
            # A connection that Redis has closed meanwhile is opened again, once.
            retry=Retry(NoBackoff(), 1),
        )
        # The library takes the address apart on its way, and stumbles over one without a port.
        options: Any = {"connection_pool": pool}
        super().__init__("async+redis://", implementation="redispy", key_prefix=prefix, **options)
        self._client = redis.Redis(connection_pool=pool)
        self._scripts: Any = self.bridge
        self._seen: Any = None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.connection_pool.aclose()

    async def _trip(self, hit: Any, look: Any, keys: list[str], hit_with: list[Any], look_with: list[Any]) -> list[Any]:  # noqa: ANN401 - the scripts of the library have no types
        """Run two scripts on the same keys in one round trip. None is run where Redis does not know them yet."""

        async def run() -> list[Any]:
            async with self._client.pipeline(transaction=False) as pipeline:
                # Its commands wait for `execute`; the annotations of the library do not know that.
                commands: Any = pipeline
                commands.evalsha(hit.sha, len(keys), *keys, *hit_with)
                if look is None:
                    commands.ttl(keys[0])
                else:
                    commands.evalsha(look.sha, len(keys), *keys, *look_with)
                return await pipeline.execute()

        try:
            return await run()
        except NoScriptError:
            for script in (hit, look):
                if script is not None:
                    await self._client.script_load(script.script)
            return await run()

    @override
    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        keys = [self.bridge.prefixed_key(key)]
        count, ttl = await self._trip(self._scripts.lua_incr_expire, None, keys, [expiry, amount], [])
        self._seen = (int(count), time.time() + max(int(ttl), 0))
        return int(count)

    @override
    async def get(self, key: str) -> int:
        return await super().get(key) if self._seen is None else cast("int", self._seen[0])

    @override
    async def get_expiry(self, key: str) -> float:
        seen, self._seen = self._seen, None
        return await super().get_expiry(key) if seen is None else cast("float", seen[1])

    @override
    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = time.time()
        acquired, window = await self._trip(
            self._scripts.lua_acquire_moving_window,
            self._scripts.lua_moving_window,
            [self.bridge.prefixed_key(key)],
            [now, limit, expiry, amount],
            [now - expiry, limit],
        )
        self._seen = (float(window[0]), int(window[1])) if window else (now, 0)
        return bool(acquired)

    @override
    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        seen, self._seen = self._seen, None
        return await super().get_moving_window(key, limit, expiry) if seen is None else seen

    @override
    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        keys = [
            self.bridge.prefixed_key(one) for one in (self._previous_window_key(key), self._current_window_key(key))
        ]
        acquired, window = await self._trip(
            self._scripts.lua_acquire_sliding_window,
            self._scripts.lua_sliding_window,
            keys,
            [limit, expiry, amount],
            [expiry],
        )
        previous, previous_ttl, current, current_ttl = (max(0, float(value or 0)) for value in window)
        self._seen = (int(previous), previous_ttl / 1000, int(current), current_ttl / 1000)
        return bool(acquired)

    @override
    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        seen, self._seen = self._seen, None
        return await super().get_sliding_window(key, expiry) if seen is None else seen
