"""The stores by themselves: what a moving window promises, and the bound of the memory."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import parse
from limits.aio.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from prometheus_client import Counter

from courtyard.kernel.limits import stores
from courtyard.kernel.limits.stores import MemoryStore, SharedStore
from courtyard.kernel.telemetry import LIMITS_DROPPED
from tests.services import RedisSpace

WINDOW = 60
# Quarters of a second are exact in a float.
PAUSES = st.lists(st.tuples(st.integers(0, 4 * WINDOW), st.integers(1, 3)), max_size=60)


def at(now: Callable[[], float]) -> "mock._patch[SimpleNamespace]":
    """Let the stores see another time."""
    return mock.patch.object(stores, "time", SimpleNamespace(time=now))


async def admitted(store: MemoryStore | SharedStore, key: str, limit: int, pauses: list[tuple[int, int]]) -> list[int]:
    """Return when hits were admitted, in quarters of a second; a hit that is worth two is there twice."""
    limiter, item = MovingWindowRateLimiter(store), parse(f"{limit}/{WINDOW} seconds")
    now, times = 4_000_000_000, []
    with at(lambda: now / 4):
        for pause, cost in pauses:
            now += pause
            if await limiter.hit(item, key, cost=cost):
                times += [now] * cost
            _, remaining = await limiter.get_window_stats(item, key)
            assert 0 <= remaining <= limit
    return times


def most_in_a_window(times: list[int]) -> int:
    """Return the greatest number of times within one window, wherever it begins."""
    return max((sum(start <= one < start + 4 * WINDOW for one in times) for start in times), default=0)


@settings(max_examples=300, deadline=None)
@given(limit=st.integers(1, 8), pauses=PAUSES)
async def test_no_moving_window_ever_admits_more_than_its_limit(limit: int, pauses: list[tuple[int, int]]) -> None:
    times = await admitted(MemoryStore(), "key", limit, pauses)
    assert most_in_a_window(times) <= limit


@pytest.mark.services
async def test_nor_does_one_in_redis(redis_space: RedisSpace) -> None:
    store, chance = SharedStore(redis_space.url, f"{redis_space.prefix}:property"), random.Random(8)
    for number in range(30):
        limit = chance.choice((1, 2, 3, 8))
        pauses = [(chance.choice((0, 1, 7, 60, 119, 240)), chance.randint(1, 3)) for _ in range(40)]
        times = await admitted(store, f"key-{number}", limit, pauses)
        assert times
        assert most_in_a_window(times) <= limit
    await store.close()


async def test_a_moving_window_admits_again_as_its_oldest_hits_leave_it() -> None:
    # Hits at 0, 10 and 20 s, and one at each of these times a window later.
    quarters = [(0, 1), (40, 1), (40, 1), (159, 1), (1, 1), (39, 1), (1, 1), (40, 1)]
    start = 4_000_000_000
    times = await admitted(MemoryStore(), "key", 3, quarters)
    assert [(one - start) / 4 for one in times] == [0, 10, 20, 60, 70, 80]


async def test_a_fixed_window_ends_where_it_ends() -> None:
    limiter, item, now = FixedWindowRateLimiter(MemoryStore()), parse("2/minute"), 1_000.0
    with at(lambda: now):
        assert [await limiter.hit(item, "key") for _ in range(3)] == [True, True, False]
        now += 59.9
        assert not await limiter.hit(item, "key")
        assert (await limiter.get_window_stats(item, "key")).reset_time == 1_060
        now += 0.1
        assert await limiter.hit(item, "key")


async def test_a_sliding_window_counts_the_one_before_in_part() -> None:
    limiter, item, now = SlidingWindowCounterRateLimiter(MemoryStore()), parse("10/minute"), 1_200.0
    with at(lambda: now):
        assert [await limiter.hit(item, "key") for _ in range(11)] == [True] * 10 + [False]
        now = 1_275.0
        # A quarter of the window has gone, so three quarters of the ten are still there.
        assert [await limiter.hit(item, "key") for _ in range(4)] == [True] * 3 + [False]
        now = 1_259.0
        # A clock that goes back gives nothing away.
        assert not await limiter.hit(item, "key")
        now = 1_380.0
        assert (await limiter.get_window_stats(item, "key")).remaining == 10


@pytest.mark.parametrize(
    "url", ["redis://localhost", "redis://:p%40ss@localhost/3", "rediss://localhost:7000/0", "unix:///run/redis.sock"]
)
async def test_any_address_of_redis_will_do(url: str) -> None:
    await SharedStore(url, "test").close()


def value_of(counter: Counter) -> float:
    (metric,) = counter.collect()
    return metric.samples[0].value


async def test_the_memory_has_a_bound() -> None:
    store, limiters = MemoryStore(size=50), [FixedWindowRateLimiter, MovingWindowRateLimiter]
    before = value_of(LIMITS_DROPPED)
    for number in range(500):
        await limiters[number % 2](store).hit(parse("1/day"), f"key {number}")
        # Who keeps asking is not forgotten.
        await limiters[0](store).hit(parse("1/day"), "key 0")
        assert len(store) <= 50
    assert value_of(LIMITS_DROPPED) - before == 450
    assert not await limiters[0](store).hit(parse("1/day"), "key 0")


async def test_what_nobody_asks_for_any_more_makes_room() -> None:
    store, now = MemoryStore(), 1_000.0
    before = value_of(LIMITS_DROPPED)
    with at(lambda: now):
        for _ in range(1_000):
            now += 1
            await MovingWindowRateLimiter(store).hit(parse("1/minute"), f"key {now}")
    assert len(store) <= 61
    assert value_of(LIMITS_DROPPED) == before
    assert await store.reset()
    assert len(store) == 0
