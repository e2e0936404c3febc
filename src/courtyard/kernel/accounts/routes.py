"""HTTP: registering, sessions, oneself."""

from datetime import timedelta
from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import Cookie

from courtyard.kernel.accounts import queries, service
from courtyard.kernel.accounts.errors import EmailTaken, InvalidRefreshToken, RefreshTokenReused, WrongCredentials
from courtyard.kernel.accounts.schemas import Account, AccountPatch, Credentials, Login, NewAccount, NewVisitor, Refresh
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.http import (
    ACCESS_COOKIE,
    API,
    PUBLIC,
    REFRESH_COOKIE,
    SIGNED_IN,
    Answer,
    delete,
    get,
    patch,
    post,
)

REFRESH_PATH = f"{API}/sessions"


@post("/accounts", permission=PUBLIC, problems=[EmailTaken])
async def register(context: Context, data: NewAccount) -> Account:
    """Register as a person."""
    return await service.register(context, data)


@post("/sessions", permission=PUBLIC, idempotent=False, problems=[WrongCredentials])
async def log_in(context: Context, request: Request[Any, Any, Any], data: Credentials) -> Answer[Login]:
    """Log in with a password."""
    return _answer(context, await service.log_in(context, data, _device(request)), cookies=data.cookies)


@post("/sessions/anonymous", permission=PUBLIC, idempotent=False)
async def enter_as_visitor(context: Context, request: Request[Any, Any, Any], data: NewVisitor) -> Answer[Login]:
    """Enter as an anonymous visitor, under a name."""
    return _answer(context, await service.enter_as_visitor(context, data, _device(request)), cookies=data.cookies)


@post("/sessions/refresh", permission=PUBLIC, idempotent=False, problems=[InvalidRefreshToken, RefreshTokenReused])
async def refresh_session(context: Context, request: Request[Any, Any, Any], data: Refresh) -> Answer[Login]:
    """Exchange a refresh token for new tokens.

    Each refresh token is good once: showing one again ends its session.
    """
    from_cookie = data.refresh_token is msgspec.UNSET
    token = request.cookies.get(REFRESH_COOKIE, "") if from_cookie else data.refresh_token
    if not isinstance(token, str) or not token:
        raise InvalidRefreshToken
    return _answer(context, await service.refresh(context, token), cookies=from_cookie)


@delete("/sessions/current", permission=SIGNED_IN)
async def log_out(context: Context) -> Answer[None]:
    """End the session of the caller."""
    context.account_id  # noqa: B018 - refuses who is not signed in
    await service.log_out(context)
    return Answer(None, _cookies(context, "", "", ""))


@get("/me", permission=SIGNED_IN)
async def get_me(context: ReadContext) -> Account:
    """See one's own account."""
    return await queries.get_me(context)


@patch("/me", permission=SIGNED_IN)
async def change_me(context: Context, data: AccountPatch, version: int | None) -> Account:
    """Change one's own account."""
    return await service.change_me(context, data, version)


def _device(request: Request[Any, Any, Any]) -> str:
    return request.headers.get("user-agent", "")


def _answer(context: Context, login: Login, *, cookies: bool) -> Answer[Login]:
    if not cookies:
        return Answer(login)
    jar = _cookies(context, login.access_token or "", login.refresh_token or "", login.csrf_token)
    return Answer(msgspec.structs.replace(login, access_token=None, refresh_token=None), jar)


def _cookies(context: Context, access_token: str, refresh_token: str, csrf_token: str) -> list[Cookie]:
    """Return the cookies that hold these tokens; empty ones take them away.

    Scripts can read the CSRF token alone. The refresh token travels only where it is exchanged.
    """
    settings = context.runtime.settings
    seconds = timedelta(seconds=settings.security.refresh_token_seconds)

    def cookie(name: str, value: str, path: str, *, hidden: bool) -> Cookie:
        return Cookie(
            name,
            value=value,
            path=path,
            httponly=hidden,
            secure=settings.cookie_secure,
            samesite="lax",
            max_age=int(seconds.total_seconds()) if value else 0,
        )

    return [
        cookie(ACCESS_COOKIE, access_token, "/", hidden=True),
        cookie(REFRESH_COOKIE, refresh_token, REFRESH_PATH, hidden=True),
        cookie("courtyard_csrf", csrf_token, "/", hidden=False),
    ]


ROUTES = (register, log_in, enter_as_visitor, refresh_session, log_out, get_me, change_me)
