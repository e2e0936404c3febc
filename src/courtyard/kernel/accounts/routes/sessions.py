"""HTTP: ways in, and sessions."""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request

from courtyard.kernel.accounts.errors import (
    InvalidChallenge,
    InvalidRefreshToken,
    LoginSlowed,
    RefreshTokenReused,
    SecondFactorNeeded,
    WrongCredentials,
)
from courtyard.kernel.accounts.limits import (
    ASK,
    ENTER,
    LOGIN_BY_ADDRESS,
    LOGIN_BY_EMAIL,
    MAIL_BY_EMAIL,
    PROVE,
    REFRESH,
)
from courtyard.kernel.accounts.routes.arrivals import (
    arrival_of,
    browser_cookie,
    going_on,
    login_answer,
    session_cookies,
)
from courtyard.kernel.accounts.schemas import (
    Credentials,
    Login,
    NewEmailLogin,
    NewVisitor,
    Proof,
    Refresh,
    Session,
    Started,
)
from courtyard.kernel.accounts.service import email, passwords, sessions
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.http import PUBLIC, REFRESH_COOKIE, SIGNED_IN, Answer, delete, get, post

ACCEPTED = 202


@post(
    "/sessions",
    permission=PUBLIC,
    idempotent=False,
    problems=[WrongCredentials, SecondFactorNeeded, LoginSlowed],
    limits=[LOGIN_BY_ADDRESS, LOGIN_BY_EMAIL],
)
async def log_in(context: Context, request: Request[Any, Any, Any], data: Credentials) -> Answer[Login]:
    """Log in with a password."""
    arrival = arrival_of(request, data.browser_key, new=data.cookies)
    with going_on(context, arrival):
        login = await passwords.log_in(context, data, arrival)
    return login_answer(context, login, arrival, cookies=data.cookies)


@post("/sessions/anonymous", permission=PUBLIC, idempotent=False, limits=[ENTER])
async def enter_as_visitor(context: Context, request: Request[Any, Any, Any], data: NewVisitor) -> Answer[Login]:
    """Enter as an anonymous visitor, under a name."""
    arrival = arrival_of(request, None, new=data.cookies)
    return login_answer(context, await sessions.enter_as_visitor(context, data, arrival), arrival, cookies=data.cookies)


@post("/sessions/email", permission=PUBLIC, status=ACCEPTED, idempotent=False, limits=[ASK, MAIL_BY_EMAIL])
async def start_email_login(context: Context, request: Request[Any, Any, Any], data: NewEmailLogin) -> Answer[Started]:
    """Have a link and a code mailed, to log in without a password.

    They open a session for the browser that asks and for no other. The answer is the same whether or not there is an
    account with this address.
    """
    arrival = arrival_of(request, data.browser_key, new=True)
    return Answer(await email.start_login(context, data, arrival), browser_cookie(context, arrival))


@post(
    "/sessions/email/proof",
    permission=PUBLIC,
    idempotent=False,
    problems=[InvalidChallenge, SecondFactorNeeded],
    limits=[PROVE],
)
async def log_in_by_email(context: Context, request: Request[Any, Any, Any], data: Proof) -> Answer[Login]:
    """Log in with the link or the code of the mail."""
    arrival = arrival_of(request, data.browser_key)
    return login_answer(context, await email.log_in(context, data, arrival), arrival, cookies=data.cookies)


@post(
    "/sessions/refresh",
    permission=PUBLIC,
    idempotent=False,
    problems=[InvalidRefreshToken, RefreshTokenReused],
    limits=[REFRESH],
)
async def refresh_session(context: Context, request: Request[Any, Any, Any], data: Refresh) -> Answer[Login]:
    """Exchange a refresh token for new tokens.

    Each refresh token is good once, and for some seconds more gives the same tokens again, to a second tab. Showing
    one later ends its session.
    """
    from_cookie = data.refresh_token is msgspec.UNSET
    token = request.cookies.get(REFRESH_COOKIE, "") if from_cookie else data.refresh_token
    if not isinstance(token, str) or not token:
        raise InvalidRefreshToken
    login = await sessions.refresh(context, token)
    return login_answer(context, login, arrival_of(request, None), cookies=from_cookie)


@get("/sessions", permission=SIGNED_IN)
async def list_sessions(context: ReadContext) -> list[Session]:
    """List one's own sessions, the newest first."""
    return await sessions.list_sessions(context)


@delete("/sessions/current", permission=SIGNED_IN, while_restricted=True)
async def log_out(context: Context) -> Answer[None]:
    """End the session of the caller."""
    context.account_id  # noqa: B018 - refuses who is not signed in
    await sessions.log_out(context)
    return Answer(None, session_cookies(context, "", "", ""))


@delete("/sessions/{session_id:uuid}", permission=SIGNED_IN)
async def end_session(context: Context, session_id: UUID) -> None:
    """End one of one's own sessions."""
    await sessions.end_my_session(context, session_id)


@delete("/sessions", permission=SIGNED_IN)
async def end_other_sessions(context: Context) -> None:
    """End all of one's own sessions but the present one."""
    await sessions.end_other_sessions(context)


ROUTES = (
    log_in,
    enter_as_visitor,
    start_email_login,
    log_in_by_email,
    refresh_session,
    list_sessions,
    log_out,
    end_session,
    end_other_sessions,
)
