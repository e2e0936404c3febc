"""Reads of API keys: those of an account, and who a key stands for."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from uuid import UUID

import msgspec
from sqlalchemy import String, Uuid, bindparam, func, or_, select

from courtyard.kernel.accounts import rules
from courtyard.kernel.accounts.models import AccountRow, ApiKeyRow
from courtyard.kernel.accounts.schemas.api_keys import ApiKey
from courtyard.kernel.context import Principal, ReadContext
from courtyard.kernel.database import AnyOf, Prepared, ReadUnit, UtcDateTime
from courtyard.kernel.runtime import Runtime

DIGEST_PURPOSE = "api key"
NEVER = datetime.max.replace(tzinfo=UTC)

_ID = bindparam("id", type_=Uuid(), required=True)
_ACCOUNT_ID = bindparam("account_id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_ALIVE = (
    ApiKeyRow.revoked_at.is_(None),
    or_(ApiKeyRow.expires_at.is_(None), ApiKeyRow.expires_at > _NOW),
    AccountRow.disabled_at.is_(None),
)
_UNREVOKED = select(*(getattr(ApiKeyRow, name) for name in ApiKey.__struct_fields__)).where(
    ApiKeyRow.account_id == _ACCOUNT_ID, ApiKeyRow.revoked_at.is_(None)
)

_LIST = Prepared(_UNREVOKED.order_by(ApiKeyRow.id.desc()), ApiKey)
_ONE = Prepared(_UNREVOKED.where(ApiKeyRow.id == _ID), ApiKey)
_COUNT = Prepared(
    select(func.count())
    .select_from(ApiKeyRow)
    .where(ApiKeyRow.account_id == _ACCOUNT_ID, ApiKeyRow.revoked_at.is_(None)),
    int,
)


class _Candidate(msgspec.Struct, frozen=True):
    id: UUID
    digest: bytes


class _Known(msgspec.Struct, frozen=True):
    account_id: UUID
    session_id: UUID
    kind: str
    expires_at: datetime | None
    authenticated_at: datetime
    methods: list[str]
    rights_epoch: int
    must_change_password: bool
    scopes: list[str] | None
    used_at: datetime | None


class _Living(msgspec.Struct, frozen=True):
    id: UUID
    rights_epoch: int


# More than one only by chance: the prefix has 47 random bits.
_CANDIDATES = Prepared(
    select(ApiKeyRow.id, ApiKeyRow.digest).where(
        ApiKeyRow.prefix == bindparam("prefix", type_=String(), required=True), ApiKeyRow.revoked_at.is_(None)
    ),
    _Candidate,
)
_KNOWN = Prepared(
    select(
        ApiKeyRow.account_id,
        ApiKeyRow.id.label("session_id"),
        AccountRow.kind,
        ApiKeyRow.expires_at,
        ApiKeyRow.created_at.label("authenticated_at"),
        ApiKeyRow.methods,
        AccountRow.rights_epoch,
        AccountRow.must_change_password,
        ApiKeyRow.scopes,
        ApiKeyRow.used_at,
    )
    .join(AccountRow, AccountRow.id == ApiKeyRow.account_id)
    .where(ApiKeyRow.id == _ID, *_ALIVE),
    _Known,
)
_LIVING = Prepared(
    select(ApiKeyRow.id, AccountRow.rights_epoch)
    .join(AccountRow, AccountRow.id == ApiKeyRow.account_id)
    .where(AnyOf(ApiKeyRow.id.expression, "ids"), *_ALIVE),
    _Living,
)


async def list_of(context: ReadContext, account_id: UUID) -> list[ApiKey]:
    """Return the keys of an account that are not revoked, the newest first."""
    return await context.db.all(_LIST, account_id=account_id)


async def find_of(context: ReadContext, account_id: UUID, key_id: UUID) -> ApiKey | None:
    """Return one key of an account; None where it has none of this id, or has revoked it."""
    return await context.db.first(_ONE, account_id=account_id, id=key_id)


async def count_of(context: ReadContext, account_id: UUID) -> int:
    """Return how many keys of an account are not revoked."""
    return await context.db.one(_COUNT, account_id=account_id)


async def find_api_key(runtime: Runtime, token: str) -> UUID | None:
    """Return the id of the key that a token is, None for what is none; it may have expired.

    What has not the form of a key, or not the checksum, costs no query.
    """
    if not rules.is_api_key(token):
        return None
    candidates = await ReadUnit(runtime.placement).all(_CANDIDATES, prefix=token[: rules.API_KEY_SHOWN])
    matching = (each.id for each in candidates if runtime.digests.matches(DIGEST_PURPOSE, token, each.digest))
    return next(matching, None)


async def principal_of_api_key(runtime: Runtime, key_id: UUID) -> tuple[Principal, datetime | None] | None:
    """Return who a key stands for and when it was last used, while neither it nor its account has come to an end."""
    known = await ReadUnit(runtime.placement).first(_KNOWN, id=key_id, now=runtime.clock.now())
    if known is None:
        return None
    principal = Principal(
        account_id=known.account_id,
        session_id=known.session_id,
        kind=known.kind,
        expires_at=known.expires_at or NEVER,
        authenticated_at=known.authenticated_at,
        methods=["api_key", *known.methods],
        rights_epoch=known.rights_epoch,
        must_change_password=known.must_change_password,
        scopes=None if known.scopes is None else frozenset(known.scopes),
    )
    return principal, known.used_at


async def living_api_keys(runtime: Runtime, key_ids: Iterable[UUID]) -> Mapping[UUID, int]:
    """Return those of the keys that still count, with the rights epoch of their accounts."""
    unit, now = ReadUnit(runtime.placement), runtime.clock.now()
    living: dict[UUID, int] = {}
    remaining = iter(key_ids)
    while chunk := list(islice(remaining, 1_000)):
        living.update({each.id: each.rights_epoch for each in await unit.all(_LIVING, ids=chunk, now=now)})
    return living
