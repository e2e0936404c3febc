"""Reads about logging in at OpenID providers."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import LargeBinary, String, Uuid, bindparam, func, or_, select

from courtyard.kernel.accounts.models import AccountRow, ChallengeRow, ExternalIdentityRow, PasskeyRow
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import Prepared, UtcDateTime


class Pending(msgspec.Struct, frozen=True):
    """A login that somebody has gone to a provider with, and not come back yet."""

    purpose: str
    account_id: UUID | None
    browser_digest: bytes | None
    data: dict[str, Any]


class StoredIdentity(msgspec.Struct, frozen=True):
    """An identity at a provider, as it is kept."""

    provider: str
    email: str | None
    created_at: datetime
    used_at: datetime | None


class WaysIn(msgspec.Struct, frozen=True):
    """By what an account can be logged in to, beside API keys.

    Attributes:
        email: to which a mail with a link can go; None without one.
        password_hash: None without a password.
        passkeys: how many.
        identities: how many, at OpenID providers.
    """

    email: str | None
    password_hash: str | None
    passkeys: int
    identities: int

    @property
    def count(self) -> int:
        """How many there are."""
        return (self.email is not None) + (self.password_hash is not None) + self.passkeys + self.identities


_ACCOUNT = bindparam("account_id", type_=Uuid(), required=True)
_PROVIDER = bindparam("provider", type_=String(), required=True)
_PENDING = Prepared(
    select(ChallengeRow.purpose, ChallengeRow.account_id, ChallengeRow.browser_digest, ChallengeRow.data).where(
        ChallengeRow.token_digest == bindparam("token_digest", type_=LargeBinary(), required=True),
        or_(ChallengeRow.purpose == "oidc_login", ChallengeRow.purpose == "oidc_link"),
        ChallengeRow.used_at.is_(None),
        ChallengeRow.expires_at > bindparam("now", type_=UtcDateTime(), required=True),
    ),
    Pending,
)
_OWNER = Prepared(
    select(ExternalIdentityRow.account_id).where(
        ExternalIdentityRow.provider == _PROVIDER,
        ExternalIdentityRow.subject == bindparam("subject", type_=String(), required=True),
    ),
    UUID,
)
_STORED = select(*(getattr(ExternalIdentityRow, name) for name in StoredIdentity.__struct_fields__)).where(
    ExternalIdentityRow.account_id == _ACCOUNT
)
_OF_ACCOUNT = Prepared(_STORED.order_by(ExternalIdentityRow.created_at, ExternalIdentityRow.id), StoredIdentity)
_AT_PROVIDER = Prepared(_STORED.where(ExternalIdentityRow.provider == _PROVIDER), StoredIdentity)
_WAYS_IN = Prepared(
    select(
        AccountRow.email,
        AccountRow.password_hash,
        select(func.count()).where(PasskeyRow.account_id == AccountRow.id).scalar_subquery().label("passkeys"),
        select(func.count())
        .where(ExternalIdentityRow.account_id == AccountRow.id)
        .scalar_subquery()
        .label("identities"),
    ).where(AccountRow.id == _ACCOUNT),
    WaysIn,
)


async def find_pending(context: ReadContext, token_digest: bytes) -> Pending | None:
    """Return the login whose `state` has this digest, if it can still be ended."""
    return await context.db.first(_PENDING, token_digest=token_digest, now=context.now)


async def find_owner(context: ReadContext, provider: str, subject: str) -> UUID | None:
    """Return the account that somebody at a provider has linked."""
    return await context.db.first(_OWNER, provider=provider, subject=subject)


async def list_stored_identities(context: ReadContext, account_id: UUID) -> list[StoredIdentity]:
    """Return the identities of an account, the oldest first."""
    return await context.db.all(_OF_ACCOUNT, account_id=account_id)


async def find_identity(context: ReadContext, account_id: UUID, provider: str) -> StoredIdentity | None:
    """Return the identity that an account has at a provider."""
    return await context.db.first(_AT_PROVIDER, account_id=account_id, provider=provider)


async def count_ways_in(context: ReadContext, account_id: UUID) -> WaysIn:
    """Return by what an account can be logged in to. Lock the account before taking one away."""
    return await context.db.one(_WAYS_IN, account_id=account_id)
