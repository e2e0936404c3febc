"""HTTP: registering, and oneself."""

from courtyard.kernel.accounts import queries
from courtyard.kernel.accounts.errors import (
    InvalidChallenge,
    NotForPersons,
    NotForVisitors,
    RegistrationClosed,
    StepUpNeeded,
    WeakPassword,
    WrongCredentials,
)
from courtyard.kernel.accounts.limits import ASK, MAIL_BY_EMAIL, PROVE, PROVE_AGAIN, REGISTER
from courtyard.kernel.accounts.routes.arrivals import session_cookies
from courtyard.kernel.accounts.schemas import (
    Account,
    AccountPatch,
    NewAccount,
    NewEmail,
    NewPassword,
    NewPasswordReset,
    PasswordReset,
    Proof,
    Started,
)
from courtyard.kernel.accounts.service import accounts, email, passwords, registration
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.errors import LastOwner
from courtyard.kernel.http import PUBLIC, SIGNED_IN, Answer, delete, get, patch, post

ACCEPTED = 202
NOTHING = 204


@post(
    "/accounts",
    permission=PUBLIC,
    status=ACCEPTED,
    idempotent=False,
    problems=[RegistrationClosed, WeakPassword],
    limits=[REGISTER, MAIL_BY_EMAIL],
)
async def register(context: Context, data: NewAccount) -> Started:
    """Register as a person.

    A mail goes to the address with a link and a code; the account is made when one of them comes back. The answer is
    the same whether or not there is an account with this address.
    """
    return await registration.start_registration(context, data)


@post("/accounts/confirm", permission=PUBLIC, idempotent=False, problems=[InvalidChallenge], limits=[PROVE])
async def confirm_registration(context: Context, data: Proof) -> Account:
    """Make the account, with the link or the code of the mail."""
    return await registration.confirm_registration(context, data)


@post(
    "/me/registration",
    permission=SIGNED_IN,
    status=ACCEPTED,
    idempotent=False,
    problems=[RegistrationClosed, WeakPassword, NotForPersons],
    limits=[REGISTER, MAIL_BY_EMAIL],
)
async def register_visitor(context: Context, data: NewAccount) -> Started:
    """Register as the anonymous visitor that one is, and keep everything.

    Goes on as `POST /accounts` does.
    """
    return await registration.start_conversion(context, data)


@get("/me", permission=SIGNED_IN, while_restricted=True)
async def get_me(context: ReadContext) -> Account:
    """See one's own account."""
    return await queries.get_me(context)


@patch("/me", permission=SIGNED_IN)
async def change_me(context: Context, data: AccountPatch, version: int | None) -> Account:
    """Change one's own account."""
    return await accounts.change_me(context, data, version)


@post(
    "/me/password",
    permission=SIGNED_IN,
    status=NOTHING,
    idempotent=False,
    while_restricted=True,
    problems=[WrongCredentials, WeakPassword, NotForVisitors, StepUpNeeded],
    limits=[PROVE_AGAIN],
)
async def change_password(context: Context, data: NewPassword) -> None:
    """Change one's own password. All other sessions end."""
    await passwords.change_password(context, data)


@post(
    "/me/email",
    permission=SIGNED_IN,
    status=ACCEPTED,
    idempotent=False,
    problems=[NotForVisitors, StepUpNeeded],
    limits=[ASK, MAIL_BY_EMAIL],
)
async def start_email_change(context: Context, data: NewEmail) -> Started:
    """Have a link and a code mailed to another address that is to be one's own."""
    return await email.start_change(context, data)


@post("/me/email/confirm", permission=PUBLIC, status=200, idempotent=False, problems=[InvalidChallenge], limits=[PROVE])
async def confirm_email_change(context: Context, data: Proof) -> Account:
    """Move the account to the new address, with the link or the code of the mail. The old address is told."""
    return await email.confirm_change(context, data)


@post("/me/deactivate", permission=SIGNED_IN, status=NOTHING, idempotent=False, problems=[StepUpNeeded])
async def deactivate_me(context: Context) -> Answer[None]:
    """Close one's own account, until one comes back by a link in a mail. Every session ends."""
    await accounts.deactivate_me(context)
    return Answer(None, session_cookies(context, "", "", ""))


@delete("/me", permission=SIGNED_IN, problems=[StepUpNeeded, LastOwner])
async def delete_me(context: Context) -> Answer[None]:
    """Delete one's own account for good. What was written stays, without a name."""
    await accounts.delete_me(context)
    return Answer(None, session_cookies(context, "", "", ""))


@post("/password-resets", permission=PUBLIC, status=ACCEPTED, idempotent=False, limits=[ASK, MAIL_BY_EMAIL])
async def start_password_reset(context: Context, data: NewPasswordReset) -> Started:
    """Have a link mailed that sets a new password.

    The answer is the same whether or not there is an account with this address.
    """
    return await passwords.start_reset(context, data)


@post(
    "/password-resets/complete",
    permission=PUBLIC,
    status=NOTHING,
    idempotent=False,
    problems=[InvalidChallenge, WeakPassword],
    limits=[PROVE],
)
async def reset_password(context: Context, data: PasswordReset) -> None:
    """Set a new password with the link of the mail. Every session ends."""
    await passwords.reset_password(context, data)


ROUTES = (
    register,
    confirm_registration,
    register_visitor,
    get_me,
    change_me,
    change_password,
    start_email_change,
    confirm_email_change,
    deactivate_me,
    delete_me,
    start_password_reset,
    reset_password,
)
