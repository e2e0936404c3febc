"""Sessions in the main database."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from uuid import UUID

import msgspec
from sqlalchemy import Integer, LargeBinary, Uuid, bindparam, delete, null, select, update
from typing_extensions import override

from courtyard.kernel.accounts.models import AccountRow, SessionRow
from courtyard.kernel.accounts.store.contract import SessionStore, StoredSession
from courtyard.kernel.context import Context, Principal, ReadContext
from courtyard.kernel.database import AnyOf, Json, Prepared, ReadUnit, UtcDateTime
from courtyard.kernel.runtime import Runtime

# How many sessions are asked for at once.
CHUNK = 1_000
_NO_SESSION = UUID(int=0)

_ID = bindparam("id", type_=Uuid(), required=True)
_ACCOUNT_ID = bindparam("account_id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_UNENDED = (SessionRow.revoked_at.is_(None), SessionRow.expires_at > _NOW)
_ALIVE = (*_UNENDED, AccountRow.disabled_at.is_(None))
_STORED = select(*(getattr(SessionRow, name) for name in StoredSession.__struct_fields__)).where(*_UNENDED)

_BY_ID = Prepared(_STORED.where(SessionRow.id == _ID), StoredSession)
_OF_ACCOUNT = Prepared(
    _STORED.where(SessionRow.account_id == _ACCOUNT_ID).order_by(SessionRow.id.desc()), StoredSession
)
_ROTATE = Prepared(
    update(SessionRow)
    .where(SessionRow.id == _ID, SessionRow.refresh_digest == bindparam("seen", type_=LargeBinary(), required=True))
    .where(*_UNENDED)
    .values(
        refresh_digest=bindparam("digest", type_=LargeBinary(), required=True),
        previous_digest=SessionRow.refresh_digest,
        successor=bindparam("new_successor", type_=LargeBinary(), required=True),
        refreshed_at=_NOW,
        expires_at=bindparam("new_expires_at", type_=UtcDateTime(), required=True),
    )
)
_PROVE = Prepared(
    update(SessionRow)
    .where(SessionRow.id == _ID, *_UNENDED)
    .values(authenticated_at=_NOW, methods=bindparam("new_methods", type_=Json(), required=True))
)
# With its expiry, so that one index finds everything that is over.
_ENDED = {"revoked_at": _NOW, "expires_at": _NOW}
_END = Prepared(
    update(SessionRow).where(SessionRow.id == _ID, SessionRow.account_id == _ACCOUNT_ID, *_UNENDED).values(_ENDED)
)
_END_ALL = Prepared(
    update(SessionRow)
    .where(
        SessionRow.account_id == _ACCOUNT_ID,
        SessionRow.id != bindparam("but", type_=Uuid(), required=True),
        *_UNENDED,
    )
    .values(_ENDED)
    .returning(SessionRow.id),
    UUID,
)
_PRUNE = Prepared(
    delete(SessionRow).where(
        SessionRow.id.in_(
            select(SessionRow.id)
            .where(SessionRow.expires_at < _NOW)
            .limit(bindparam("limit", type_=Integer(), required=True))
        )
    )
)
_PRINCIPAL = Prepared(
    select(
        AccountRow.id.label("account_id"),
        SessionRow.id.label("session_id"),
        AccountRow.kind,
        SessionRow.expires_at,
        SessionRow.authenticated_at,
        SessionRow.methods,
        AccountRow.rights_epoch,
        AccountRow.must_change_password,
        null().label("scopes"),
    )
    .join(AccountRow, AccountRow.id == SessionRow.account_id)
    .where(SessionRow.id == _ID, *_ALIVE),
    Principal,
)


class _Living(msgspec.Struct, frozen=True):
    id: UUID
    rights_epoch: int


_LIVING = Prepared(
    select(SessionRow.id, AccountRow.rights_epoch)
    .join(AccountRow, AccountRow.id == SessionRow.account_id)
    .where(AnyOf(SessionRow.id.expression, "ids"), *_ALIVE),
    _Living,
)


class DatabaseSessions(SessionStore):
    """Sessions in the main database, in the transaction of the context."""

    @override
    async def add(self, context: Context, session: StoredSession) -> None:
        await context.db.insert(SessionRow, **msgspec.structs.asdict(session))

    @override
    async def find(self, context: ReadContext, session_id: UUID) -> StoredSession | None:
        return await context.db.first(_BY_ID, id=session_id, now=context.now)

    @override
    async def of_account(self, context: ReadContext, account_id: UUID) -> list[StoredSession]:
        return await context.db.all(_OF_ACCOUNT, account_id=account_id, now=context.now)

    @override
    async def rotate(
        self, context: Context, session: StoredSession, *, digest: bytes, successor: bytes, expires_at: datetime
    ) -> bool:
        changed = await context.db.execute(
            _ROTATE,
            id=session.id,
            seen=session.refresh_digest,
            digest=digest,
            new_successor=successor,
            new_expires_at=expires_at,
            now=context.now,
        )
        return changed == 1

    @override
    async def prove(self, context: Context, session_id: UUID, methods: Sequence[str]) -> None:
        await context.db.execute(_PROVE, id=session_id, new_methods=list(methods), now=context.now)

    @override
    async def end(self, context: Context, account_id: UUID, session_id: UUID) -> bool:
        return await context.db.execute(_END, id=session_id, account_id=account_id, now=context.now) == 1

    @override
    async def end_all(self, context: Context, account_id: UUID, *, but: UUID | None = None) -> list[UUID]:
        return await context.db.all(_END_ALL, account_id=account_id, but=but or _NO_SESSION, now=context.now)

    @override
    async def principal(self, runtime: Runtime, session_id: UUID) -> Principal | None:
        return await ReadUnit(runtime.placement).first(_PRINCIPAL, id=session_id, now=runtime.clock.now())

    @override
    async def living(self, runtime: Runtime, session_ids: Iterable[UUID]) -> Mapping[UUID, int]:
        unit, now = ReadUnit(runtime.placement), runtime.clock.now()
        living: dict[UUID, int] = {}
        remaining = iter(session_ids)
        while chunk := list(islice(remaining, CHUNK)):
            living.update({each.id: each.rights_epoch for each in await unit.all(_LIVING, ids=chunk, now=now)})
        return living

    @override
    async def prune(self, context: Context, before: datetime, limit: int) -> int:
        return await context.db.execute(_PRUNE, now=before, limit=limit)
