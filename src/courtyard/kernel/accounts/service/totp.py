"""The authenticator app (RFC 6238): setting it up, taking its codes, removing it."""

from datetime import timedelta
from typing import NoReturn
from uuid import UUID

import pyotp
from sqlalchemy import BigInteger, LargeBinary, Uuid, bindparam, case, or_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from courtyard.kernel.accounts import queries, rules
from courtyard.kernel.accounts.errors import NotForVisitors, NoTotp, SecondFactorSlowed, TotpSetUp, WrongCode
from courtyard.kernel.accounts.events import CODE_REFUSED, TOTP_ADDED, TOTP_REMOVED
from courtyard.kernel.accounts.mails import SECOND_FACTOR_CHANGED, SECURITY_NOTICE
from courtyard.kernel.accounts.models import TotpRow
from courtyard.kernel.accounts.queries import second_factors
from courtyard.kernel.accounts.queries.second_factors import Totp
from courtyard.kernel.accounts.schemas import Account
from courtyard.kernel.accounts.schemas.second_factors import RecoveryCodes, TotpSecret
from courtyard.kernel.accounts.service import recovery_codes
from courtyard.kernel.accounts.service.mailing import mail
from courtyard.kernel.accounts.service.sessions import require_recent_proof, take_proof
from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared, UtcDateTime

COLUMN = "totp.secret"
PENDING_SECONDS = 900
# After so long without a wrong code the counting starts anew.
FORGIVEN_AFTER = timedelta(hours=1)
# So many wrong codes in a row are told to the owner: whoever tries them has the first factor already.
TOLD_AFTER = 10

