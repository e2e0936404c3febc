"""What the operator of an installation sees of accounts, in whatever state they are."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import Boolean, ColumnElement, Integer, ScalarSelect, String, Uuid, bindparam, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute

from courtyard.kernel.accounts.models import (
    AccountRow,
    ApiKeyRow,
    ExternalIdentityRow,
    PasskeyRow,
    TotpRow,
)
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import Prepared
from courtyard.kernel.errors import NotFound


class AccountState(msgspec.Struct, frozen=True):
    """An account as its operator sees it."""

    id: UUID
    kind: str
    email: str | None
    name: str
    must_change_password: bool
    created_at: datetime
    disabled_at: datetime | None
    deleted_at: datetime | None

    @property
    def state(self) -> str:
        """Whether it is active."""
        if self.deleted_at is not None:
            return "deleted"
        return "active" if self.disabled_at is None else "deactivated"

    @property
    def label(self) -> str:
        """What it is called towards the operator."""
        return self.email or f"{self.name} ({self.id})"


class Proofs(msgspec.Struct, frozen=True):
    """How an account can prove itself."""

    password: bool
    authenticator_apps: int
    passkeys: int
    identities: int
    api_keys: int


_ACCOUNT = select(*(getattr(AccountRow, name) for name in AccountState.__struct_fields__))
_ID = bindparam("id", type_=Uuid(), required=True)
_PATTERN = bindparam("pattern", type_=String(), required=True)
_BY_ID = Prepared(_ACCOUNT.where(AccountRow.id == _ID), AccountState)
_BY_EMAIL = Prepared(
    _ACCOUNT.where(AccountRow.email == bindparam("email", type_=String(), required=True)), AccountState
)
_LIST = Prepared(
    _ACCOUNT.where(
        or_(AccountRow.email.ilike(_PATTERN, escape="\\"), AccountRow.name.ilike(_PATTERN, escape="\\")),
        or_(AccountRow.kind != "visitor", bindparam("visitors", type_=Boolean(), required=True)),
    )
    .order_by(AccountRow.id.desc())
    .limit(bindparam("limit", type_=Integer(), required=True)),
    AccountState,
)


def _count(column: InstrumentedAttribute[UUID], *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.count()).where(column == AccountRow.id, *conditions).scalar_subquery()


_PROOFS = Prepared(
    select(
        AccountRow.password_hash.is_not(None).label("password"),
        _count(TotpRow.account_id, TotpRow.confirmed_at.is_not(None)).label("authenticator_apps"),
        _count(PasskeyRow.account_id).label("passkeys"),
        _count(ExternalIdentityRow.account_id).label("identities"),
        _count(ApiKeyRow.account_id, ApiKeyRow.revoked_at.is_(None)).label("api_keys"),
    ).where(AccountRow.id == _ID),
    Proofs,
)


async def get_account_state(context: ReadContext, who: UUID | str) -> AccountState:
    """Return an account by its id, or by its address in the normal form.

    Raises:
        NotFound: there is none.
    """
    if isinstance(who, UUID):
        account = await context.db.first(_BY_ID, id=who)
    else:
        account = await context.db.first(_BY_EMAIL, email=who)
    if account is None:
        raise NotFound(f"There is no account {who}.")
    return account


async def list_accounts(context: ReadContext, search: str, *, limit: int, visitors: bool) -> list[AccountState]:
    """Return accounts whose address or name has something in it, the newest first.

    Args:
        context: of the operator.
        search: what to look for; nothing finds all.
        limit: how many at most.
        visitors: whether anonymous visitors count.
    """
    escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return await context.db.all(_LIST, pattern=f"%{escaped}%", limit=limit, visitors=visitors)


async def get_proofs(context: ReadContext, account_id: UUID) -> Proofs:
    """Return how an account can prove itself."""
    return await context.db.one(_PROOFS, id=account_id)
