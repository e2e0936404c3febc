"""The account itself: its profile, and its end."""

from typing import Literal
from uuid import UUID

from msgspec import UNSET
from sqlalchemy import String, Uuid, bindparam, delete, update

from courtyard.kernel.accounts import events, queries
from courtyard.kernel.accounts.mails import ACCOUNT_DEACTIVATED, ACCOUNT_DELETED
from courtyard.kernel.accounts.models import (
    AccountRow,
    ApiKeyRow,
    DeviceRow,
    ExternalIdentityRow,
    PasskeyRow,
    RecoveryCodeRow,
    TotpRow,
)
from courtyard.kernel.accounts.schemas import Account, AccountPatch
from courtyard.kernel.accounts.service import challenges
from courtyard.kernel.accounts.service.mailing import mail
from courtyard.kernel.accounts.service.rights import rights_changed
from courtyard.kernel.accounts.service.sessions import end_sessions, require_recent_proof
from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared, UtcDateTime
from courtyard.kernel.errors import NotFound, PreconditionFailed

DELETED_NAME = "Deleted account"

_ID = bindparam("id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_PATCH = Prepared(
    update(AccountRow)
    .where(AccountRow.id == _ID)
    .where(AccountRow.version == bindparam("seen_version", required=True))
    .values(
        name=bindparam("name", type_=String(), required=True),
        language=bindparam("language", type_=String(), required=True),
        version=AccountRow.version + 1,
    )
)
_DISABLE = Prepared(
    update(AccountRow)
    .where(AccountRow.id == _ID, AccountRow.disabled_at.is_(None))
    .values(
        disabled_at=_NOW,
        disabled_by=bindparam("disabled_by", type_=String(), required=True),
        version=AccountRow.version + 1,
    )
)
_ENABLE = Prepared(
    update(AccountRow)
    .where(AccountRow.id == _ID, AccountRow.disabled_at.is_not(None), AccountRow.deleted_at.is_(None))
    .values(disabled_at=None, disabled_by=None, version=AccountRow.version + 1)
)
_FORCE = Prepared(
    update(AccountRow)
    .where(AccountRow.id == _ID, AccountRow.password_hash.is_not(None))
    .values(must_change_password=True, version=AccountRow.version + 1)
)
# The row stays: what the account has done still says who did it, without saying who that was.
_EMPTY = Prepared(
    update(AccountRow)
    .where(AccountRow.id == _ID, AccountRow.deleted_at.is_(None))
    .values(
        email=None,
        name=DELETED_NAME,
        language=None,
        password_hash=None,
        disabled_at=_NOW,
        disabled_by="self",
        deleted_at=_NOW,
        version=AccountRow.version + 1,
    )
)
_CREDENTIALS = tuple(
    Prepared(delete(table).where(table.account_id == _ID))
    for table in (ApiKeyRow, DeviceRow, ExternalIdentityRow, PasskeyRow, RecoveryCodeRow, TotpRow)
)


async def change_me(context: Context, patch: AccountPatch, version: int | None) -> Account:
    """Change what a person may change about themselves.

    Args:
        context: of the person.
        patch: the new values.
        version: the one that the person has seen; None to change whatever is there.

    Raises:
        PreconditionFailed: it has changed since.
    """
    account = await queries.get_me(context)
    if version is not None and version != account.version:
        raise PreconditionFailed
    name = account.name if patch.name is UNSET else patch.name
    language = account.language if patch.language is UNSET else patch.language
    if (name, language) != (account.name, account.language) and not await context.db.execute(
        _PATCH, id=account.id, seen_version=account.version, name=name, language=language
    ):
        raise PreconditionFailed
    return await queries.get_me(context)


async def deactivate_me(context: Context) -> None:
    """Close the account of the caller until they come back by a link in a mail; every session ends.

    Raises:
        StepUpNeeded: the last proof is too old.
    """
    require_recent_proof(context)
    await disable(context, context.account_id, by="self")


async def delete_me(context: Context) -> None:
    """Remove the caller: credentials, address and name go at once, memberships too; what was written stays.

    Raises:
        StepUpNeeded: the last proof is too old.
        LastOwner: a workspace would be left without an owner.
    """
    require_recent_proof(context)
    await remove(context, context.account_id)


async def disable(context: Context, account_id: UUID, *, by: Literal["self", "operator"]) -> None:
    """Refuse an account everything; every session ends.

    Raises:
        NotFound: there is no such account that is active.
    """
    account = await queries.load_account(context, account_id)
    context.name_changes(events.DEACTIVATED)
    if not await context.db.execute(_DISABLE, id=account_id, now=context.now, disabled_by=by):
        raise NotFound
    await _cut_off(context, account_id)
    if account.email is not None:
        await mail(context, ACCOUNT_DEACTIVATED, account)


async def enable(context: Context, account_id: UUID) -> None:
    """Let an account back in.

    Raises:
        NotFound: there is no such account that was deactivated.
    """
    context.name_changes(events.REACTIVATED)
    if not await context.db.execute(_ENABLE, id=account_id):
        raise NotFound
    await rights_changed(context, [account_id])


async def remove(context: Context, account_id: UUID) -> None:
    """Empty an account for good. Each part of the house forgets first what it knows of it, or refuses.

    Raises:
        NotFound: there is no such account.
        LastOwner: a workspace would be left without an owner.
    """
    account = await queries.load_account(context, account_id)
    for part in context.runtime.parts:
        if part.forget_account is not None:
            await part.forget_account(context, account_id)
    await _cut_off(context, account_id)
    for statement in _CREDENTIALS:
        await context.db.execute(statement, id=account_id)
    if account.email is not None:
        await mail(context, ACCOUNT_DELETED, account)
    context.name_changes(events.REMOVED)
    if not await context.db.execute(_EMPTY, id=account_id, now=context.now):
        raise NotFound


async def force_password_change(context: Context, account_id: UUID) -> None:
    """Let an account do nothing else before its password is changed.

    Raises:
        NotFound: there is no such account with a password.
    """
    if not await context.db.execute(_FORCE, id=account_id):
        raise NotFound
    context.after_commit(context.runtime.identity.forget)


async def _cut_off(context: Context, account_id: UUID) -> None:
    await end_sessions(context, account_id)
    await challenges.void(context, account_id)
    await rights_changed(context, [account_id])
