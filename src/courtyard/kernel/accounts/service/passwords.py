"""Passwords: logging in with one, changing and resetting it."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import Integer, LargeBinary, Uuid, bindparam, case, delete, select, update
from sqlalchemy import Text as SqlText
from sqlalchemy.dialects.postgresql import insert as upsert

from courtyard.kernel.accounts import events, queries, rules
from courtyard.kernel.accounts.errors import LoginSlowed, NotForVisitors, WeakPassword, WrongCredentials
from courtyard.kernel.accounts.events import FAILED
from courtyard.kernel.accounts.mails import LOGIN_UNKNOWN, PASSWORD_CHANGED, PASSWORD_RESET
from courtyard.kernel.accounts.models import AccountRow, LoginThrottleRow
from courtyard.kernel.accounts.rules import Arrival
from courtyard.kernel.accounts.schemas import (
    Account,
    Credentials,
    Login,
    NewPassword,
    NewPasswordReset,
    PasswordReset,
    Started,
    TokenProof,
)
from courtyard.kernel.accounts.service import challenges
from courtyard.kernel.accounts.service.mailing import link, mail, write
from courtyard.kernel.accounts.service.sessions import end_sessions, require_recent_proof, sign_in, take_proof
from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared, UtcDateTime
from courtyard.kernel.errors import FieldError
from courtyard.kernel.schema import normalise_email

EMAIL_PURPOSE = "login throttle"
# After so long without a wrong password the counting starts anew.
FORGIVEN_AFTER = timedelta(hours=1)

_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_EMAIL_DIGEST = bindparam("email_digest", type_=LargeBinary(), required=True)
_COUNT_FAILURE = Prepared(
    upsert(LoginThrottleRow)
    .values(email_digest=_EMAIL_DIGEST, failures=1, changed_at=_NOW, blocked_until=_NOW)
    .on_conflict_do_update(
        index_elements=[LoginThrottleRow.email_digest],
        set_={
            "failures": case(
                (LoginThrottleRow.changed_at < bindparam("forgiven", type_=UtcDateTime(), required=True), 1),
                else_=LoginThrottleRow.failures + 1,
            ),
            "changed_at": _NOW,
        },
    )
    .returning(LoginThrottleRow.failures),
    int,
)
_FORGIVE = Prepared(delete(LoginThrottleRow).where(LoginThrottleRow.email_digest == _EMAIL_DIGEST))
_SET = Prepared(
    update(AccountRow)
    .where(AccountRow.id == bindparam("id", type_=Uuid(), required=True))
    .values(
        password_hash=bindparam("new_hash", type_=SqlText(), required=True),
        password_changed_at=_NOW,
        must_change_password=False,
        version=AccountRow.version + 1,
    )
)
_REHASH = Prepared(
    update(AccountRow)
    .where(
        AccountRow.id == bindparam("id", type_=Uuid(), required=True),
        AccountRow.password_hash == bindparam("old_hash", type_=SqlText(), required=True),
    )
    .values(password_hash=bindparam("new_hash", type_=SqlText(), required=True))
)
_PRUNE = Prepared(
    delete(LoginThrottleRow).where(
        LoginThrottleRow.email_digest.in_(
            select(LoginThrottleRow.email_digest)
            .where(LoginThrottleRow.changed_at < _NOW)
            .limit(bindparam("limit", type_=Integer(), required=True))
        )
    )
)


async def log_in(context: Context, credentials: Credentials, arrival: Arrival) -> Login:
    """Open a session with a password.

    Args:
        context: of a caller who need not be signed in.
        credentials: address and password.
        arrival: how they came.

    Raises:
        WrongCredentials: no such account, or not its password; both take the same time.
        LoginSlowed: too many wrong passwords for this address, and the browser is not one of its owner.
        SecondFactorNeeded: the password was right, and the account asks for more.
    """
    passwords, outside = context.runtime.passwords, context.outside()
    email = normalise_email(credentials.email)
    email_digest = context.runtime.digests.digest(EMAIL_PURPOSE, email)
    # Hashing takes long, so it is done before the transaction begins: on SQLite every other writer would wait.
    stored = await queries.find_credentials(outside, email, challenges.digest_browser(arrival.browser), email_digest)
    if stored.blocked_until is not None and stored.blocked_until > context.now and not stored.knows_browser:
        seconds = int((stored.blocked_until - context.now).total_seconds()) + 1
        _note_failure(context, stored.account_id, email_digest)
        raise LoginSlowed(headers={"Retry-After": str(seconds)})
    if not await passwords.verify(stored.password_hash, credentials.password) or stored.account_id is None:
        await _count_failure(context, email_digest)
        _note_failure(context, stored.account_id, email_digest)
        raise WrongCredentials
    renewed = None
    if stored.password_hash is not None and passwords.is_outdated(stored.password_hash):
        renewed = await passwords.hash(credentials.password)
    # It may have been changed while this one was hashed, and the sessions ended that were open then.
    if await queries.lock_password_hash(context, stored.account_id) != stored.password_hash:
        raise WrongCredentials
    if renewed is not None:
        await context.db.execute(_REHASH, id=stored.account_id, old_hash=stored.password_hash, new_hash=renewed)
    await context.db.execute(_FORGIVE, email_digest=email_digest)
    return await sign_in(context, stored.account_id, arrival, "password")


def _note_failure(context: Context, account_id: UUID | None, email_digest: bytes) -> None:
    """Keep a refused login without what was typed: people type passwords into the wrong field."""
    if account_id is not None:
        context.note_refusal(FAILED, object_type="account", object_id=str(account_id), keep_body=False)
    else:
        # Keyed: tries with one address can be told to belong together, and the address cannot be guessed from it.
        context.note_refusal(FAILED, keep_body=False, address_digest=email_digest.hex())


async def _count_failure(context: Context, email_digest: bytes) -> None:
    failures = await context.db.one(
        _COUNT_FAILURE, email_digest=email_digest, now=context.now, forgiven=context.now - FORGIVEN_AFTER
    )
    wait = rules.wait_after(failures)
    await context.db.update(LoginThrottleRow, {"email_digest": email_digest}, blocked_until=context.now + wait)


async def change_password(context: Context, new: NewPassword) -> None:
    """Change the password of the caller; all other sessions end.

    Raises:
        WrongCredentials: the current one is not right.
        StepUpNeeded: there is none yet, and the last proof is too old.
        WeakPassword: the new one would be guessed.
        NotForVisitors: the caller has no address to log in with.
    """
    account = await queries.get_me(context)
    if account.email is None:
        raise NotForVisitors
    await _require_current_password(context, new.current_password)
    password_hash = await hash_new(context, new.password, account.email, account.name)
    await _set(context, account, password_hash)
    await end_sessions(context, account.id, but=context.session_id)


async def prove_by_password(context: Context, password: str) -> None:
    """Prove once more who one is.

    Raises:
        WrongCredentials: it is not the password.
    """
    if not await context.runtime.passwords.verify(
        await queries.find_password_hash(context.outside(), context.account_id), password
    ):
        context.note_refusal(FAILED, object_type="account", object_id=str(context.account_id), keep_body=False)
        raise WrongCredentials
    await take_proof(context, "password")


async def start_reset(context: Context, new: NewPasswordReset) -> Started:
    """Mail a link that resets the password; whether or not there is an account, nothing else is told."""
    email = normalise_email(new.email)
    account = await queries.find_account_by_email(context.outside(), email)
    seconds = context.runtime.settings.accounts.password_reset_seconds
    issued = await challenges.issue(
        context, "password_reset", seconds=seconds, account_id=None if account is None else account.id
    )
    if account is None:
        await write(context, LOGIN_UNKNOWN, email, "", None, link=link(context, "registration"))
    else:
        address = link(context, "password-reset", issued.token)
        await mail(context, PASSWORD_RESET, account, link=address, minutes=seconds // 60)
    return Started(issued.id, seconds)


async def reset_password(context: Context, reset: PasswordReset) -> None:
    """Set a new password with the link of a mail; all sessions end.

    Raises:
        InvalidChallenge: the link is not good (any more).
        WeakPassword: the new one would be guessed; the link stays good.
    """
    password_hash = await hash_new(context, reset.password)
    challenge = await challenges.redeem(context, "password_reset", TokenProof(token=reset.token))
    account = await queries.load_account(context, challenge.account_id)
    await challenges.void(context, account.id)
    await _set(context, account, password_hash)
    await end_sessions(context, account.id)


async def hash_new(context: Context, password: str, *known: str) -> str:
    """Return the hash of a password that is to be set.

    Args:
        context: of the request.
        password: the new one.
        known: what somebody who guesses would try first, such as the name.

    Raises:
        WeakPassword: it would be guessed.
    """
    passwords, settings = context.runtime.passwords, context.runtime.settings
    # What anybody would try who knows where they are (OWASP ASVS 5.0, 6.2.11).
    here = ("courtyard", settings.public_url)
    strength = await passwords.strength(password, (*known, *here))
    if strength.score < settings.accounts.password_strength:
        raise WeakPassword(
            errors=[FieldError(strength.warning or "is too easy to guess", pointer="/password")],
            suggestions=strength.suggestions,
        )
    return await passwords.hash(password)


async def prune(context: Context, limit: int) -> int:
    """Remove some counters that count no more; return how many there were, fewer than `limit` at the end."""
    return await context.db.execute(_PRUNE, now=context.now - FORGIVEN_AFTER, limit=limit)


async def _require_current_password(context: Context, shown: str | None) -> None:
    stored = await queries.find_password_hash(context.outside(), context.account_id)
    if stored is None:
        require_recent_proof(context)
    elif not await context.runtime.passwords.verify(stored, shown or ""):
        raise WrongCredentials


async def _set(context: Context, account: Account, password_hash: str) -> None:
    context.name_changes(events.PASSWORD_CHANGED)
    await context.db.execute(_SET, id=account.id, new_hash=password_hash, now=context.now)
    context.after_commit(context.runtime.identity.forget)
    await mail(context, PASSWORD_CHANGED, account, link=link(context, "password-reset"))
