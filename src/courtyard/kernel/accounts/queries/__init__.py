"""Every read of accounts and credentials. Sessions are read in `store`."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import LargeBinary, String, Uuid, bindparam, literal, select

from courtyard.kernel.accounts.models import AccountRow, DeviceRow, LoginThrottleRow, TotpRow
from courtyard.kernel.accounts.schemas import Account
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import AnyOf, Prepared
from courtyard.kernel.errors import NotFound, Unauthenticated

_ID = bindparam("id", type_=Uuid(), required=True)
_EMAIL = bindparam("email", type_=String(), required=True)
_ACCOUNT = select(*(getattr(AccountRow, name) for name in Account.__struct_fields__))
_ALIVE = AccountRow.disabled_at.is_(None)


class _Named(msgspec.Struct, frozen=True):
    id: UUID
    name: str


_BY_ID = Prepared(_ACCOUNT.where(AccountRow.id == _ID), Account)
_LIVING = Prepared(_ACCOUNT.where(AccountRow.id == _ID, _ALIVE), Account)
_LOCK = Prepared(_ACCOUNT.where(AccountRow.id == _ID, _ALIVE).with_for_update(), Account)
# Also those that their owners have deactivated, who come back by a mail; not those that an operator has.
_BY_EMAIL = Prepared(
    _ACCOUNT.where(AccountRow.email == _EMAIL, AccountRow.disabled_by.is_distinct_from("operator")), Account
)
_ID_BY_EMAIL = Prepared(select(AccountRow.id).where(AccountRow.email == _EMAIL, _ALIVE), UUID)
_NAMES = Prepared(select(AccountRow.id, AccountRow.name).where(AnyOf(AccountRow.id.expression, "account_ids")), _Named)
_HASH = Prepared(select(AccountRow.password_hash).where(AccountRow.id == _ID, _ALIVE), str)
_LOCK_HASH = Prepared(select(AccountRow.password_hash).where(AccountRow.id == _ID, _ALIVE).with_for_update(), str)
_HAS_TOTP = Prepared(
    select(TotpRow.account_id).where(TotpRow.account_id == _ID, TotpRow.confirmed_at.is_not(None)), UUID
)
_DEVICES = Prepared(
    select(DeviceRow.browser_digest).where(DeviceRow.account_id == _ID).order_by(DeviceRow.seen_at.desc()).limit(1_000),
    bytes,
)


class Credentials(msgspec.Struct, frozen=True):
    """What a login is checked against: one query, whether or not somebody has the address.

    Attributes:
        account_id: whose address it is, None for nobody's.
        password_hash: None where there is no password.
        browser_digest: None where the account has not been used from the browser.
        blocked_until: None where no wrong password was tried.
    """

    account_id: UUID | None
    password_hash: str | None
    browser_digest: bytes | None
    blocked_until: datetime | None

    @property
    def knows_browser(self) -> bool:
        """Whether the account has been used from this browser before."""
        return self.browser_digest is not None


# A row of constants, to which what there is is joined: there is always one row.
_ASKED = select(literal(1).label("one")).subquery("asked")
_CREDENTIALS = Prepared(
    select(
        AccountRow.id.label("account_id"),
        AccountRow.password_hash,
        DeviceRow.browser_digest,
        LoginThrottleRow.blocked_until,
    )
    .select_from(_ASKED)
    .outerjoin(AccountRow, (AccountRow.email == _EMAIL) & _ALIVE)
    .outerjoin(
        DeviceRow,
        (DeviceRow.account_id == AccountRow.id)
        & (DeviceRow.browser_digest == bindparam("browser_digest", type_=LargeBinary(), required=True)),
    )
    .outerjoin(
        LoginThrottleRow,
        LoginThrottleRow.email_digest == bindparam("email_digest", type_=LargeBinary(), required=True),
    ),
    Credentials,
)


async def get_account(context: ReadContext, account_id: UUID) -> Account:
    """Return an account that is known to exist."""
    return await context.db.one(_BY_ID, id=account_id)


async def load_account(context: ReadContext, account_id: UUID | None) -> Account:
    """Return an account, whether or not it is active.

    Raises:
        NotFound: there is none of this id.
    """
    account = await context.db.first(_BY_ID, id=account_id)
    if account is None:
        raise NotFound
    return account


async def find_living_account(context: ReadContext, account_id: UUID) -> Account | None:
    """Return an account that is active."""
    return await context.db.first(_LIVING, id=account_id)


async def lock_account(context: ReadContext, account_id: UUID) -> Account | None:
    """Return an account that is active, locked until the commit."""
    return await context.db.first(_LOCK, id=account_id)


async def load_names(context: ReadContext, account_ids: Iterable[UUID]) -> dict[UUID, str]:
    """Return what accounts are called, as far as they are there."""
    rows = await context.db.all(_NAMES, account_ids=list(account_ids))
    return {row.id: row.name for row in rows}


async def get_me(context: ReadContext) -> Account:
    """Return the account of the caller."""
    account = await context.db.first(_BY_ID, id=context.account_id)
    if account is None:
        raise Unauthenticated
    return account


async def find_account_id(context: ReadContext, email: str) -> UUID | None:
    """Return whose address this is. The address is in its normal form."""
    return await context.db.first(_ID_BY_EMAIL, email=email)


async def find_account_by_email(context: ReadContext, email: str) -> Account | None:
    """Return the account to which mails about logging in may be sent. The address is in its normal form."""
    return await context.db.first(_BY_EMAIL, email=email)


async def find_credentials(
    context: ReadContext, email: str, browser_digest: bytes | None, email_digest: bytes
) -> Credentials:
    """Return what a login with this address is checked against. The address is in its normal form."""
    return await context.db.one(_CREDENTIALS, email=email, browser_digest=browser_digest, email_digest=email_digest)


async def find_password_hash(context: ReadContext, account_id: UUID) -> str | None:
    """Return the hash of the password of an account, None where it has none."""
    return await context.db.first(_HASH, id=account_id)


async def lock_password_hash(context: ReadContext, account_id: UUID) -> str | None:
    """Return the hash of the password of an account that is active; the account is locked until the commit."""
    return await context.db.first(_LOCK_HASH, id=account_id)


async def has_totp(context: ReadContext, account_id: UUID) -> bool:
    """Return whether an account asks for a code of an authenticator app."""
    return await context.db.first(_HAS_TOTP, id=account_id) is not None


async def list_devices(context: ReadContext, account_id: UUID) -> set[bytes]:
    """Return the digests of the browsers that an account has been used from, the latest thousand."""
    return set(await context.db.all(_DEVICES, id=account_id))
