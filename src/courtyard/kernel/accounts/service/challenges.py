"""What is sent out and must come back once: a link or a code in a mail, a question to an authenticator."""

from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy import Integer, LargeBinary, String, Uuid, bindparam, delete, or_, select, update

from courtyard.kernel.accounts.errors import InvalidChallenge
from courtyard.kernel.accounts.models import ChallengeRow
from courtyard.kernel.accounts.schemas import CodeProof, Proof
from courtyard.kernel.context import Context
from courtyard.kernel.crypto import digest_token, new_code, new_token
from courtyard.kernel.database import Prepared, UtcDateTime
from courtyard.kernel.ids import new_id

Purpose = Literal[
    "registration", "login", "email_change", "password_reset", "second_factor", "passkey_creation", "passkey_login",
    "passkey_proof", "oidc_login", "oidc_link",
]  # fmt: skip
TRIES = 5
CODE_PURPOSE = "challenge code"
BROWSER_PURPOSE = "browser"


class Issued(msgspec.Struct, frozen=True):
    """A challenge that was made. Its token and code are known here alone."""

    id: UUID
    token: str
    code: str


class Challenge(msgspec.Struct, frozen=True):
    """A challenge that was met."""

    id: UUID
    account_id: UUID | None
    code_digest: bytes | None
    data: dict[str, Any]
    created_at: datetime


_ID = bindparam("id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_BROWSER = bindparam("browser_digest", type_=LargeBinary(), required=True)
_TOKEN = ChallengeRow.token_digest == bindparam("token_digest", type_=LargeBinary(), required=True)
_OPEN = (
    ChallengeRow.purpose == bindparam("purpose", type_=String(), required=True),
    ChallengeRow.used_at.is_(None),
    ChallengeRow.tries_left > 0,
    ChallengeRow.expires_at > _NOW,
    or_(ChallengeRow.browser_digest.is_(None), ChallengeRow.browser_digest == _BROWSER),
)
_COLUMNS = (
    ChallengeRow.id,
    ChallengeRow.account_id,
    ChallengeRow.code_digest,
    ChallengeRow.data,
    ChallengeRow.created_at,
)
_USE_BY_TOKEN = Prepared(
    update(ChallengeRow).where(_TOKEN, *_OPEN).values(used_at=_NOW).returning(*_COLUMNS),
    Challenge,
)
# The try is counted before the code is looked at, so that of many at once no more are looked at than are left.
_COUNTED = update(ChallengeRow).values(tries_left=ChallengeRow.tries_left - 1).returning(*_COLUMNS)
_TRY = Prepared(_COUNTED.where(ChallengeRow.id == _ID, *_OPEN), Challenge)
_TRY_BY_TOKEN = Prepared(_COUNTED.where(_TOKEN, *_OPEN), Challenge)
_USE = Prepared(update(ChallengeRow).where(ChallengeRow.id == _ID, ChallengeRow.used_at.is_(None)).values(used_at=_NOW))
_VOID = Prepared(
    update(ChallengeRow)
    .where(
        ChallengeRow.account_id == bindparam("account_id", type_=Uuid(), required=True),
        ChallengeRow.used_at.is_(None),
    )
    .values(used_at=_NOW)
)
_PRUNE = Prepared(
    delete(ChallengeRow).where(
        ChallengeRow.id.in_(
            select(ChallengeRow.id)
            .where(ChallengeRow.expires_at < _NOW)
            .limit(bindparam("limit", type_=Integer(), required=True))
        )
    )
)


async def issue(
    context: Context,
    purpose: Purpose,
    *,
    seconds: int,
    account_id: UUID | None = None,
    browser: str | None = None,
    data: dict[str, Any] | None = None,
) -> Issued:
    """Make a challenge.

    Args:
        context: the transaction.
        purpose: what it proves; it proves nothing else.
        seconds: how long it can be met.
        account_id: whose it is.
        browser: the secret of the browser that alone may meet it; None for any.
        data: what is to be known when it is met.
    """
    issued = Issued(new_id(), new_token(), new_code())
    await context.db.insert(
        ChallengeRow,
        id=issued.id,
        purpose=purpose,
        account_id=account_id,
        token_digest=digest_token(issued.token),
        code_digest=_digest_code(context, issued.id, issued.code),
        browser_digest=digest_browser(browser),
        tries_left=TRIES,
        data=data or {},
        created_at=context.now,
        expires_at=context.now + timedelta(seconds=seconds),
    )
    return issued


async def redeem(context: Context, purpose: Purpose, proof: Proof, browser: str | None = None) -> Challenge:
    """Take what has come back: once, in time, from the right browser.

    Raises:
        InvalidChallenge: it is none of these; a wrong code is one try less.
    """
    bound = {"purpose": purpose, "now": context.now, "browser_digest": digest_browser(browser)}
    if not isinstance(proof, CodeProof):
        challenge = await context.db.first(_USE_BY_TOKEN, token_digest=digest_token(proof.token), **bound)
        if challenge is None:
            raise InvalidChallenge
        return challenge
    challenge = await context.db.first(_TRY, id=proof.challenge_id, **bound)
    if challenge is None or challenge.code_digest is None:
        raise InvalidChallenge
    is_right = context.runtime.signer.matches(
        CODE_PURPOSE, challenge.id.bytes + proof.code.encode(), challenge.code_digest
    )
    if not is_right or not await context.db.execute(_USE, id=challenge.id, now=context.now):
        raise InvalidChallenge
    return challenge


async def attempt(context: Context, purpose: Purpose, token: str, browser: str | None = None) -> Challenge:
    """Count a try at a challenge that stays open until `use`: what it asks for is looked at by the caller.

    Raises:
        InvalidChallenge: there is none, it is met, out of time or tries, or of another browser.
    """
    challenge = await context.db.first(
        _TRY_BY_TOKEN,
        token_digest=digest_token(token),
        purpose=purpose,
        now=context.now,
        browser_digest=digest_browser(browser),
    )
    if challenge is None:
        raise InvalidChallenge
    return challenge


async def use(context: Context, challenge_id: UUID) -> None:
    """Take note that a challenge was met.

    Raises:
        InvalidChallenge: it was met before.
    """
    if not await context.db.execute(_USE, id=challenge_id, now=context.now):
        raise InvalidChallenge


async def void(context: Context, account_id: UUID) -> None:
    """Make every open challenge of an account worthless."""
    await context.db.execute(_VOID, account_id=account_id, now=context.now)


async def prune(context: Context, before: datetime, limit: int) -> int:
    """Remove some of what expired before a moment; return how many there were, fewer than `limit` at the end."""
    return await context.db.execute(_PRUNE, now=before, limit=limit)


def digest_browser(browser: str | None) -> bytes | None:
    """Return what is kept of the secret of a browser."""
    return None if browser is None else digest_token(browser)


def _digest_code(context: Context, challenge_id: UUID, code: str) -> bytes:
    # Keyed, because a million codes are soon tried.
    return context.runtime.signer.digest(CODE_PURPOSE, challenge_id.bytes + code.encode())
