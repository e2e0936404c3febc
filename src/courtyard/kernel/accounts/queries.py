"""Every read of accounts and sessions."""

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from uuid import UUID

import msgspec
from sqlalchemy import String, Uuid, bindparam, or_, select
from sqlalchemy.types import LargeBinary

from courtyard.kernel.accounts.models import AccountRow, SessionRow
from courtyard.kernel.accounts.schemas import Account
from courtyard.kernel.context import Principal, ReadContext
from courtyard.kernel.database import AnyOf, Prepared, ReadUnit, UtcDateTime
from courtyard.kernel.errors import Unauthenticated
from courtyard.kernel.runtime import Runtime

_ACCOUNT = (
    AccountRow.id,
    AccountRow.kind,
    AccountRow.email,
    AccountRow.name,
    AccountRow.version,
    AccountRow.created_at,
)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_ID = bindparam("id", type_=Uuid(), required=True)
_ALIVE = (SessionRow.revoked_at.is_(None), SessionRow.expires_at > _NOW, AccountRow.disabled_at.is_(None))

_BY_ID = Prepared(select(*_ACCOUNT).where(AccountRow.id == _ID), Account)
_ID_BY_EMAIL = Prepared(
    select(AccountRow.id).where(
        AccountRow.email == bindparam("email", type_=String(), required=True), AccountRow.disabled_at.is_(None)
    ),
    UUID,
)


class StoredCredentials(msgspec.Struct, frozen=True):
    """What a login is checked against."""

    account_id: UUID
    password_hash: str | None


_CREDENTIALS = Prepared(
    select(AccountRow.id.label("account_id"), AccountRow.password_hash).where(
        AccountRow.email == bindparam("email", type_=String(), required=True), AccountRow.disabled_at.is_(None)
    ),
    StoredCredentials,
)
_PRINCIPAL = Prepared(
    select(AccountRow.id.label("account_id"), SessionRow.id.label("session_id"), AccountRow.kind, SessionRow.expires_at)
    .join(AccountRow, AccountRow.id == SessionRow.account_id)
    .where(SessionRow.id == _ID, *_ALIVE),
    Principal,
)

_LIVING = Prepared(
    select(SessionRow.id)
    .join(AccountRow, AccountRow.id == SessionRow.account_id)
    .where(AnyOf(SessionRow.id.expression, "ids"), *_ALIVE),
    UUID,
)


class StoredSession(msgspec.Struct, frozen=True):
    """A session that a refresh token belongs to."""

    id: UUID
    account_id: UUID
    refresh_digest: bytes
    refreshed_at: datetime


_BY_REFRESH = Prepared(
    select(SessionRow.id, SessionRow.account_id, SessionRow.refresh_digest, SessionRow.refreshed_at)
    .join(AccountRow, AccountRow.id == SessionRow.account_id)
    .where(
        or_(
            SessionRow.refresh_digest == bindparam("digest", type_=LargeBinary(), required=True),
            SessionRow.previous_digest == bindparam("digest", type_=LargeBinary(), required=True),
        ),
        *_ALIVE,
    )
    .with_for_update(of=SessionRow),
    StoredSession,
)


async def get_account(context: ReadContext, account_id: UUID) -> Account:
    """Return an account that is known to exist."""
    return await context.db.one(_BY_ID, id=account_id)


async def get_me(context: ReadContext) -> Account:
    """Return the account of the caller."""
    account = await context.db.first(_BY_ID, id=context.account_id)
    if account is None:
        raise Unauthenticated
    return account


async def find_account_id(context: ReadContext, email: str) -> UUID | None:
    """Return whose address this is. The address is in its normal form."""
    return await context.db.first(_ID_BY_EMAIL, email=email)


async def find_credentials(context: ReadContext, email: str) -> StoredCredentials | None:
    """Return what a login with this address is checked against. The address is in its normal form."""
    return await context.db.first(_CREDENTIALS, email=email)


async def find_principal(runtime: Runtime, session_id: UUID) -> Principal | None:
    """Return who a session stands for, while it is neither revoked nor over."""
    return await ReadUnit(runtime.placement).first(_PRINCIPAL, id=session_id, now=runtime.clock.now())


async def find_living_sessions(runtime: Runtime, session_ids: Iterable[UUID]) -> set[UUID]:
    """Return those of the sessions that are neither revoked nor over."""
    unit, now = ReadUnit(runtime.placement), runtime.clock.now()
    living: set[UUID] = set()
    remaining = iter(session_ids)
    while chunk := list(islice(remaining, 1_000)):
        living.update(await unit.all(_LIVING, ids=chunk, now=now))
    return living


async def lock_session(context: ReadContext, refresh_digest: bytes) -> StoredSession | None:
    """Return the living session that a refresh token is or was the last one of, locked until the commit."""
    return await context.db.first(_BY_REFRESH, digest=refresh_digest, now=context.now)
