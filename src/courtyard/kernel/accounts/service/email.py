"""E-mail addresses: logging in by a mail, and moving to another address."""

from sqlalchemy import String, Uuid, bindparam, exists, select, update

from courtyard.kernel.accounts import events, queries
from courtyard.kernel.accounts.errors import InvalidChallenge, NotForVisitors
from courtyard.kernel.accounts.mails import ALREADY_REGISTERED, CONFIRM_EMAIL, EMAIL_CHANGED, LOGIN, LOGIN_UNKNOWN
from courtyard.kernel.accounts.models import AccountRow
from courtyard.kernel.accounts.rules import Arrival, shorten_email
from courtyard.kernel.accounts.schemas import Account, Login, NewEmail, NewEmailLogin, Proof, Started
from courtyard.kernel.accounts.service import challenges
from courtyard.kernel.accounts.service.mailing import link, mail, write
from courtyard.kernel.accounts.service.sessions import require_recent_proof, sign_in
from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared, UniqueViolation
from courtyard.kernel.schema import normalise_email

_EMAIL = bindparam("email", type_=String(), required=True)
_OTHER = select(AccountRow.id).where(AccountRow.email == _EMAIL).correlate(None)
_MOVE = Prepared(
    update(AccountRow)
    .where(AccountRow.id == bindparam("id", type_=Uuid(), required=True), ~exists(_OTHER))
    .values(email=_EMAIL, version=AccountRow.version + 1)
)
_COME_BACK = Prepared(
    update(AccountRow)
    .where(AccountRow.id == bindparam("id", type_=Uuid(), required=True), AccountRow.disabled_by == "self")
    .values(disabled_at=None, disabled_by=None, version=AccountRow.version + 1)
)


async def start_login(context: Context, new: NewEmailLogin, arrival: Arrival) -> Started:
    """Mail a link and a code that open a session in the browser that asks, and in no other."""
    email = normalise_email(new.email)
    account = await queries.find_account_by_email(context.outside(), email)
    seconds = context.runtime.settings.accounts.proof_seconds
    issued = await challenges.issue(
        context, "login", seconds=seconds, account_id=None if account is None else account.id, browser=arrival.browser
    )
    if account is None:
        await write(context, LOGIN_UNKNOWN, email, "", None, link=link(context, "registration"))
    else:
        address = link(context, "login", issued.token)
        await mail(context, LOGIN, account, link=address, code=issued.code, minutes=seconds // 60)
    return Started(issued.id, seconds)


async def log_in(context: Context, proof: Proof, arrival: Arrival) -> Login:
    """Open a session with the link or the code of a mail. Who has deactivated their account comes back so.

    Raises:
        InvalidChallenge: it is not good (any more), or was asked for by another browser.
        SecondFactorNeeded: the account asks for more.
    """
    challenge = await challenges.redeem(context, "login", proof, arrival.browser)
    account = await queries.load_account(context, challenge.account_id)
    context.name_changes(events.REACTIVATED)
    await context.db.execute(_COME_BACK, id=account.id)
    context.name_changes(None)
    return await sign_in(context, account.id, arrival, "email")


async def start_change(context: Context, new: NewEmail) -> Started:
    """Mail a link and a code to an address that is to be that of the account.

    Raises:
        StepUpNeeded: the last proof is too old.
        NotForVisitors: the caller has not registered.
    """
    require_recent_proof(context)
    account = await queries.get_me(context)
    if account.email is None:
        raise NotForVisitors
    email, seconds = normalise_email(new.email), context.runtime.settings.accounts.proof_seconds
    known = await queries.find_account_by_email(context.outside(), email)
    issued = await challenges.issue(
        context, "email_change", seconds=seconds, account_id=account.id, data={"email": email}
    )
    if known is not None:
        await mail(context, ALREADY_REGISTERED, known, link=link(context, "login"))
    else:
        await write(
            context,
            CONFIRM_EMAIL,
            email,
            account.name,
            account.language,
            link=link(context, "email", issued.token),
            code=issued.code,
            minutes=seconds // 60,
        )
    return Started(issued.id, seconds)


async def confirm_change(context: Context, proof: Proof) -> Account:
    """Move an account to the address that has been proven, and tell the old one.

    Raises:
        InvalidChallenge: the link or code is not good (any more), or the address has found another owner.
    """
    challenge = await challenges.redeem(context, "email_change", proof)
    account = await queries.load_account(context, challenge.account_id)
    email: str = challenge.data["email"]
    context.name_changes(events.EMAIL_CHANGED)
    try:
        moved = await context.db.execute(_MOVE, id=account.id, email=email)
    except UniqueViolation as error:
        # Somebody else has it since a moment ago.
        raise InvalidChallenge from error
    if not moved:
        raise InvalidChallenge
    await mail(context, EMAIL_CHANGED, account, new_address=shorten_email(email), link=None)
    # Links that went to the old address open nothing any more.
    await challenges.void(context, account.id)
    return await queries.get_account(context, account.id)
