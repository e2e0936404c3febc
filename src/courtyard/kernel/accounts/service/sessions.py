"""Sessions: opening them behind a proof, renewing, listing and ending them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import LargeBinary, Uuid, bindparam
from sqlalchemy.dialects.postgresql import insert as upsert

from courtyard.kernel.accounts import queries, rules
from courtyard.kernel.accounts.errors import (
    InvalidRefreshToken,
    RefreshTokenReused,
    SecondFactorNeeded,
    StepUpNeeded,
    WrongCredentials,
)
from courtyard.kernel.accounts.events import ENDED, OPENED, PROVEN, REUSED
from courtyard.kernel.accounts.mails import NEW_DEVICE
from courtyard.kernel.accounts.models import AccountRow, DeviceRow
from courtyard.kernel.accounts.rules import Arrival
from courtyard.kernel.accounts.schemas import Account, Login, NewVisitor, Session
from courtyard.kernel.accounts.service import challenges
from courtyard.kernel.accounts.service.mailing import mail
from courtyard.kernel.accounts.service.rights import SESSIONS_CHANNEL
from courtyard.kernel.accounts.store import StoredSession, sessions_of
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.crypto import RefreshTokens, digest_token
from courtyard.kernel.csrf import csrf_token
from courtyard.kernel.database import Prepared, UtcDateTime
from courtyard.kernel.errors import NotFound
from courtyard.kernel.events import Signal
from courtyard.kernel.ids import new_id

SECOND_FACTOR_SECONDS = 600

_REMEMBER = Prepared(
    upsert(DeviceRow)
    .values(
        account_id=bindparam("account_id", type_=Uuid(), required=True),
        browser_digest=bindparam("browser_digest", type_=LargeBinary(), required=True),
        created_at=bindparam("now", type_=UtcDateTime(), required=True),
        seen_at=bindparam("now", type_=UtcDateTime(), required=True),
    )
    .on_conflict_do_update(
        index_elements=[DeviceRow.account_id, DeviceRow.browser_digest],
        set_={"seen_at": bindparam("now", type_=UtcDateTime(), required=True)},
    )
)


async def enter_as_visitor(context: Context, visitor: NewVisitor, arrival: Arrival) -> Login:
    """Make an account for an anonymous visitor and open its session."""
    account_id = new_id()
    await context.db.insert(
        AccountRow,
        id=account_id,
        kind="visitor",
        name=visitor.name,
        created_at=context.now,
        version=1,
        must_change_password=False,
        rights_epoch=0,
    )
    return await _open(context, await queries.get_account(context, account_id), arrival, [])


async def sign_in(context: Context, account_id: UUID, arrival: Arrival, method: str) -> Login:
    """Let somebody in who has given a first proof.

    Args:
        context: of a caller who need not be signed in.
        account_id: whose proof it was.
        arrival: how they came.
        method: what the proof was. A passkey is two factors in one: the device, and what unlocks it.

    Raises:
        SecondFactorNeeded: the account asks for another proof.
        WrongCredentials: the account has been deactivated meanwhile.
    """
    if method != "passkey" and await queries.has_totp(context, account_id):
        issued = await challenges.issue(
            context,
            "second_factor",
            seconds=SECOND_FACTOR_SECONDS,
            account_id=account_id,
            browser=arrival.browser,
            data={"method": method},
        )
        raise SecondFactorNeeded(challenge=issued.token, methods=["totp", "recovery_code"])
    return await open_session(context, account_id, arrival, [method])


async def open_session(context: Context, account_id: UUID, arrival: Arrival, methods: Sequence[str]) -> Login:
    """Open a session for somebody who has given every proof that was asked for.

    Raises:
        WrongCredentials: the account has been deactivated meanwhile.
    """
    account = await queries.lock_account(context, account_id)
    if account is None:
        raise WrongCredentials
    if context.runtime.settings.accounts.single_session:
        await end_sessions(context, account_id)
    await _notice_device(context, account, arrival)
    return await _open(context, account, arrival, methods)


async def refresh(context: Context, refresh_token: str) -> Login:
    """Exchange a refresh token for new tokens of the same session.

    A token is good once, and for a moment more, in which it gives the same new token again: two tabs that renew at
    the same time both go on. Showing it later means that two have it, one of them a thief, so the session ends
    (OAuth 2.0 Security Best Current Practice, RFC 9700, section 4.14.2).

    Raises:
        InvalidRefreshToken: it is unknown, or its session is over.
        RefreshTokenReused: it was used before; the session has ended.
    """
    store, tokens = sessions_of(context.runtime), RefreshTokens(context.runtime.digests)
    session_id = tokens.session_of(refresh_token)
    digest = digest_token(refresh_token)
    settings = context.runtime.settings
    # At most once more: who lost against another renewal finds its token to be the one before.
    for _ in range(2):
        session = None if session_id is None else await store.find(context, session_id)
        account = None if session is None else await queries.find_living_account(context, session.account_id)
        if session is None or account is None:
            raise InvalidRefreshToken
        if session.refresh_digest == digest:
            renewed = tokens.new(session.id)
            rotated = await store.rotate(
                context,
                session,
                digest=digest_token(renewed),
                successor=tokens.seal(renewed, refresh_token),
                expires_at=_end_of(context, session.created_at),
            )
            if rotated:
                return _login(context, account, session.id, renewed)
            continue
        in_grace = context.now - session.refreshed_at <= timedelta(seconds=settings.accounts.refresh_grace_seconds)
        if session.previous_digest == digest and session.successor is not None and in_grace:
            return _login(context, account, session.id, tokens.unseal(session.successor, refresh_token))
        if session.previous_digest != digest and not tokens.is_genuine(refresh_token):
            # Made up by somebody who knows the id of the session: that must not end it.
            raise InvalidRefreshToken
        await _end(context, session.account_id, session.id)
        context.note(REUSED, object_type="session", object_id=str(session.id), account_id=session.account_id)
        raise RefreshTokenReused
    raise InvalidRefreshToken


async def list_sessions(context: ReadContext, account_id: UUID | None = None) -> list[Session]:
    """Return the sessions of the caller, or of another account for an operator, the newest first."""
    stored = await sessions_of(context.runtime).of_account(context, account_id or context.account_id)
    return [
        Session(
            each.id,
            each.device,
            each.address,
            each.methods,
            each.created_at,
            each.refreshed_at,
            each.expires_at,
            each.id == context.session_id,
        )
        for each in stored
    ]


async def log_out(context: Context) -> None:
    """End the session of the caller."""
    if context.principal is not None:
        await _end(context, context.principal.account_id, context.principal.session_id)


async def end_my_session(context: Context, session_id: UUID) -> None:
    """End one session of the caller.

    Raises:
        NotFound: there is none of this id, or it is somebody else's.
    """
    if not await _end(context, context.account_id, session_id):
        raise NotFound


async def end_sessions(context: Context, account_id: UUID, *, but: UUID | None = None) -> None:
    """End every session of an account, except perhaps one: their tokens are refused and their sockets cut."""
    _tell(context, await sessions_of(context.runtime).end_all(context, account_id, but=but))


async def end_other_sessions(context: Context) -> None:
    """End every session of the caller but the present one."""
    await end_sessions(context, context.account_id, but=context.session_id)


def require_recent_proof(context: ReadContext) -> None:
    """Go on only where the caller has proven lately who they are: for what is dangerous.

    Raises:
        Unauthenticated: nobody is signed in.
        StepUpNeeded: the last proof is too old.
    """
    context.account_id  # noqa: B018 - refuses who is not signed in
    principal = context.principal
    seconds = context.runtime.settings.accounts.step_up_seconds
    if principal is None or principal.by_api_key:
        raise StepUpNeeded("An API key proves nothing: a person has to log in for this.")
    if not rules.is_recent(principal.authenticated_at, context.now, seconds):
        raise StepUpNeeded


async def take_proof(context: Context, method: str) -> None:
    """Take note that the caller has just proven once more who they are, by this method."""
    principal = context.principal
    if principal is None:
        return
    methods = principal.methods if method in principal.methods else [*principal.methods, method]
    await sessions_of(context.runtime).prove(context, principal.session_id, methods)
    context.note(PROVEN, object_type="session", object_id=str(principal.session_id), keep_body=False, method=method)
    context.after_commit(context.runtime.identity.forget)


async def _end(context: Context, account_id: UUID, session_id: UUID) -> bool:
    """End one session; return whether there was one."""
    is_ended = await sessions_of(context.runtime).end(context, account_id, session_id)
    if is_ended:
        _tell(context, [session_id])
    return is_ended


def _tell(context: Context, ended: Sequence[UUID]) -> None:
    """Let every process forget sessions and cut their sockets at once. Where that is lost, they look every second."""
    if not ended:
        return
    for session_id in ended:
        context.note(ENDED, object_type="session", object_id=str(session_id), keep_body=False)
    runtime = context.runtime

    def tell() -> None:
        runtime.identity.forget()
        for session_id in ended:
            runtime.bus.publish(Signal(SESSIONS_CHANNEL, "ended", body=session_id.bytes))

    context.after_commit(tell)


def _end_of(context: Context, began: datetime) -> datetime:
    """Return when a session ends that is not used any more: it never outlives its longest time."""
    security = context.runtime.settings.security
    return min(
        context.now + timedelta(seconds=security.refresh_token_seconds),
        began + timedelta(seconds=security.session_seconds),
    )


async def _notice_device(context: Context, account: Account, arrival: Arrival) -> None:
    """Remember the browser, and tell the owner of an account that has not been used from it before."""
    # Without a secret of its own a client is known by what it calls itself.
    digest = challenges.digest_browser(arrival.browser or f"device:{arrival.device}")
    known = await queries.list_devices(context, account.id)
    await context.db.execute(_REMEMBER, account_id=account.id, browser_digest=digest, now=context.now)
    if known and digest not in known and account.email is not None:
        await mail(
            context, NEW_DEVICE, account, device=arrival.device or "?", address=arrival.address, time=context.now
        )


async def _open(context: Context, account: Account, arrival: Arrival, methods: Sequence[str]) -> Login:
    session_id = new_id()
    refresh_token = RefreshTokens(context.runtime.digests).new(session_id)
    await sessions_of(context.runtime).add(
        context,
        StoredSession(
            id=session_id,
            account_id=account.id,
            refresh_digest=digest_token(refresh_token),
            previous_digest=None,
            successor=None,
            device=arrival.device[:200],
            address=arrival.address[:64],
            methods=list(methods),
            created_at=context.now,
            authenticated_at=context.now,
            refreshed_at=context.now,
            expires_at=_end_of(context, context.now),
        ),
    )
    actor = (account.kind, account.id)
    context.note(
        OPENED,
        object_type="session",
        object_id=str(session_id),
        actor=actor,
        keep_body=False,
        methods=list(methods),
    )
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
