"""HTTP: logging in at an OpenID provider, and linking one.

A browser goes from `…/start` to the provider, comes back to `…/callback` and is sent to the page that it came from,
signed in by cookies. A client that keeps its tokens by itself begins with a POST and a `browser_key`; its page is
given what the provider sent, and sends it on to `…/proof`.
"""

from typing import Annotated, Any

from litestar import Request
from litestar.params import QueryParameter
from msgspec import Meta

from courtyard.kernel.accounts.errors import (
    AlreadyLinked,
    DomainNotAllowed,
    EmailNotVerified,
    ForeignReturn,
    IdentityTaken,
    InvalidChallenge,
    LastWayIn,
    LinkFirst,
    NotForVisitors,
    RegistrationClosed,
    SecondFactorNeeded,
    StepUpNeeded,
    WrongCredentials,
)
from courtyard.kernel.accounts.limits import PROVIDER
from courtyard.kernel.accounts.routes.arrivals import (
    arrival_of,
    browser_cookie,
    login_answer,
    session_cookies,
    session_of,
)
from courtyard.kernel.accounts.schemas import Login
from courtyard.kernel.accounts.schemas.openid import (
    Identity,
    IdentityProof,
    Issuer,
    LoginProvider,
    NewProviderLogin,
    ProviderCode,
    ProviderName,
    ProviderProof,
    ProviderRequest,
    ReturnTo,
)
from courtyard.kernel.accounts.service import openid
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.errors import Problem
from courtyard.kernel.http import API, PUBLIC, SIGNED_IN, Answer, Redirect, delete, get, post
from courtyard.kernel.openid import Answered, InvalidProviderAnswer, ProviderAway, ProviderRefused

# `state` as an argument of a handler belongs to the framework, which knows only the bounds that stand in its own mark.
Word = Annotated[str, Meta(max_length=200)]
ReturnedState = Annotated[
    Word | None, QueryParameter(name="state", max_length=200, description="That the provider was given.")
]
ReturnedError = Annotated[
    Word | None, QueryParameter(name="error", max_length=200, description="Why nobody was let in (RFC 6749, 4.1.2.1).")
]
ACCEPTED = 202
NOTHING = 204
ASKING = [ForeignReturn, ProviderAway, InvalidProviderAnswer]
PROVING = [InvalidChallenge, ProviderRefused, ProviderAway, InvalidProviderAnswer, DomainNotAllowed]


@get("/sessions/oidc", permission=PUBLIC)
async def list_login_providers(context: ReadContext) -> list[LoginProvider]:
    """List the OpenID providers that one can log in with."""
    return openid.list_providers(context)


@post(
    "/sessions/oidc/{provider:str}",
    permission=PUBLIC,
    status=ACCEPTED,
    idempotent=False,
    problems=ASKING,
    limits=[PROVIDER],
)
async def start_provider_login(
    context: Context, request: Request[Any, Any, Any], provider: ProviderName, data: NewProviderLogin
) -> Answer[ProviderRequest]:
    """Begin to log in at an OpenID provider: the answer says where to send the person.

    With a `browser_key`, the page of `return_to` is given `provider`, `code`, `state` and perhaps `iss` behind its
    `#`, and sends them on to `POST /sessions/oidc/{provider}/proof`. Without it, the login ends by itself in the
    browser that has asked, with cookies, and the page is opened.
    """
    page, arrival = openid.page_of(context, data.return_to), arrival_of(request, data.browser_key, new=True)
    begun = await openid.start_login(
        context, provider, _callback(context, provider), page, arrival, handed_over=data.browser_key is not None
    )
    return Answer(begun, browser_cookie(context, arrival))


@get("/sessions/oidc/{provider:str}/start", permission=PUBLIC, problems=[ForeignReturn], limits=[PROVIDER])
async def go_to_login_provider(
    context: Context, request: Request[Any, Any, Any], provider: ProviderName, return_to: ReturnTo | None = None
) -> Redirect:
    """Go to an OpenID provider to log in: where a link of a page leads to.

    Where the provider cannot be reached, the page of `return_to` is opened, with `error` behind its `#`.
    """
    openid.find_provider(context, provider)
    page, arrival = openid.page_of(context, return_to), arrival_of(request, None, new=True)
    try:
        begun = await openid.start_login(
            context, provider, _callback(context, provider), page, arrival, handed_over=False
        )
    except (ProviderAway, InvalidProviderAnswer) as problem:
        return Redirect(page, problem=problem)
    return Redirect(begun.authorization_url, browser_cookie(context, arrival))


