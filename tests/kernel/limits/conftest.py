"""Limits of one's own, on each kind of store."""

import os
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias
from uuid import uuid4

import pytest

from courtyard.kernel.crypto import Signer
from courtyard.kernel.limits import Limits, Policy, counting, stores
from courtyard.kernel.settings import LimitSettings, RedisSettings, Settings
from tests.services import RedisSpace

MakeLimits: TypeAlias = Callable[..., Limits]
RING = [("test", os.urandom(32))]


def policy(limit: str = "3/day", **other: Any) -> Policy:
    """Return a policy, by the address unless told otherwise."""
    return Policy(**{"name": "test.thing", "description": "For a test.", "limit": limit, **other})


@pytest.fixture
def patience() -> float:
    """For how long Redis is waited for: a busy machine must not look like an outage."""
    return 20.0


@pytest.fixture
async def limits_on(patience: float, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeLimits]:
    """Makes limits on a Redis, or in memory, for these policies; they are closed with the test."""
    made: list[Limits] = []
    for module in (counting, stores):
        monkeypatch.setattr(module, "STORE_SECONDS", patience)

    def make(*policies: Policy, redis: str | None = None, prefix: str = "courtyard", **settings: Any) -> Limits:
        chosen = Settings.model_construct(
            limits=LimitSettings(**settings), redis=RedisSettings.model_validate({"url": redis, "prefix": prefix})
        )
        limits = Limits({one.name: one for one in policies}, chosen, Signer(RING))
        made.append(limits)
        return limits

    yield make
    for limits in made:
        await limits.close()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest) -> str:
    """Where hits are counted."""
    kind: str = request.param
    return kind


@pytest.fixture
async def make_limits(store: str, limits_on: MakeLimits, redis_space_of_process: RedisSpace) -> MakeLimits:
    """Makes limits on one kind of store, which is empty for each test."""
    if store == "memory":
        return limits_on
    space = redis_space_of_process
    await space.check()
    prefix = f"{space.prefix}-{uuid4().hex[:8]}"

    def make(*policies: Policy, **settings: Any) -> Limits:
        return limits_on(*policies, redis=space.url, prefix=prefix, **settings)

    return make
