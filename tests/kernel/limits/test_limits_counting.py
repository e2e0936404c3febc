"""Counting hits: the same on every store and with every strategy."""

import asyncio
import re
import time
from collections import Counter
from typing import Any
from unittest import mock

import pytest
import redis.asyncio as redis

from courtyard.kernel.limits import Limits, Policy, Standing
from tests.kernel.limits.conftest import MakeLimits, policy
from tests.services import RedisSpace


async def until_allowed(limits: Limits, of: Policy, key: str) -> float:
    """Return how many seconds it took until a hit was allowed again."""
    started = time.monotonic()
    async with asyncio.timeout(10):
        while not (await limits.hit(of, key)).allowed:  # noqa: ASYNC110 - a store has nobody to tell
            await asyncio.sleep(0.02)
    return time.monotonic() - started


@pytest.mark.parametrize("strategy", ["fixed_window", "moving_window", "sliding_window"])
class TestEveryStoreAndStrategy:
    async def test_as_many_as_the_limit_are_allowed(self, strategy: str, make_limits: MakeLimits) -> None:
        thing = policy("3/day", strategy=strategy)
        limits = make_limits(thing)
        standings = [await limits.hit(thing, "one") for _ in range(5)]
        assert [standing.allowed for standing in standings] == [True, True, True, False, False]
        assert [standing.remaining for standing in standings] == [2, 1, 0, 0, 0]
        for standing in standings:
            assert (standing.policy, standing.limit, standing.window_seconds) == ("test.thing", 3, 86_400)
            assert 0 < standing.reset_seconds <= 86_400

    async def test_each_key_and_each_policy_counts_for_itself(self, strategy: str, make_limits: MakeLimits) -> None:
        thing, other = policy("1/day", strategy=strategy), policy("1/day", strategy=strategy, name="test.other")
        limits = make_limits(thing, other)
        assert (await limits.hit(thing, "one")).allowed
        assert not (await limits.hit(thing, "one")).allowed
        assert (await limits.hit(thing, "another")).allowed
        assert (await limits.hit(other, "one")).allowed

    async def test_it_begins_anew_behind_the_window(self, strategy: str, make_limits: MakeLimits) -> None:
        thing = policy("2/second", strategy=strategy)
        limits = make_limits(thing)
        while (await limits.hit(thing, "one")).allowed:
            pass
        assert await until_allowed(limits, thing, "one") < 5

    async def test_a_hit_can_be_worth_several(self, strategy: str, make_limits: MakeLimits) -> None:
        thing = policy("5/day", strategy=strategy)
        limits = make_limits(thing)
        assert (await limits.hit(thing, "one", 3)).remaining == 2
        assert (await limits.hit(thing, "one", 2)).remaining == 0
        assert (await limits.hit(thing, "another", 3)).allowed
        assert not (await limits.hit(thing, "another", 3)).allowed
        assert not (await limits.hit(thing, "other", 6)).allowed

    async def test_of_many_at_once_as_many_as_the_limit_are_allowed(
        self, strategy: str, make_limits: MakeLimits
    ) -> None:
        thing = policy("10/day", strategy=strategy)
        # As two processes.
        processes = [make_limits(thing)]
        processes += [make_limits(thing)] if processes[0]._store else processes
        hits = (processes[number % 2].hit(thing, "one") for number in range(40))
        standings: list[Standing] = await asyncio.gather(*hits)
        assert Counter(standing.allowed for standing in standings) == {True: 10, False: 30}

    async def test_a_policy_that_is_off_allows_everything(self, strategy: str, make_limits: MakeLimits) -> None:
        thing = policy("1/day", strategy=strategy)
        for settings in ({"enabled": False}, {"policies": {"test.thing": "off"}}):
            limits = make_limits(thing, **settings)
            assert not limits.is_on(thing)
            standings = [await limits.hit(thing, "one") for _ in range(4)]
            assert {(standing.allowed, standing.limit) for standing in standings} == {(True, 0)}

    async def test_an_operator_sets_another_amount(self, strategy: str, make_limits: MakeLimits) -> None:
        thing = policy("1/day", strategy=strategy)
        limits = make_limits(thing, policies={"test.thing": "2 per 3 days"})
        standings = [await limits.hit(thing, "one") for _ in range(3)]
        assert [standing.allowed for standing in standings] == [True, True, False]
        assert {(one.limit, one.window_seconds) for one in standings} == {(2, 3 * 86_400)}


async def test_a_policy_that_nobody_declares_is_a_fault(limits_on: MakeLimits) -> None:
    limits = limits_on(policy())
    with pytest.raises(LookupError, match=r"test\.unknown"):
        await limits.hit(policy(name="test.unknown"), "one")


async def test_any_text_can_be_a_key(make_limits: MakeLimits) -> None:
    thing = policy("1/day")
    limits = make_limits(thing)
    for key in ("", "\x00", "ä" * 100_000, "\ud800", "{a}:b c\r\n*"):
        assert (await limits.hit(thing, key)).allowed
        assert not (await limits.hit(thing, key)).allowed


