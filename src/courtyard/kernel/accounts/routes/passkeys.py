"""HTTP: passkeys."""

from typing import Any
from uuid import UUID

from litestar import Request

from courtyard.kernel.accounts.errors import (
    InvalidChallenge,
    NotForVisitors,
    PasskeyRefused,
    StepUpNeeded,
    TooManyCredentials,
    WrongCredentials,
)
from courtyard.kernel.accounts.limits import LOGIN_BY_ADDRESS, PROVE
from courtyard.kernel.accounts.queries import passkeys as queries
from courtyard.kernel.accounts.routes.arrivals import arrival_of, browser_cookie, login_answer
from courtyard.kernel.accounts.schemas import Login
from courtyard.kernel.accounts.schemas.passkeys import (
    NewPasskey,
    NewPasskeyLogin,
    Passkey,
    PasskeyLogin,
    PasskeyPatch,
    PasskeyQuestion,
)
from courtyard.kernel.accounts.service import passkeys
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.http import PUBLIC, SIGNED_IN, Answer, delete, get, patch, post


@post(
    "/me/passkeys/options",
    permission=SIGNED_IN,
    idempotent=False,
    problems=[NotForVisitors, StepUpNeeded, TooManyCredentials],
)
async def start_passkey(context: Context) -> PasskeyQuestion:
    """Ask what an authenticator has to be told to make a passkey."""
    return await passkeys.start_creation(context)


@post(
    "/me/passkeys",
    permission=SIGNED_IN,
    idempotent=False,
    problems=[InvalidChallenge, PasskeyRefused, StepUpNeeded, TooManyCredentials],
)
async def create_passkey(context: Context, data: NewPasskey) -> Passkey:
    """Keep a passkey that an authenticator has made. An account can have several."""
    return await passkeys.create(context, data)


@get("/me/passkeys", permission=SIGNED_IN)
async def list_passkeys(context: ReadContext) -> list[Passkey]:
    """List one's own passkeys, the newest first."""
    return await queries.list_passkeys(context)


@patch("/me/passkeys/{passkey_id:uuid}", permission=SIGNED_IN)
async def rename_passkey(context: Context, passkey_id: UUID, data: PasskeyPatch, version: int | None) -> Passkey:
    """Rename one of one's own passkeys."""
    return await passkeys.rename(context, passkey_id, data, version)


@delete("/me/passkeys/{passkey_id:uuid}", permission=SIGNED_IN, problems=[StepUpNeeded])
async def remove_passkey(context: Context, passkey_id: UUID) -> None:
    """Remove one of one's own passkeys."""
    await passkeys.remove(context, passkey_id)


@post("/sessions/passkey/options", permission=PUBLIC, idempotent=False, limits=[LOGIN_BY_ADDRESS])
async def start_passkey_login(
    context: Context, request: Request[Any, Any, Any], data: NewPasskeyLogin
) -> Answer[PasskeyQuestion]:
    """Ask what an authenticator has to be asked by somebody who wants to log in.

    Nobody says who they are: the authenticator knows. The answer counts from this browser and from no other.
    """
    arrival = arrival_of(request, data.browser_key, new=True)
    return Answer(await passkeys.start_login(context, arrival), browser_cookie(context, arrival))


@post(
    "/sessions/passkey",
    permission=PUBLIC,
    idempotent=False,
    problems=[InvalidChallenge, PasskeyRefused, WrongCredentials],
    limits=[PROVE],
)
async def log_in_by_passkey(context: Context, request: Request[Any, Any, Any], data: PasskeyLogin) -> Answer[Login]:
    """Log in with a passkey. No other factor is asked for: a passkey is two in one."""
    arrival = arrival_of(request, data.browser_key)
    login = await passkeys.log_in(context, data.challenge, data.credential, arrival)
    return login_answer(context, login, arrival, cookies=data.cookies)


@post("/sessions/current/proof/options", permission=SIGNED_IN, idempotent=False)
async def start_passkey_proof(context: Context) -> PasskeyQuestion:
    """Ask what one's authenticator has to be asked, to prove once more who one is."""
    return await passkeys.start_proof(context)


ROUTES = (
    start_passkey,
    create_passkey,
    list_passkeys,
    rename_passkey,
    remove_passkey,
    start_passkey_login,
    log_in_by_passkey,
    start_passkey_proof,
)
