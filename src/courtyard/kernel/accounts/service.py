"""Every change of accounts and sessions."""

from datetime import timedelta
from uuid import UUID

from msgspec import UNSET
from sqlalchemy import String, Uuid, bindparam, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_taken

from courtyard.kernel.accounts import queries
from courtyard.kernel.accounts.errors import EmailTaken, InvalidRefreshToken, RefreshTokenReused, WrongCredentials
from courtyard.kernel.accounts.models import AccountRow, SessionRow
from courtyard.kernel.accounts.schemas import Account, AccountPatch, Credentials, Login, NewAccount, NewVisitor
from courtyard.kernel.context import Context
from courtyard.kernel.crypto import digest_token, new_token
from courtyard.kernel.csrf import csrf_token
from courtyard.kernel.database import Prepared, UtcDateTime
from courtyard.kernel.errors import PreconditionFailed
from courtyard.kernel.events import Signal
from courtyard.kernel.ids import new_id
from courtyard.kernel.schema import normalise_email

# Where processes hear of sessions that have ended, and of accounts whose rights have changed.
SESSIONS_CHANNEL = "sessions"

_INSERT_ACCOUNT = Prepared(
    insert_unless_taken(AccountRow)
    .values(
        {
            column.name: bindparam(column.name, type_=column.type, required=True)
            for column in AccountRow.__table__.columns
        }
    )
    .on_conflict_do_nothing(index_elements=[AccountRow.email])
)
_PATCH = Prepared(
    update(AccountRow)
    .where(AccountRow.id == bindparam("id", type_=Uuid(), required=True))
    .where(AccountRow.version == bindparam("version", required=True))
    .values(name=bindparam("name", type_=String(), required=True), version=AccountRow.version + 1)
)
_REVOKE = Prepared(
    update(SessionRow)
    .where(SessionRow.id == bindparam("id", type_=Uuid(), required=True), SessionRow.revoked_at.is_(None))
    .values(revoked_at=bindparam("now", type_=UtcDateTime(), required=True))
)


async def register(context: Context, new: NewAccount) -> Account:
    """Make an account for a person, with a password.

    Raises:
        EmailTaken: there is one with this address.
    """
    password_hash = await context.runtime.passwords.hash(new.password)
    account_id = new_id()
    inserted = await context.db.execute(
        _INSERT_ACCOUNT,
        id=account_id,
        kind="person",
        email=normalise_email(new.email),
        name=new.name,
        password_hash=password_hash,
        version=1,
        created_at=context.now,
        disabled_at=None,
    )
    if not inserted:
        raise EmailTaken
    return await queries.get_account(context, account_id)


async def log_in(context: Context, credentials: Credentials, device: str) -> Login:
    """Open a session with a password.

    Args:
        context: of a caller who need not be signed in.
        credentials: address and password.
        device: what the person will know this session by, such as the `User-Agent`.

    Raises:
        WrongCredentials: no such account, or not its password; both take the same time.
    """
    passwords = context.runtime.passwords
    # Hashing takes long, so it is done before the transaction begins: on SQLite every other writer would wait.
    stored = await queries.find_credentials(context.outside(), normalise_email(credentials.email))
    password_hash = None if stored is None else stored.password_hash
    if not await passwords.verify(password_hash, credentials.password) or stored is None:
        raise WrongCredentials
    if password_hash is not None and passwords.is_outdated(password_hash):
        renewed = await passwords.hash(credentials.password)
        await context.db.update(
            AccountRow, {"id": stored.account_id, "password_hash": password_hash}, password_hash=renewed
        )
    return await _open_session(context, stored.account_id, device)


async def enter_as_visitor(context: Context, visitor: NewVisitor, device: str) -> Login:
    """Make an account for an anonymous visitor and open its session."""
    account_id = new_id()
    await context.db.insert(
        AccountRow, id=account_id, kind="visitor", name=visitor.name, created_at=context.now, version=1
    )
    return await _open_session(context, account_id, device)


async def refresh(context: Context, refresh_token: str) -> Login:
    """Exchange a refresh token for new tokens of the same session.

    A token is good once. Showing one again means that two have it, one of them a thief, so the session ends
    (OAuth 2.0 Security Best Current Practice, RFC 9700, section 4.14.2).

    Raises:
        InvalidRefreshToken: it is unknown, was used, or its session is over.
        RefreshTokenReused: it was used before; the session has ended.
    """
    digest = digest_token(refresh_token)
    session = await queries.lock_session(context, digest)
    if session is None:
        raise InvalidRefreshToken
    if session.refresh_digest != digest:
        await end_session(context, session.id)
        raise RefreshTokenReused
    renewed = new_token()
    await context.db.update(
        SessionRow,
        {"id": session.id},
        refresh_digest=digest_token(renewed),
        previous_digest=digest,
        refreshed_at=context.now,
        expires_at=context.now + timedelta(seconds=context.runtime.settings.security.refresh_token_seconds),
    )
    account = await queries.get_account(context, session.account_id)
    return _login(context, account, session.id, renewed)


async def log_out(context: Context) -> None:
    """End the session of the caller."""
    if context.principal is not None:
        await end_session(context, context.principal.session_id)


async def end_session(context: Context, session_id: UUID) -> None:
    """End a session: its tokens are refused and its sockets cut, on every process."""
    await context.db.execute(_REVOKE, id=session_id, now=context.now)
    runtime = context.runtime

    def tell() -> None:
        runtime.identity.forget()
        runtime.bus.publish(Signal(SESSIONS_CHANNEL, "ended", body=session_id.bytes))

    context.after_commit(tell)


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
    if patch.name is not UNSET and not await context.db.execute(
        _PATCH, id=account.id, version=account.version, name=patch.name
    ):
        raise PreconditionFailed
    return await queries.get_me(context)


async def _open_session(context: Context, account_id: UUID, device: str) -> Login:
    session_id, refresh_token = new_id(), new_token()
    await context.db.insert(
        SessionRow,
        id=session_id,
        account_id=account_id,
        refresh_digest=digest_token(refresh_token),
        device=device[:200],
        created_at=context.now,
        refreshed_at=context.now,
        expires_at=context.now + timedelta(seconds=context.runtime.settings.security.refresh_token_seconds),
    )
    account = await queries.get_account(context, account_id)
    return _login(context, account, session_id, refresh_token)


def _login(context: Context, account: Account, session_id: UUID, refresh_token: str) -> Login:
    lifetime = context.runtime.settings.security.access_token_seconds
    return Login(
        access_token=context.runtime.tokens.issue(account.id, session_id, context.now, lifetime),
        refresh_token=refresh_token,
        csrf_token=csrf_token(context.runtime.signer, session_id),
        expires_in_seconds=lifetime,
        account=account,
    )
