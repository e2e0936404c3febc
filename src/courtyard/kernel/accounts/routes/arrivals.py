"""How somebody comes who logs in, and what a browser is given to come back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import msgspec
from litestar import Request
from litestar.datastructures import Cookie

from courtyard.kernel.accounts import rules
from courtyard.kernel.accounts.errors import SecondFactorNeeded
from courtyard.kernel.accounts.rules import Arrival
from courtyard.kernel.accounts.schemas import Login
from courtyard.kernel.context import Context
from courtyard.kernel.crypto import RefreshTokens, new_token
from courtyard.kernel.http import ACCESS_COOKIE, API, BROWSER_COOKIE, REFRESH_COOKIE, Answer, exchange_of

REFRESH_PATH = f"{API}/sessions"
BROWSER_SECONDS = 400 * 86_400  # The longest that browsers keep a cookie (RFC 6265bis, section 5.5).


def arrival_of(request: Request[Any, Any, Any], browser_key: str | None, *, new: bool = False) -> Arrival:
    """Return how a request that logs somebody in has come.

    Args:
        request: the request.
        browser_key: what the client says it is known by; browsers say it with a cookie.
        new: whether a client that says nothing is given a secret, in a cookie.
    """
    exchange = exchange_of(request.scope)
    address = "" if exchange is None else exchange.address
    browser = browser_key or request.cookies.get(BROWSER_COOKIE, "")[:200] or (new_token() if new else None)
    by_cookie = browser is not None and browser_key is None
    return Arrival(request.headers.get("user-agent", ""), rules.shorten_address(address), browser, by_cookie)


def login_answer(context: Context, login: Login, arrival: Arrival, *, cookies: bool) -> Answer[Login]:
    """Return the answer that holds the tokens of a login, or puts them into cookies."""
    if not cookies:
        return Answer(login)
    jar = session_cookies(context, login.access_token or "", login.refresh_token or "", login.csrf_token)
    return Answer(
        msgspec.structs.replace(login, access_token=None, refresh_token=None), [*jar, *browser_cookie(context, arrival)]
    )


@contextmanager
def going_on(context: Context, arrival: Arrival) -> Iterator[None]:
    """Let a browser be known again where the login goes on with a second factor: that is for this browser alone."""
    try:
        yield
    except SecondFactorNeeded as needed:
        for cookie in browser_cookie(context, arrival):
            needed.headers["Set-Cookie"] = cookie.to_header(header="")
        raise


def session_of(context: Context, request: Request[Any, Any, Any]) -> UUID | None:
    """Return the session by which a browser is signed in, from its refresh token: the access token may have expired.

    Whether the session still lives is not looked at.
    """
    tokens, token = RefreshTokens(context.runtime.digests), request.cookies.get(REFRESH_COOKIE, "")
    return tokens.session_of(token) if tokens.is_genuine(token) else None


def browser_cookie(context: Context, arrival: Arrival) -> list[Cookie]:
    """Return the cookie by which a browser is known again, none for a client that keeps no cookie for it."""
    if arrival.browser is None or not arrival.by_cookie:
        return []
    return [_cookie(context, BROWSER_COOKIE, arrival.browser, API, BROWSER_SECONDS, hidden=True)]


def session_cookies(context: Context, access_token: str, refresh_token: str, csrf_token: str) -> list[Cookie]:
    """Return the cookies that hold these tokens; empty ones take them away.

    Scripts can read the CSRF token alone. The refresh token travels only where it is exchanged.
    """
    seconds = context.runtime.settings.security.refresh_token_seconds
    return [
        _cookie(context, ACCESS_COOKIE, access_token, "/", seconds, hidden=True),
        _cookie(context, REFRESH_COOKIE, refresh_token, REFRESH_PATH, seconds, hidden=True),
        _cookie(context, "courtyard_csrf", csrf_token, "/", seconds, hidden=False),
    ]


def _cookie(context: Context, name: str, value: str, path: str, seconds: int, *, hidden: bool) -> Cookie:
    return Cookie(
        name,
        value=value,
        path=path,
        httponly=hidden,
        secure=context.runtime.settings.cookie_secure,
        samesite="lax",
        max_age=seconds if value else 0,
    )
