"""The second factor of a login, and proving once more who one is."""

from courtyard.kernel.accounts.errors import InvalidChallenge
from courtyard.kernel.accounts.rules import Arrival
from courtyard.kernel.accounts.schemas import Login
from courtyard.kernel.accounts.schemas.second_factors import (
    PasskeyProof,
    PasswordProof,
    RecentProof,
    SecondFactor,
    TotpFactor,
)
from courtyard.kernel.accounts.service import challenges, passkeys, passwords, recovery_codes, totp
from courtyard.kernel.accounts.service.sessions import open_session
from courtyard.kernel.context import Context


async def log_in(context: Context, factor: SecondFactor, arrival: Arrival) -> Login:
    """Open a session for somebody who has given the first factor, with the second one.

    Raises:
        InvalidChallenge: the login has to begin anew: out of time or tries, or in another browser.
        WrongCode: it is not right; the challenge has a try less.
        SecondFactorSlowed: too many wrong codes for the account, in whichever logins; costs no try.
        WrongCredentials: the account has been deactivated meanwhile.
    """
    challenge = await challenges.attempt(context, "second_factor", factor.challenge, arrival.browser)
    if challenge.account_id is None:
        raise InvalidChallenge
    if isinstance(factor, TotpFactor):
        method = "totp"
        await totp.check(context, challenge.account_id, factor.code)
    else:
        method = "recovery_code"
        await recovery_codes.use(context, challenge.account_id, factor.recovery_code)
    await challenges.use(context, challenge.id)
    return await open_session(context, challenge.account_id, arrival, [challenge.data["method"], method])


async def prove(context: Context, proof: RecentProof) -> None:
    """Prove once more who one is.

    Raises:
        WrongCredentials: it is not the password.
        WrongCode: it is not a code of the authenticator app.
        SecondFactorSlowed: too many were wrong.
        InvalidChallenge: the question to the authenticator is not open (any more).
        PasskeyRefused: its answer does not count.
    """
    if isinstance(proof, PasswordProof):
        await passwords.prove_by_password(context, proof.password)
    elif isinstance(proof, PasskeyProof):
        await passkeys.prove(context, proof.challenge, proof.credential)
    else:
        await totp.prove(context, proof.code)