_ID = bindparam("account_id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_SECRET = bindparam("secret", type_=LargeBinary(), required=True)
_STEP = bindparam("step", type_=BigInteger(), required=True)

# The count of failures stays: otherwise beginning anew would be a way around the wait.
_BEGIN = Prepared(
    upsert(TotpRow)
    .values(account_id=_ID, secret=_SECRET, last_step=0, created_at=_NOW, failures=0)
    .on_conflict_do_update(
        index_elements=[TotpRow.account_id],
        set_={"secret": _SECRET, "last_step": 0, "created_at": _NOW},
        where=TotpRow.confirmed_at.is_(None),
    )
)
# The try is counted before the code is looked at, and the row is locked until it has been: of many at once, one is
# looked at after the other, and no more than there are left.
_TRY = Prepared(
    update(TotpRow)
    .where(TotpRow.account_id == _ID, or_(TotpRow.blocked_until.is_(None), TotpRow.blocked_until <= _NOW))
    .values(
        failures=case(
            (TotpRow.failed_at < bindparam("forgiven", type_=UtcDateTime(), required=True), 1),
            else_=TotpRow.failures + 1,
        ),
        failed_at=_NOW,
    )
    .returning(*(getattr(TotpRow, name) for name in Totp.__struct_fields__)),
    Totp,
)
_TAKE = Prepared(
    update(TotpRow)
    .where(TotpRow.account_id == _ID, TotpRow.confirmed_at.is_not(None), TotpRow.last_step < _STEP)
    .values(last_step=_STEP, failures=0)
)
_CONFIRM = Prepared(
    update(TotpRow)
    .where(TotpRow.account_id == _ID, TotpRow.confirmed_at.is_(None), TotpRow.secret == _SECRET)
    .values(confirmed_at=_NOW, last_step=_STEP, failures=0)
)


async def begin(context: Context) -> TotpSecret:
    """Draw a secret for an app, which counts once a first code has shown that the app has it.

    Raises:
        NotForVisitors: the caller has no login that it could be the second factor of.
        StepUpNeeded: the last proof is too old.
        TotpSetUp: there is an app already.
    """
    require_recent_proof(context)
    account = await queries.get_me(context)
    if account.email is None:
        raise NotForVisitors
    secret = pyotp.random_base32()
    encrypted = context.runtime.keys.encrypt(secret.encode(), COLUMN, account.id)
    if not await context.db.execute(_BEGIN, account_id=account.id, secret=encrypted, now=context.now):
        raise TotpSetUp
    # A colon would end the name of the issuer.
    issuer = context.runtime.settings.service_name.replace(":", " ")
    uri = pyotp.TOTP(secret).provisioning_uri(name=account.email, issuer_name=issuer)
    return TotpSecret(secret, uri, PENDING_SECONDS)


async def confirm(context: Context, code: str) -> RecoveryCodes:
    """Let the app count from now on, and make the recovery codes that stand in for it.

    Raises:
        NoTotp: setting up has not begun, or too long ago.
        TotpSetUp: it was confirmed before.
        WrongCode: it is not a code of the new secret.
        SecondFactorSlowed: too many were wrong.
        StepUpNeeded: the last proof is too old.
    """
    require_recent_proof(context)
    account = await queries.get_me(context)
    totp = await _try(context, account.id)
    if totp is None or context.now - totp.created_at > timedelta(seconds=PENDING_SECONDS):
        raise NoTotp if totp is None or totp.confirmed_at is None else TotpSetUp
    if totp.confirmed_at is not None:
        raise TotpSetUp
    step = _step_of(context, account.id, totp, code)
    if step is None:
        await _refuse(context, account.id, totp)
    await context.db.execute(_CONFIRM, account_id=account.id, secret=totp.secret, step=step, now=context.now)
    context.note(TOTP_ADDED, object_type="account", object_id=str(account.id), keep_body=False)
    await take_proof(context, "totp")
    await mail(context, SECOND_FACTOR_CHANGED, account, what="totp_added")
    return await recovery_codes.make(context, account.id)


async def check(context: Context, account_id: UUID, code: str) -> None:
    """Take a code of the app of an account, which then has counted.

    Raises:
        WrongCode: it is not right, or was taken before, or there is no app.
        SecondFactorSlowed: too many were wrong, in whichever logins.
    """
    totp = await _try(context, account_id)
    if totp is None or totp.confirmed_at is None:
        raise WrongCode
    step = _step_of(context, account_id, totp, code)
    if step is None or not await context.db.execute(_TAKE, account_id=account_id, step=step):
        await _refuse(context, account_id, totp)


async def prove(context: Context, code: str) -> None:
    """Prove once more who one is.

    Raises:
        WrongCode: it is not a code of the app.
        SecondFactorSlowed: too many were wrong.
    """
    await check(context, context.account_id, code)
    await take_proof(context, "totp")


async def remove(context: Context) -> None:
    """Remove the app of the caller, and the recovery codes with it.

    Raises:
        NoTotp: there is none.
        StepUpNeeded: the last proof is too old.
    """
    require_recent_proof(context)
    await drop(context, await queries.get_me(context))


async def drop(context: Context, account: Account) -> None:
    """Remove the app of an account, and the recovery codes with it, and tell its owner. Asks for nothing.

    Raises:
        NoTotp: there is none.
    """
    totp = await second_factors.lock_totp(context, account.id)
    if totp is None:
        raise NoTotp
    await recovery_codes.drop(context, account.id)
    if totp.confirmed_at is not None:
        context.note(TOTP_REMOVED, object_type="account", object_id=str(account.id))
        await mail(context, SECOND_FACTOR_CHANGED, account, what="totp_removed")


async def _try(context: Context, account_id: UUID) -> Totp | None:
    totp = await context.db.first(_TRY, account_id=account_id, now=context.now, forgiven=context.now - FORGIVEN_AFTER)
    if totp is None:
        blocked = await second_factors.find_totp(context, account_id)
        if blocked is not None and blocked.blocked_until is not None:
            seconds = int((blocked.blocked_until - context.now).total_seconds()) + 1
            raise SecondFactorSlowed(headers={"Retry-After": str(max(1, seconds))})
    return totp


def _step_of(context: Context, account_id: UUID, totp: Totp, code: str) -> int | None:
    secret = context.runtime.keys.decrypt(totp.secret, COLUMN, account_id).decode()
    return rules.totp_step(secret, code, context.now, totp.last_step)


async def _refuse(context: Context, account_id: UUID, totp: Totp) -> NoReturn:
    if wait := rules.wait_after(totp.failures):
        await context.db.update(TotpRow, {"account_id": account_id}, blocked_until=context.now + wait)
    if totp.failures == TOLD_AFTER:
        account = await queries.get_account(context, account_id)
        await mail(context, SECURITY_NOTICE, account, what="codes_guessed", thing=None)
    context.note_refusal(CODE_REFUSED, object_type="account", object_id=str(account_id), keep_body=False, method="totp")
    raise WrongCode
