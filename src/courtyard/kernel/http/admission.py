"""Before a handler has its turn, and before its body is looked at: who asks, and whether that is not too often."""

from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import Any
from uuid import UUID

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from courtyard.kernel.context import ReadContext
from courtyard.kernel.errors import Unauthenticated
from courtyard.kernel.http.authentication import principal_of
from courtyard.kernel.http.exchange import Exchange, StrictRequest
from courtyard.kernel.http.origin import described
from courtyard.kernel.limits import Policy, Standing, Subject, TooManyRequests, key_of
from courtyard.kernel.trail import Origin

# Rules of routes that no role decides about.
PUBLIC = "public"
SIGNED_IN = "signed in"

BY_ACCOUNT = Policy(
    name="http.requests_by_account",
    description="Every request of somebody who is signed in.",
    limit="1200/minute",
    strategy="sliding_window",
    by="account",
    batch=40,
)
BY_ADDRESS = Policy(
    name="http.requests_by_address",
    description="Every request to what is open to everybody, and every one without a login that counts.",
    limit="300/minute",
    strategy="sliding_window",
    by="address",
    batch=12,
)


def limits_of(path: str, permission: str, limits: Sequence[Policy], *, has_body: bool) -> tuple[Policy, ...]:
    """Return all limits of a route: the general one and its own.

    Raises:
        ValueError: a policy is counted by what the route does not have.
    """
    for policy in limits:
        by_nobody = policy.by in {"account", "api_key"} and permission == PUBLIC
        outside = policy.by == "workspace" and "{workspace:str}" not in path
        if by_nobody or outside or (policy.field is not None and not has_body):
            raise ValueError(f"{path} has nothing to count {policy.name} by")
    return (BY_ADDRESS if permission == PUBLIC else BY_ACCOUNT, *limits)


async def admit(request: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Find out who asks, and count it; the framework's guard of every route.

    Raises:
        Unauthenticated: a credential was shown that does not count.
        CsrfFailed: a change by cookie without the token of the session.
        TooManyRequests: a limit is reached.
    """
    if not isinstance(request, StrictRequest):
        raise TypeError("a guard of routes")
    exchange = request.exchange
    # What is open to everybody looks at no credential: with an old cookie one can still log in, or refresh it.
    if handler.opt["permission"] != PUBLIC:
        try:
            principal = await principal_of(exchange.runtime, request)
        except Unauthenticated:
            await _count(request, exchange, (BY_ADDRESS,))
            raise
        if principal is not None:
            exchange.principal = principal
            exchange.account_id = principal.account_id
    await _count(request, exchange, handler.opt["limits"])


async def _count(request: StrictRequest, exchange: Exchange, policies: Sequence[Policy]) -> None:
    limits, principal = exchange.runtime.limits, exchange.principal
    standings: list[Standing] = []
    for policy in policies:
        if policy is BY_ACCOUNT and principal is None:
            policy = BY_ADDRESS  # noqa: PLW2901 - nobody has an account
        if not limits.is_on(policy):
            continue
        subject = Subject(
            exchange.address,
            None if principal is None else principal.account_id,
            None if principal is None else principal.session_id,
            await _workspace_id(request, exchange) if policy.by == "workspace" else None,
        )
        value = None if policy.field is None else _field_of(await request.body(), policy.field)
        key = key_of(policy, subject, value)
        standing = await limits.hit(policy, key)
        standings.append(standing)
        if not standing.allowed:
            exchange.headers += _headers_of(standings)
            problem = TooManyRequests(policy.name, standing.reset_seconds)
            context = ReadContext(
                exchange.runtime, principal, None, exchange.request_id, Origin("http", partial(described, request))
            )
            context.note_limit(policy.name, key)
            await context.keep_refusals(problem)
            raise problem
    if standings:
        exchange.headers += _headers_of(standings)


async def _workspace_id(request: StrictRequest, exchange: Exchange) -> UUID:
    named = request.path_params["workspace"]
    return (await exchange.runtime.identity.access(exchange.runtime, exchange.principal, named)).workspace_id


def _field_of(body: bytes, name: str) -> object:
    """Return a field of a body that nobody has looked at yet; None where there is none."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(fields[name]) if name in fields else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _headers_of(standings: Sequence[Standing]) -> list[tuple[bytes, bytes]]:
    """Return how the limits stand (draft-ietf-httpapi-ratelimit-headers-10, as lists of RFC 9651)."""
    policies = ", ".join(f'"{one.policy}";q={one.limit};w={one.window_seconds}' for one in standings)
    stands = ", ".join(f'"{one.policy}";r={one.remaining};t={ceil(one.reset_seconds)}' for one in standings)
    return [(b"ratelimit-policy", policies.encode()), (b"ratelimit", stands.encode())]
