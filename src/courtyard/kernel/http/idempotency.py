"""`Idempotency-Key`: the same request under the same key is carried out once, and answered the same each time.

The key is written first and its answer last, in the transaction of the change. Two requests with one key at once:
the database lets the second wait for the first. A refused request leaves no key, so it can be corrected and sent
again.
"""

from typing import Any
from uuid import UUID

import msgspec
from litestar import Request
from sqlalchemy import LargeBinary, String, Uuid, bindparam, select
from sqlalchemy.dialects.postgresql import insert as insert_unless_taken

from courtyard.kernel.context import Context
from courtyard.kernel.database import WORKSPACE, Prepared, UtcDateTime
from courtyard.kernel.errors import FieldError, InvalidInput
from courtyard.kernel.http.errors import IdempotencyKeyReused
from courtyard.kernel.http.models import IdempotencyKeyRow

HEADER = "idempotency-key"
MAX_LENGTH = 255
PURPOSE = "idempotency"
# Keys of callers who are not signed in, such as one who registers.
NOBODY = UUID(int=0)

_KEY = (
    IdempotencyKeyRow.workspace_id == WORKSPACE,
    IdempotencyKeyRow.account_id == bindparam("account_id", type_=Uuid(), required=True),
    IdempotencyKeyRow.key == bindparam("key", type_=String(), required=True),
)
_CLAIM = Prepared(
    insert_unless_taken(IdempotencyKeyRow)
    .values(
        workspace_id=WORKSPACE,
        account_id=bindparam("account_id", type_=Uuid(), required=True),
        key=bindparam("key", type_=String(), required=True),
        fingerprint=bindparam("fingerprint", type_=LargeBinary(), required=True),
        status=0,
        body=b"",
        created_at=bindparam("now", type_=UtcDateTime(), required=True),
    )
    .on_conflict_do_nothing()
)


class StoredAnswer(msgspec.Struct, frozen=True):
    """The answer that a key got."""

    fingerprint: bytes
    status: int
    body: bytes


_ANSWER = Prepared(
    select(IdempotencyKeyRow.fingerprint, IdempotencyKeyRow.status, IdempotencyKeyRow.body).where(*_KEY), StoredAnswer
)


def key_of(request: Request[Any, Any, Any]) -> str | None:
    """Return the key that a request carries.

    Raises:
        InvalidInput: it is empty, too long, or not visible ASCII.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not 0 < len(key) <= MAX_LENGTH or not all("!" <= character <= "~" for character in key):
        message = f"must be 1 to {MAX_LENGTH} visible ASCII characters"
        raise InvalidInput(errors=[FieldError(message, parameter="Idempotency-Key")])
    return key


async def claim(context: Context, request: Request[Any, Any, Any], key: str) -> StoredAnswer | None:
    """Take a key for this request, or return the answer that the same request got before.

    Raises:
        IdempotencyKeyReused: another request has it.
    """
    content = b"\n".join((request.method.encode(), request.scope["raw_path"], await request.body()))
    # Keyed, because a body can hold a password and the digest of a guess would tell it.
    fingerprint = context.runtime.signer.digest(PURPOSE, content)
    account_id = _account_of(context)
    if await context.db.execute(_CLAIM, account_id=account_id, key=key, fingerprint=fingerprint, now=context.now):
        return None
    answer = await context.db.one(_ANSWER, account_id=account_id, key=key)
    if not context.runtime.signer.matches(PURPOSE, content, answer.fingerprint):
        raise IdempotencyKeyReused
    return answer


async def keep(context: Context, key: str, status: int, body: bytes) -> None:
    """Store the answer under the key that was claimed."""
    where = {"account_id": _account_of(context), "key": key}
    await context.db.update(IdempotencyKeyRow, where, status=status, body=body)


def _account_of(context: Context) -> UUID:
    return NOBODY if context.principal is None else context.principal.account_id
