"""Counting: a hit on a policy, where it stands then, and what is done while the shared store is away."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec
import structlog
from limits import RateLimitItem
from limits.aio.storage import Storage
from limits.aio.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)
from redis.exceptions import RedisError

from courtyard.kernel.crypto import Signer
from courtyard.kernel.limits.policies import OFF, Policy, Strategy, parse
from courtyard.kernel.limits.stores import STORE_SECONDS, MemoryStore, SharedStore
from courtyard.kernel.settings import Settings
from courtyard.kernel.telemetry import LIMITS_REFUSED, LIMITS_STORE_FAILURES

log = structlog.get_logger("courtyard.limits")

T = TypeVar("T")

# How long a store that has failed is not asked again.
PAUSE_SECONDS = 1.0
# For how long a refusal of the shared store is repeated without asking it again, at the most.
REFUSAL_SECONDS = 1.0
# See `Policy.batch`: the life of a batch as a part of the window, its size as a part of the limit, and what is given
# out on credit as a part of it.
BATCH_LIFE = 0.1
BATCH_PART = 1 / 20
CREDIT_PART = 1 / 4
HANDS = 50_000


class Standing(msgspec.Struct, frozen=True, gc=False):
    """Where somebody stands with a policy.

    Attributes:
        policy: its name.
        allowed: whether the hit is admitted.
        limit: hits in a window; 0 where the policy is turned off, and everything is admitted.
        remaining: hits that are left.
        window_seconds: the length of the window.
        reset_seconds: until there are more hits again.
    """

    policy: str
    allowed: bool
    limit: int
    remaining: int
    window_seconds: int
    reset_seconds: float


class _Rule:
    """A policy with the amount that holds here.

    Attributes:
        untouched: where somebody stands who has done nothing yet, or while nobody knows.
    """

    __slots__ = ("batch", "credit", "item", "policy", "untouched", "window_seconds")

    def __init__(self, policy: Policy, item: RateLimitItem) -> None:
        self.policy = policy
        self.item = item
        self.window_seconds = item.get_expiry()
        self.batch = max(1, min(policy.batch, int(item.amount * BATCH_PART)))
        self.credit = int(self.batch * CREDIT_PART)
        self.untouched = Standing(policy.name, True, item.amount, item.amount, self.window_seconds, 0.0)  # noqa: FBT003 - a struct


class _Hand:
    """Hits that this process may give out by itself, or a refusal that it may repeat.

    Attributes:
        left: how many.
        owed: what of them the shared store does not know of yet.
    """

    __slots__ = ("left", "owed", "since", "standing", "until")

    def __init__(self, standing: Standing, left: int, since: float, seconds: float, owed: int = 0) -> None:
        self.standing = standing
        self.left = left
        self.owed = owed
        self.since = since
        self.until = since + seconds


class Limits:
    """Counts hits on policies, in Redis where there is one, else in this process.

    Keys are put through a keyed digest first: no store holds an address or an e-mail address.

    Args:
        policies: those that are declared, by name.
        settings: of the process.
        signer: makes the digests.
    """

    def __init__(self, policies: Mapping[str, Policy], settings: Settings, signer: Signer) -> None:
        self._rules = {name: _rule(policy, settings) for name, policy in policies.items()}
        self._signer = signer
        self._local = _limiters(MemoryStore())
        self._store: SharedStore | None = None
        if settings.redis_url is not None:
            self._store = SharedStore(settings.redis_url, f"{settings.redis.prefix}:limits")
            self._shared = _limiters(self._store)
        self._hands: OrderedDict[str, _Hand] = OrderedDict()
        self._away = False
        self._asked_again_at = 0.0

    def is_on(self, policy: Policy) -> bool:
        """Return whether a policy holds here.

        Raises:
            LookupError: no part declares it, so no operator could change it.
        """
        return self._rule_of(policy) is not None

    async def hit(self, policy: Policy, key: str, cost: int = 1) -> Standing:
        """Count something, if it is allowed.

        Args:
            policy: a declared policy.
            key: whom it is counted for (`key_of`).
            cost: how many hits it is worth.

        Raises:
            LookupError: no part declares the policy.
        """
        rule = self._rule_of(policy)
        if rule is None:
            return _unlimited(policy)
        digest = self._digest(policy, key)
        if self._store is None:
            standing = await _count(self._local, rule, digest, cost)
        else:
            standing = await self._hit_shared(rule, digest, cost)
        if not standing.allowed:
            LIMITS_REFUSED.labels(policy.name).inc()
        return standing

    async def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            await self._store.close()

    def _rule_of(self, policy: Policy) -> _Rule | None:
        try:
            return self._rules[policy.name]
        except KeyError:
            raise LookupError(f"no part declares the policy {policy.name}") from None

    def _digest(self, policy: Policy, key: str) -> str:
        # Half of a SHA-256 is more than enough to tell keys apart.
        return self._signer.digest("limits", f"{policy.name} {key}".encode("utf-8", "surrogatepass"))[:16].hex()

    async def _hit_shared(self, rule: _Rule, digest: str, cost: int) -> Standing:
        now = time.monotonic()
        hand = self._hands.get(digest)
        if hand is None or now >= hand.until:
            # Who was refused last has to ask.
            credit = rule.credit if hand is None or hand.standing.allowed else 0
            hand = _Hand(rule.untouched, credit, now, rule.window_seconds * BATCH_LIFE, owed=credit)
            if credit:
                self._keep(digest, hand)
        if not hand.standing.allowed:
            return msgspec.structs.replace(
                hand.standing, reset_seconds=hand.standing.reset_seconds - (now - hand.since)
            )
        if hand.left >= cost:
            hand.left -= cost
            return _with_hand(hand)
        # What was given out on credit is paid for now. Others who ask at the same time do not pay again.
        owed, hand.owed = hand.owed, 0
        batch = max(cost, rule.batch)
        standing = await self._ask(lambda: _count(self._shared, rule, digest, batch + owed))
        if standing is not None and not standing.allowed and batch + owed > cost:
            # There is no room for as many any more; perhaps there is for this one.
            batch = cost
            standing = await self._ask(lambda: _count(self._shared, rule, digest, cost))
        if standing is None:
            return await self._hit_alone(rule, digest, cost)
        if not standing.allowed:
            self._keep(digest, _Hand(standing, 0, now, min(standing.reset_seconds, REFUSAL_SECONDS)))
        elif batch > cost:
            # Somebody else may have taken some meanwhile.
            hand = _Hand(standing, hand.left + batch - cost, now, rule.window_seconds * BATCH_LIFE)
            self._keep(digest, hand)
            return _with_hand(hand)
        return standing

    async def _hit_alone(self, rule: _Rule, digest: str, cost: int) -> Standing:
        """Do what the policy says while the shared store is away."""
        if rule.policy.when_unavailable == "local":
            return await _count(self._local, rule, digest, cost)
        return rule.untouched

    def _keep(self, digest: str, hand: _Hand) -> None:
        self._hands[digest] = hand
        self._hands.move_to_end(digest)
        if len(self._hands) > HANDS:
            self._hands.popitem(last=False)

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """Ask the shared store; None where there is none, or it is away.

        While it is away one question in a while goes there, to see whether it is back.
        """
        if self._store is None:
            return None
        now = time.monotonic()
        if self._away:
            if now < self._asked_again_at:
                return None
            self._asked_again_at = now + PAUSE_SECONDS
        try:
            # Twice: a connection that was closed meanwhile is opened again.
            async with asyncio.timeout(2 * STORE_SECONDS):
                answer = await question()
        except (RedisError, OSError, TimeoutError) as error:
            LIMITS_STORE_FAILURES.inc()
            self._asked_again_at = time.monotonic() + PAUSE_SECONDS
            if not self._away:
                self._away = True
                log.warning("limits.store_away", error=type(error).__name__)
            return None
        if self._away:
            self._away = False
            log.info("limits.store_back")
        return answer


def _rule(policy: Policy, settings: Settings) -> _Rule | None:
    text = settings.limits.policies.get(policy.name, policy.limit)
    return _Rule(policy, parse(text)) if settings.limits.enabled and text != OFF else None


def _limiters(store: Storage) -> dict[Strategy, RateLimiter]:
    return {
        "fixed_window": FixedWindowRateLimiter(store),
        "moving_window": MovingWindowRateLimiter(store),
        "sliding_window": SlidingWindowCounterRateLimiter(store),
    }


async def _count(limiters: Mapping[Strategy, RateLimiter], rule: _Rule, digest: str, cost: int) -> Standing:
    limiter, item = limiters[rule.policy.strategy], rule.item
    allowed = await limiter.hit(item, digest, cost=cost)
    return await _stand(limiter, rule, digest, allowed=allowed)


async def _stand(limiter: RateLimiter, rule: _Rule, digest: str, *, allowed: bool) -> Standing:
    reset_at, remaining = await limiter.get_window_stats(rule.item, digest)
    reset_seconds = reset_at - time.time()
    if reset_seconds <= 0 and remaining < rule.item.amount:
        # The library takes the rest of a window modulo its length, which is 0 where it has just begun.
        reset_seconds = rule.window_seconds
    return Standing(
        rule.policy.name, allowed, rule.item.amount, max(0, remaining), rule.window_seconds, max(0.0, reset_seconds)
    )


def _with_hand(hand: _Hand) -> Standing:
    standing = hand.standing
    return msgspec.structs.replace(standing, remaining=standing.remaining - hand.owed + hand.left)


def _unlimited(policy: Policy) -> Standing:
    return Standing(policy.name, True, 0, 0, 0, 0.0)  # noqa: FBT003 - a struct
