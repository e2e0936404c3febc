"""Recovery codes: ten on paper, each of which stands in for the authenticator app once."""

import secrets
from uuid import UUID

from sqlalchemy import LargeBinary, Uuid, bindparam, delete, update

from courtyard.kernel.accounts import queries, rules
from courtyard.kernel.accounts.errors import NoTotp, WrongCode
from courtyard.kernel.accounts.events import CODE_REFUSED, CODE_USED, CODES_RENEWED
from courtyard.kernel.accounts.mails import RECOVERY_CODE_USED, SECOND_FACTOR_CHANGED
from courtyard.kernel.accounts.models import RecoveryCodeRow, TotpRow
from courtyard.kernel.accounts.queries import second_factors
from courtyard.kernel.accounts.schemas.second_factors import RecoveryCodes
from courtyard.kernel.accounts.service.mailing import mail
from courtyard.kernel.accounts.service.sessions import require_recent_proof
from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared, UtcDateTime

COUNT = 10
PURPOSE = "recovery code"

_ID = bindparam("account_id", type_=Uuid(), required=True)
_CLEAR = Prepared(delete(RecoveryCodeRow).where(RecoveryCodeRow.account_id == _ID))
_CLEAR_TOTP = Prepared(delete(TotpRow).where(TotpRow.account_id == _ID))
_USE = Prepared(
    update(RecoveryCodeRow)
    .where(
        RecoveryCodeRow.account_id == _ID,
        RecoveryCodeRow.digest == bindparam("digest", type_=LargeBinary(), required=True),
        RecoveryCodeRow.used_at.is_(None),
    )
    .values(used_at=bindparam("now", type_=UtcDateTime(), required=True))
)


async def renew(context: Context) -> RecoveryCodes:
    """Make ten new codes for the caller; the old ones are void.

    Raises:
        NoTotp: there is no authenticator app that they could stand in for.
        StepUpNeeded: the last proof is too old.
    """
    require_recent_proof(context)
    account = await queries.get_me(context)
    # Locked, so that of two at once the codes of one alone are good.
    totp = await second_factors.lock_totp(context, account.id)
    if totp is None or totp.confirmed_at is None:
        raise NoTotp
    codes = await make(context, account.id)
    context.note(CODES_RENEWED, object_type="account", object_id=str(account.id))
    await mail(context, SECOND_FACTOR_CHANGED, account, what="recovery_codes_renewed")
    return codes


async def make(context: Context, account_id: UUID) -> RecoveryCodes:
    """Put ten new codes in the place of what there is. The caller has locked the authenticator app."""
    codes = [rules.write_recovery_code(secrets.randbits(rules.RECOVERY_CODE_BITS)) for _ in range(COUNT)]
    await context.db.execute(_CLEAR, account_id=account_id)
    for code in codes:
        digest = context.runtime.digests.digest(PURPOSE, _bound(account_id, code))
        await context.db.insert(RecoveryCodeRow, account_id=account_id, digest=digest, created_at=context.now)
    return RecoveryCodes(codes)


async def use(context: Context, account_id: UUID, typed: str) -> None:
    """Take a code, once, and tell its owner.

    Sixty random bits need no count of failures over logins, and without one nobody can keep the owner out.

    Raises:
        WrongCode: it is none of the account, or was used.
    """
    unused = await second_factors.list_recovery_codes(context, account_id)
    shown = _bound(account_id, typed)
    found = [digest for digest in unused if context.runtime.digests.matches(PURPOSE, shown, digest)]
    about = {"object_type": "account", "object_id": str(account_id)}
    if not found or not await context.db.execute(_USE, account_id=account_id, digest=found[0], now=context.now):
        context.note_refusal(CODE_REFUSED, **about, keep_body=False, method="recovery_code")
        raise WrongCode
    account = await queries.get_account(context, account_id)
    context.note(CODE_USED, **about, actor=(account.kind, account.id), keep_body=False)
    left = await second_factors.count_recovery_codes(context, account_id)
    await mail(context, RECOVERY_CODE_USED, account, left=left)


async def drop(context: Context, account_id: UUID) -> None:
    """Remove the authenticator app of an account and its recovery codes."""
    await context.db.execute(_CLEAR, account_id=account_id)
    await context.db.execute(_CLEAR_TOTP, account_id=account_id)


def _bound(account_id: UUID, typed: str) -> bytes:
    return account_id.bytes + (rules.read_recovery_code(typed) or "").encode()
