"""Reads of second factors."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import Uuid, bindparam, func, select

from courtyard.kernel.accounts import queries, rules
from courtyard.kernel.accounts.models import ExternalIdentityRow, RecoveryCodeRow, TotpRow
from courtyard.kernel.accounts.queries.passkeys import list_passkeys
from courtyard.kernel.accounts.schemas.second_factors import ExternalIdentity, Security
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import Prepared

_ID = bindparam("id", type_=Uuid(), required=True)
_UNUSED = (RecoveryCodeRow.account_id == _ID, RecoveryCodeRow.used_at.is_(None))


class Totp(msgspec.Struct, frozen=True):
    """What is known of an authenticator app. See `models.TotpRow` for what the parts mean."""

    secret: bytes
    last_step: int
    created_at: datetime
    confirmed_at: datetime | None
    failures: int
    blocked_until: datetime | None


_TOTP = select(*(getattr(TotpRow, name) for name in Totp.__struct_fields__)).where(TotpRow.account_id == _ID)
_FIND_TOTP = Prepared(_TOTP, Totp)
_LOCK_TOTP = Prepared(_TOTP.with_for_update(), Totp)
_CODES = Prepared(select(RecoveryCodeRow.digest).where(*_UNUSED), bytes)
_CODES_LEFT = Prepared(select(func.count()).select_from(RecoveryCodeRow).where(*_UNUSED), int)
_EXTERNAL = Prepared(
    select(*(getattr(ExternalIdentityRow, name) for name in ExternalIdentity.__struct_fields__))
    .where(ExternalIdentityRow.account_id == _ID)
    .order_by(ExternalIdentityRow.id.desc()),
    ExternalIdentity,
)


async def find_totp(context: ReadContext, account_id: UUID) -> Totp | None:
    """Return the authenticator app of an account, confirmed or not."""
    return await context.db.first(_FIND_TOTP, id=account_id)


async def lock_totp(context: ReadContext, account_id: UUID) -> Totp | None:
    """Return the authenticator app of an account, locked until the commit."""
    return await context.db.first(_LOCK_TOTP, id=account_id)


async def list_recovery_codes(context: ReadContext, account_id: UUID) -> list[bytes]:
    """Return the digests of the unused recovery codes of an account."""
    return await context.db.all(_CODES, id=account_id)


async def count_recovery_codes(context: ReadContext, account_id: UUID) -> int:
    """Return how many recovery codes of an account are unused."""
    return await context.db.one(_CODES_LEFT, id=account_id)


async def get_security(context: ReadContext) -> Security:
    """Return how the account of the caller can be got into."""
    account_id = context.account_id
    totp = await find_totp(context, account_id)
    return Security(
        has_password=await queries.find_password_hash(context, account_id) is not None,
        totp_since=None if totp is None else totp.confirmed_at,
        recovery_codes_left=await count_recovery_codes(context, account_id),
        passkeys=await list_passkeys(context),
        external_identities=await context.db.all(_EXTERNAL, id=account_id),
        has_second_factor=context.principal is not None and rules.has_second_factor(context.principal.methods),
    )
