"""API keys: by which a program acts for an account, with no more rights than the account has at that moment."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Uuid, bindparam, or_, update

from courtyard.kernel.accounts import queries, rules
from courtyard.kernel.accounts.errors import NotForVisitors, TooManyCredentials, UnknownPermission
from courtyard.kernel.accounts.events import API_KEY_ISSUED, API_KEY_REVOKED
from courtyard.kernel.accounts.mails import SECURITY_NOTICE
from courtyard.kernel.accounts.models import ApiKeyRow
from courtyard.kernel.accounts.queries import api_keys as reads
from courtyard.kernel.accounts.queries.api_keys import list_of
from courtyard.kernel.accounts.schemas.api_keys import ApiKey, IssuedApiKey, NewApiKey
from courtyard.kernel.accounts.service.mailing import mail
from courtyard.kernel.accounts.service.rights import SESSIONS_CHANNEL
from courtyard.kernel.accounts.service.sessions import require_recent_proof
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import Prepared, UnitOfWork, UtcDateTime
from courtyard.kernel.errors import FieldError, NotFound, SessionNeeded
from courtyard.kernel.events import Signal
from courtyard.kernel.ids import new_id
from courtyard.kernel.runtime import Runtime

__all__ = ["issue", "issue_mine", "list_mine", "list_of", "note_use", "revoke", "revoke_mine"]

MOST = 100
# How exact the time of the last use is.
USE_SECONDS = 60

_ID = bindparam("id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_REVOKE = Prepared(
    update(ApiKeyRow)
    .where(
        ApiKeyRow.id == _ID,
        ApiKeyRow.account_id == bindparam("account_id", type_=Uuid(), required=True),
        ApiKeyRow.revoked_at.is_(None),
    )
    .values(revoked_at=_NOW)
)
_USED = Prepared(
    update(ApiKeyRow)
    .where(
        ApiKeyRow.id == _ID,
        or_(ApiKeyRow.used_at.is_(None), ApiKeyRow.used_at < bindparam("before", type_=UtcDateTime(), required=True)),
    )
    .values(used_at=_NOW)
)


async def issue_mine(context: Context, new: NewApiKey) -> IssuedApiKey:
    """Make a key for the caller. It counts as a second factor where the present session does.

    Raises:
        NotForVisitors: the caller has not registered.
        SessionNeeded: a key makes no keys.
        StepUpNeeded: the last proof is too old.
        TooManyCredentials: there is no room for another one.
        UnknownPermission: a scope is no permission.
    """
    if context.principal is not None and context.principal.by_api_key:
        raise SessionNeeded
    require_recent_proof(context)
    account = await queries.get_me(context)
    if account.email is None:
        raise NotForVisitors
    expires_at = None if new.expires_in_days is None else context.now + timedelta(days=new.expires_in_days)
    methods = () if context.principal is None else context.principal.methods
    issued = await issue(context, account.id, new.name, new.scopes, expires_at, methods=methods)
    await mail(context, SECURITY_NOTICE, account, what="api_key_added", thing=new.name)
    return issued


async def issue(
    context: Context,
    account_id: UUID,
    name: str,
    scopes: Sequence[str] | None,
    expires_at: datetime | None,
    *,
    methods: Sequence[str] = (),
) -> IssuedApiKey:
    """Make a key for an account. The caller has asked whether that is allowed.

    Args:
        context: the transaction.
        account_id: who the key acts for.
        name: by which people will know it.
        scopes: names of permissions that it is cut down to; None for all that the account has.
        expires_at: its end; None for when it is revoked.
        methods: the proofs of the person who makes it for themselves; none for the key of a service.

    Raises:
        TooManyCredentials: there is no room for another one.
        UnknownPermission: a scope is no permission.
        NotFound: there is no such account that is active.
    """
    known = {permission for part in context.runtime.parts for permission in part.permissions}
    unknown = [
        FieldError(f"there is no permission {scope}", pointer=f"/scopes/{number}")
        for number, scope in enumerate(scopes or ())
        if scope not in known
    ]
    if unknown:
        raise UnknownPermission(errors=unknown)
    # Locked, so that two at once are counted.
    if await queries.lock_account(context, account_id) is None:
        raise NotFound
    if await reads.count_of(context, account_id) >= MOST:
        raise TooManyCredentials
    key = rules.write_api_key(secrets.token_bytes(rules.API_KEY_BYTES))
    api_key = ApiKey(
        id=new_id(),
        name=name,
        prefix=key[: rules.API_KEY_SHOWN],
        scopes=None if scopes is None else sorted(set(scopes)),
        created_at=context.now,
        expires_at=expires_at,
        used_at=None,
    )
    await context.db.insert(
        ApiKeyRow,
        id=api_key.id,
        account_id=account_id,
        name=api_key.name,
        prefix=api_key.prefix,
        digest=context.runtime.digests.digest(reads.DIGEST_PURPOSE, key),
        scopes=api_key.scopes,
        methods=list(methods),
        created_at=api_key.created_at,
        expires_at=expires_at,
    )
    context.note(
        API_KEY_ISSUED,
        object_type="api_key",
        object_id=str(api_key.id),
        keep_body=False,
        account_id=account_id,
        called=name,
        scopes=api_key.scopes,
        expires_at=expires_at,
    )
    return IssuedApiKey(key, api_key)


async def list_mine(context: ReadContext) -> list[ApiKey]:
    """Return the keys of the caller, the newest first."""
    return await list_of(context, context.account_id)


async def revoke_mine(context: Context, key_id: UUID) -> None:
    """Revoke a key of the caller.

    Raises:
        NotFound: the caller has none of this id.
    """
    api_key = await reads.find_of(context, context.account_id, key_id)
    if api_key is None:
        raise NotFound
    await revoke(context, context.account_id, key_id)
    account = await queries.get_me(context)
    await mail(context, SECURITY_NOTICE, account, what="api_key_removed", thing=api_key.name)


async def revoke(context: Context, account_id: UUID, key_id: UUID) -> None:
    """End a key of an account: it is refused and its sockets are cut, on every process.

    Raises:
        NotFound: the account has none of this id, or it was revoked before.
    """
    if not await context.db.execute(_REVOKE, id=key_id, account_id=account_id, now=context.now):
        raise NotFound
    context.note(API_KEY_REVOKED, object_type="api_key", object_id=str(key_id), account_id=account_id)
    runtime = context.runtime

    def tell() -> None:
        runtime.identity.forget()
        runtime.bus.publish(Signal(SESSIONS_CHANNEL, "ended", body=key_id.bytes))

    context.after_commit(tell)


async def note_use(runtime: Runtime, key_id: UUID) -> None:
    """Take note that a key is in use, where that was not noted in the last minute. Not part of any request."""
    now = runtime.clock.now()
    before = now - timedelta(seconds=USE_SECONDS)
    await UnitOfWork(runtime.placement).conclude(_USED, id=key_id, now=now, before=before)