@pytest.mark.services
class TestRedis:
    """What concerns the shared store alone."""

    async def test_no_key_tells_whom_it_is_about(self, limits_on: MakeLimits, redis_space: RedisSpace) -> None:
        prefix = f"{redis_space.prefix}-secret"
        kinds = [
            policy("9/day", strategy=f"{kind}_window", name=f"test.{kind}") for kind in ("fixed", "moving", "sliding")
        ]
        limits = limits_on(*kinds, redis=redis_space.url, prefix=prefix)
        for kind in kinds:
            await limits.hit(kind, "address 192.0.2.1 body ada@example.org")
        async with redis.from_url(redis_space.url) as client:
            keys = {key: await client.ttl(key) async for key in client.scan_iter(match=f"{prefix}*", count=1_000)}
        assert len(keys) == 3
        for key, seconds in keys.items():
            assert re.fullmatch(rf"{prefix}:limits:{{?LIMITER/[0-9a-f]{{32}}/9/1/day}}?", key.decode())
            assert seconds > 0

    async def test_processes_count_together(self, limits_on: MakeLimits, redis_space: RedisSpace) -> None:
        thing = policy("4/day", name="test.together")
        one, other = (limits_on(thing, redis=redis_space.url, prefix=redis_space.prefix) for _ in range(2))
        allowed = [(await limits.hit(thing, "somebody")).allowed for limits in (one, other, one, other, one, other)]
        assert allowed == [True] * 4 + [False] * 2

    async def test_a_hit_is_one_round_trip(self, limits_on: MakeLimits, redis_space: RedisSpace) -> None:
        for strategy in ("fixed_window", "moving_window", "sliding_window"):
            thing = policy("9/day", strategy=strategy, name=f"test.{strategy}")
            limits = limits_on(thing, redis=redis_space.url, prefix=redis_space.prefix)
            await limits.hit(thing, "somebody")
            store = limits._store
            assert store is not None
            # The strategies of the library have a client of their own, which is not asked for a hit.
            store.bridge.storage = None  # type: ignore[attr-defined]
            with mock.patch.object(store._client, "pipeline", wraps=store._client.pipeline) as pipeline:
                assert (await limits.hit(thing, "somebody")).remaining == 7
            assert pipeline.call_count == 1

    async def test_scripts_that_redis_has_forgotten_are_loaded_again(
        self, limits_on: MakeLimits, redis_space: RedisSpace
    ) -> None:
        thing = policy("9/day", name="test.flushed")
        limits = limits_on(thing, redis=redis_space.url, prefix=redis_space.prefix)
        async with redis.from_url(redis_space.url) as client:
            for remaining in (8, 7):
                await client.script_flush()
                assert (await limits.hit(thing, "somebody")).remaining == remaining

    async def test_a_generous_limit_is_taken_in_batches(self, limits_on: MakeLimits, redis_space: RedisSpace) -> None:
        thing = policy("1000/day", strategy="sliding_window", name="test.generous", batch=40)
        limits = limits_on(thing, redis=redis_space.url, prefix=redis_space.prefix)
        standings = [await limits.hit(thing, "somebody") for _ in range(60)]
        assert [standing.remaining for standing in standings] == [*range(999, 939, -1)]
        # 10 on credit, and the 40 of a batch twice.
        exact = policy("1000/day", strategy="sliding_window", name="test.generous")
        other = limits_on(exact, redis=redis_space.url, prefix=redis_space.prefix)
        assert (await other.hit(exact, "somebody")).remaining == 1_000 - 90 - 1

    async def test_a_generous_limit_ends_where_it_says(self, limits_on: MakeLimits, redis_space: RedisSpace) -> None:
        thing = policy("1000/day", strategy="sliding_window", name="test.end", batch=40)
        processes = [limits_on(thing, redis=redis_space.url, prefix=redis_space.prefix) for _ in range(2)]
        allowed = 0
        for number in range(1_100):
            allowed += (await processes[number % 2].hit(thing, "somebody")).allowed
        # What one process still has in its hand the other cannot give out.
        assert 1_000 - 40 <= allowed <= 1_000

    async def test_a_small_amount_for_a_generous_policy_is_exact(
        self, limits_on: MakeLimits, redis_space: RedisSpace
    ) -> None:
        thing = policy("1000/day", strategy="sliding_window", name="test.small", batch=40)
        options: Any = {"redis": redis_space.url, "prefix": redis_space.prefix, "policies": {"test.small": "5/day"}}
        processes = [limits_on(thing, **options) for _ in range(2)]
        allowed = [(await processes[number % 2].hit(thing, "somebody")).allowed for number in range(8)]
        assert allowed == [True] * 5 + [False] * 3

    async def test_a_refusal_is_repeated_without_asking(self, limits_on: MakeLimits, redis_space: RedisSpace) -> None:
        thing = policy("1/day", name="test.repeated")
        limits = limits_on(thing, redis=redis_space.url, prefix=redis_space.prefix)
        await limits.hit(thing, "somebody")
        first = await limits.hit(thing, "somebody")
        store, limits._store = limits._store, object()  # type: ignore[assignment]  # asking this would fail
        again = await limits.hit(thing, "somebody")
        limits._store = store
        assert (first.allowed, again.allowed) == (False, False)
        assert 86_000 < again.reset_seconds <= first.reset_seconds