@get("/sessions/oidc/{provider:str}/callback", permission=PUBLIC, limits=[PROVIDER])
async def come_back_from_login_provider(
    context: Context,
    request: Request[Any, Any, Any],
    provider: ProviderName,
    returned: ReturnedState = None,
    code: ProviderCode | None = None,
    iss: Issuer | None = None,
    refused: ReturnedError = None,
) -> Redirect:
    """Come back from an OpenID provider: the address that the provider is told to send people to.

    A browser that began the login or the link here is sent to the page that it came from. If something went wrong,
    `error` behind the `#` is the code of the problem, followed by its other members: `second_factor_needed` comes
    with the `challenge` to answer. The codes are those of `POST /sessions/oidc/{provider}/proof` and
    `POST /me/identities/{provider}/proof`.
    """
    openid.find_provider(context, provider)
    state = returned or ""
    flow = await openid.find_flow(context.outside(), provider, state)
    if flow is None:
        return Redirect(openid.page_of(context, None), problem=InvalidChallenge())
    if flow.handed_over:
        if code is None:
            return Redirect(flow.return_to, problem=ProviderRefused(refused or ""))
        told = {"provider": provider, "code": code, "state": state, **({} if iss is None else {"iss": iss})}
        return Redirect(flow.return_to, fragment=told)
    arrival, answered = arrival_of(request, None), Answered(code, iss, refused)
    try:
        if flow.session_id is not None:
            await openid.link(context, provider, state, answered, arrival, session_of(context, request))
            return Redirect(flow.return_to)
        login = await openid.log_in(context, provider, state, answered, arrival)
    except Problem as problem:
        return Redirect(flow.return_to, problem=problem)
    cookies = session_cookies(context, login.access_token or "", login.refresh_token or "", login.csrf_token)
    return Redirect(flow.return_to, [*cookies, *browser_cookie(context, arrival)])


@post(
    "/sessions/oidc/{provider:str}/proof",
    permission=PUBLIC,
    idempotent=False,
    problems=[*PROVING, EmailNotVerified, LinkFirst, IdentityTaken, AlreadyLinked, RegistrationClosed,
              SecondFactorNeeded, WrongCredentials],
    limits=[PROVIDER],
)  # fmt: skip
async def log_in_by_provider(
    context: Context, request: Request[Any, Any, Any], provider: ProviderName, data: ProviderProof
) -> Answer[Login]:
    """Log in with what an OpenID provider has sent along.

    Who is not known yet gets an account where the provider vouches for the address and registration is open.
    """
    arrival = arrival_of(request, data.browser_key)
    login = await openid.log_in(context, provider, data.state, Answered(data.code, data.iss), arrival)
    return login_answer(context, login, arrival, cookies=data.cookies)


@get("/me/identities", permission=SIGNED_IN)
async def list_identities(context: ReadContext) -> list[Identity]:
    """List the logins at OpenID providers that open one's own account."""
    return await openid.list_identities(context)


@post(
    "/me/identities/{provider:str}",
    permission=SIGNED_IN,
    status=ACCEPTED,
    idempotent=False,
    problems=[*ASKING, StepUpNeeded, NotForVisitors, AlreadyLinked],
    limits=[PROVIDER],
)
async def start_link(
    context: Context, request: Request[Any, Any, Any], provider: ProviderName, data: NewProviderLogin
) -> Answer[ProviderRequest]:
    """Begin to link one's own account with an OpenID provider: the answer says where to send the person.

    It goes on as `POST /sessions/oidc/{provider}` does, and ends in the same session of the same browser. With a
    `browser_key`, the page sends on what it is given to `POST /me/identities/{provider}/proof`.
    """
    page, arrival = openid.page_of(context, data.return_to), arrival_of(request, data.browser_key, new=True)
    begun = await openid.start_link(
        context, provider, _callback(context, provider), page, arrival, handed_over=data.browser_key is not None
    )
    return Answer(begun, browser_cookie(context, arrival))


@post(
    "/me/identities/{provider:str}/proof",
    permission=SIGNED_IN,
    idempotent=False,
    problems=[*PROVING, IdentityTaken, AlreadyLinked],
    limits=[PROVIDER],
)
async def link_identity(
    context: Context, request: Request[Any, Any, Any], provider: ProviderName, data: IdentityProof
) -> Identity:
    """Link one's own account with who has logged in at an OpenID provider."""
    context.account_id  # noqa: B018 - refuses who is not signed in
    arrival = arrival_of(request, data.browser_key)
    answered = Answered(data.code, data.iss)
    return await openid.link(context, provider, data.state, answered, arrival, context.session_id)


@delete("/me/identities/{provider:str}", permission=SIGNED_IN, problems=[StepUpNeeded, LastWayIn])
async def unlink_identity(context: Context, provider: ProviderName) -> None:
    """Take the login at an OpenID provider away from one's own account."""
    await openid.unlink(context, provider)


def _callback(context: ReadContext, provider: str) -> str:
    """Return the address that the provider sends people back to."""
    return f"{context.runtime.settings.public_url}{API}/sessions/oidc/{provider}/callback"


ROUTES = (
    list_login_providers,
    start_provider_login,
    go_to_login_provider,
    come_back_from_login_provider,
    log_in_by_provider,
    list_identities,
    start_link,
    link_identity,
    unlink_identity,
)
