"""HTTP: the authenticator app, recovery codes, and proving once more who one is."""

from typing import Any

from litestar import Request

from courtyard.kernel.accounts.errors import (
    InvalidChallenge,
    NotForVisitors,
    NoTotp,
    PasskeyRefused,
    SecondFactorSlowed,
    StepUpNeeded,
    TotpSetUp,
    WrongCode,
    WrongCredentials,
)
from courtyard.kernel.accounts.limits import PROVE, PROVE_AGAIN
from courtyard.kernel.accounts.queries import second_factors as queries
from courtyard.kernel.accounts.routes.arrivals import arrival_of, login_answer
from courtyard.kernel.accounts.schemas import Login
from courtyard.kernel.accounts.schemas.second_factors import (
    RecentProof,
    RecoveryCodes,
    SecondFactor,
    Security,
    TotpCode,
    TotpSecret,
)
from courtyard.kernel.accounts.service import recovery_codes, second_factor, totp
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.http import PUBLIC, SIGNED_IN, Answer, delete, get, post

NOTHING = 204


@get("/me/security", permission=SIGNED_IN)
async def get_security(context: ReadContext) -> Security:
    """See how one's own account can be got into."""
    return await queries.get_security(context)


# The answers of these hold secrets, which are kept under no idempotency key.
@post("/me/totp", permission=SIGNED_IN, idempotent=False, problems=[NotForVisitors, StepUpNeeded, TotpSetUp])
async def begin_totp(context: Context) -> TotpSecret:
    """Begin to set up an authenticator app. It counts once a first code of it has come back."""
    return await totp.begin(context)


@post(
    "/me/totp/confirm",
    permission=SIGNED_IN,
    idempotent=False,
    problems=[StepUpNeeded, NoTotp, TotpSetUp, WrongCode, SecondFactorSlowed],
    limits=[PROVE_AGAIN],
)
async def confirm_totp(context: Context, data: TotpCode) -> RecoveryCodes:
    """Confirm the authenticator app with a first code. From now on logins ask for one.

    Answers with ten recovery codes, which are shown this once.
    """
    return await totp.confirm(context, data.code)


@delete("/me/totp", permission=SIGNED_IN, problems=[StepUpNeeded, NoTotp])
async def remove_totp(context: Context) -> None:
    """Remove the authenticator app and the recovery codes."""
    await totp.remove(context)


@post("/me/recovery-codes", permission=SIGNED_IN, idempotent=False, problems=[StepUpNeeded, NoTotp])
async def renew_recovery_codes(context: Context) -> RecoveryCodes:
    """Make ten new recovery codes, which are shown this once. The old ones are void."""
    return await recovery_codes.renew(context)


@post(
    "/sessions/second-factor",
    permission=PUBLIC,
    idempotent=False,
    problems=[InvalidChallenge, WrongCode, SecondFactorSlowed, WrongCredentials],
    limits=[PROVE],
)
async def log_in_by_second_factor(
    context: Context, request: Request[Any, Any, Any], data: SecondFactor
) -> Answer[Login]:
    """Go on with a login that was answered `second_factor_needed`.

    Each challenge is good for five tries. Wrong codes are counted for the account too, so that beginning the login
    anew gives no more of them.
    """
    arrival = arrival_of(request, data.browser_key, new=data.cookies)
    login = await second_factor.log_in(context, data, arrival)
    return login_answer(context, login, arrival, cookies=data.cookies)


@post(
    "/sessions/current/proof",
    permission=SIGNED_IN,
    status=NOTHING,
    idempotent=False,
    problems=[WrongCredentials, WrongCode, SecondFactorSlowed, InvalidChallenge, PasskeyRefused],
    limits=[PROVE_AGAIN],
)
async def prove(context: Context, data: RecentProof) -> None:
    """Prove once more who one is, by password, code or passkey.

    What is dangerous wants a proof from the last minutes.
    """
    await second_factor.prove(context, data)


ROUTES = (
    get_security,
    begin_totp,
    confirm_totp,
    remove_totp,
    renew_recovery_codes,
    log_in_by_second_factor,
    prove,
)
