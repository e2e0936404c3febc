"""Redis is killed, hangs, and comes back: what passes, what is counted here, and what is told."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import Counter
from structlog.testing import capture_logs

from courtyard.kernel.limits import Limits
from courtyard.kernel.limits.counting import PAUSE_SECONDS
from courtyard.kernel.limits.stores import STORE_SECONDS
from courtyard.kernel.telemetry import LIMITS_STORE_FAILURES
from tests.kernel.limits.conftest import MakeLimits, policy
from tests.processes import OwnRedis, own_redis

pytestmark = pytest.mark.services
READS = policy("2/day", name="test.reads", when_unavailable="pass")
LOGINS = policy("2/day", name="test.logins", when_unavailable="local")


@pytest.fixture
def patience() -> float:
    return STORE_SECONDS


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[OwnRedis]:
    async with own_redis(tmp_path) as process:
        yield process


@pytest.fixture
def limits(own: OwnRedis, limits_on: MakeLimits) -> Limits:
    return limits_on(READS, LOGINS, redis=own.url)


def failures() -> float:
    (metric,) = LIMITS_STORE_FAILURES.collect()
    value: float = metric.samples[0].value
    return value


def names(counter: Counter) -> str:
    (metric,) = counter.collect()
    return metric.samples[0].name


async def use_up(limits: Limits) -> None:
    """Use up both limits, and see them hold."""
    for kind in (READS, LOGINS):
        assert [(await limits.hit(kind, "somebody")).allowed for _ in range(3)] == [True, True, False]


async def until_back(limits: Limits) -> None:
    async with asyncio.timeout(10):
        while limits._away:
            # Somebody new each time: a refusal is repeated without asking.
            await limits.hit(READS, f"whoever {time.monotonic()}")
            await asyncio.sleep(0.05)


async def test_when_redis_is_killed_reads_pass_and_logins_are_counted_here(own: OwnRedis, limits: Limits) -> None:
    await use_up(limits)
    before = failures()
    await own.kill()
    with capture_logs() as logs:
        # A refusal is remembered for a moment; another one is not.
        assert [(await limits.hit(READS, "another")).allowed for _ in range(5)] == [True] * 5
        assert [(await limits.hit(LOGINS, "another")).allowed for _ in range(5)] == [True, True, False, False, False]
        await own.start()
        await until_back(limits)
        # What Redis has counts again; it has come back empty.
        await use_up(limits)
    assert names(LIMITS_STORE_FAILURES) == "courtyard_limits_store_failures_total"
    assert failures() - before >= 1
    assert [entry["event"] for entry in logs] == ["limits.store_away", "limits.store_back"]


async def test_when_redis_hangs_nobody_waits_for_long(own: OwnRedis, limits: Limits) -> None:
    await use_up(limits)
    await own.pause()
    try:
        started = time.monotonic()
        # Those who ask at once find out together; whoever comes next is not kept.
        standings = await asyncio.gather(*(limits.hit(READS, f"somebody {number}") for number in range(30)))
        first = time.monotonic() - started
        for number in range(200):
            await limits.hit(LOGINS, f"somebody {number}")
        rest = time.monotonic() - started - first
    finally:
        await own.resume()
    assert all(standing.allowed for standing in standings)
    assert first < 2 * STORE_SECONDS + 1
    assert rest < 1
    await until_back(limits)
    # Nothing was forgotten there.
    assert not (await limits.hit(LOGINS, "somebody")).allowed


async def test_while_it_is_away_it_is_asked_once_in_a_while(own: OwnRedis, limits: Limits) -> None:
    await limits.hit(READS, "somebody")
    await own.kill()
    before, asked = failures(), 0
    with capture_logs() as logs:
        started = time.monotonic()
        while time.monotonic() - started < 2.5 * PAUSE_SECONDS:
            await limits.hit(READS, "somebody")
            asked += 1
            await asyncio.sleep(0.01)
    assert asked > 50
    assert 2 <= failures() - before <= 4
    assert [entry["event"] for entry in logs] == ["limits.store_away"]


async def test_connections_that_redis_has_closed_are_not_noticed(own: OwnRedis, limits: Limits) -> None:
    before = failures()
    for number in range(5):
        await own.kill_connections()
        assert [(await limits.hit(LOGINS, f"somebody {number}")).allowed for _ in range(3)] == [True, True, False]
    assert failures() == before
