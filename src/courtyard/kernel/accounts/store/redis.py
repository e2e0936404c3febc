"""Sessions in Redis.

A session is a hash, and the index of an account a sorted set of ids of sessions by their expiry. Both are changed by
one script, which Redis runs as one step. Both carry a time to live, so that nothing is left of what nobody ends; what
is over is told by its date all the same, because the clock of the servers is what counts. What an account may do, and
whether it is active, is asked of the main database.

A transaction of the main database and Redis do not commit together. Changes here are made at once, before the commit:
if that fails, a session was added whose tokens nobody was told, or one has ended for good although the rest of the
change was undone, or a refresh token was exchanged, and the one before still gives the new one for the time of grace.
Each of them is on the safe side; the other way round, somebody would be told that a session has ended that has not.

Scripts name keys that they find in the index, so this wants one Redis (with replicas, if need be) and no cluster, and
one that evicts nothing: `maxmemory-policy noeviction`.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any
from uuid import UUID

import msgspec
import redis.asyncio as redis
from redis.exceptions import NoScriptError, RedisError
from sqlalchemy import Uuid, bindparam, select
from typing_extensions import override

from courtyard.kernel.accounts.models import AccountRow
from courtyard.kernel.accounts.store.contract import SessionStore, StoredSession
from courtyard.kernel.context import Context, Principal, ReadContext
from courtyard.kernel.database import AnyOf, Prepared, ReadUnit
from courtyard.kernel.errors import Unavailable
from courtyard.kernel.runtime import Runtime

# How many sessions are asked for at once.
CHUNK = 1_000
# Requests wait for no longer than this; then they are answered with 503.
ANSWER_SECONDS = 2.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MILLISECOND = timedelta(milliseconds=1)


class _Script:
    """A script that Redis keeps under its digest."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: redis.Redis, keys: Sequence[str], *arguments: str | bytes | int) -> Any:  # noqa: ANN401
        """Run it as one step and return what it says."""
        # The library's types know neither bytes nor numbers as arguments.
        asked: Any = client
        try:
            return await asked.evalsha(self._digest, len(keys), *keys, *arguments)
        except NoScriptError:
            return await asked.eval(self._text, len(keys), *keys, *arguments)


# The index lives as long as the session that lives longest, also after the setting was made shorter.
_OUTLIVE = """
local function outlive(index, milliseconds)
  if redis.call('PTTL', index) < tonumber(milliseconds) then redis.call('PEXPIRE', index, milliseconds) end
end
"""
# KEYS: session, index. ARGV: id, now, expiry, milliseconds to live, then the fields of the session.
_ADD = _Script(
    _OUTLIVE
    + """
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
outlive(KEYS[2], ARGV[4])
"""
)
# KEYS: session, index. ARGV: id, now, expiry, milliseconds to live, digest that was seen, digest, successor.
_ROTATE = _Script(
    _OUTLIVE
    + """
local found = redis.call('HMGET', KEYS[1], 'refresh_digest', 'expires_at')
if found[1] ~= ARGV[5] or tonumber(found[2]) <= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'previous_digest', ARGV[5], 'refresh_digest', ARGV[6], 'successor', ARGV[7],
  'refreshed_at', ARGV[2], 'expires_at', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
outlive(KEYS[2], ARGV[4])
return 1
"""
)
# KEYS: session. ARGV: now, methods.
_PROVE = _Script(
    """
local expiry = redis.call('HGET', KEYS[1], 'expires_at')
if expiry and tonumber(expiry) > tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'authenticated_at', ARGV[1], 'methods', ARGV[2])
end
"""
)
# An entry of the index is taken out with the session that it names, and no session is ended that names another account.
# KEYS: session, index. ARGV: id, now, account.
_END = _Script(
    """
local found = redis.call('HMGET', KEYS[1], 'account_id', 'expires_at')
if found[1] ~= ARGV[3] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return tonumber(found[2]) > tonumber(ARGV[2]) and 1 or 0
"""
)
# KEYS: index. ARGV: id of the one that stays, now, account, what the names of sessions begin with.
_END_ALL = _Script(
    """
local ended = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if id ~= ARGV[1] then
    local session = ARGV[4] .. id
    local found = redis.call('HMGET', session, 'account_id', 'expires_at')
    if found[1] == ARGV[3] then
      redis.call('DEL', session)
      if tonumber(found[2]) > tonumber(ARGV[2]) then ended[#ended + 1] = id end
    end
    redis.call('ZREM', KEYS[1], id)
  end
end
return ended
"""
)
# KEYS: index. ARGV: now, what the names of sessions begin with.
_OF_ACCOUNT = _Script(
    """
local sessions = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[1], '+inf')) do
  sessions[#sessions + 1] = redis.call('HGETALL', ARGV[2] .. id)
end
return sessions
"""
)


class _Account(msgspec.Struct, frozen=True):
    id: UUID
    kind: str
    rights_epoch: int
    must_change_password: bool


_ACTIVE = select(*(getattr(AccountRow, name) for name in _Account.__struct_fields__)).where(
    AccountRow.disabled_at.is_(None)
)
_ACCOUNT = Prepared(_ACTIVE.where(AccountRow.id == bindparam("id", type_=Uuid(), required=True)), _Account)
_ACCOUNTS = Prepared(_ACTIVE.where(AnyOf(AccountRow.id.expression, "ids")), _Account)


class RedisSessions(SessionStore):
    """Sessions in the Redis of the installation."""

    @override
    async def add(self, context: Context, session: StoredSession) -> None:
        async with _redis(context.runtime) as (client, name):
            keys = [name("session", session.id), name("sessions", session.account_id)]
            fields = chain.from_iterable(_encode(session).items())
            await _ADD.run(client, keys, *_life(context, session.id, session.expires_at), *fields)

    @override
    async def find(self, context: ReadContext, session_id: UUID) -> StoredSession | None:
        session = await self._load(context.runtime, session_id)
        return session if session is not None and session.expires_at > context.now else None

    @override
    async def of_account(self, context: ReadContext, account_id: UUID) -> list[StoredSession]:
        async with _redis(context.runtime) as (client, name):
            found = await _OF_ACCOUNT.run(
                client, [name("sessions", account_id)], _micros(context.now), name("session", "")
            )
        # A session that Redis has let go of meanwhile is an empty hash.
        sessions = [_decode(dict(zip(each[::2], each[1::2], strict=True))) for each in found if each]
        return sorted(sessions, key=lambda session: session.id, reverse=True)

    @override
    async def rotate(
        self, context: Context, session: StoredSession, *, digest: bytes, successor: bytes, expires_at: datetime
    ) -> bool:
        async with _redis(context.runtime) as (client, name):
            keys = [name("session", session.id), name("sessions", session.account_id)]
            life = _life(context, session.id, expires_at)
            return bool(await _ROTATE.run(client, keys, *life, session.refresh_digest, digest, successor))

    @override
    async def prove(self, context: Context, session_id: UUID, methods: Sequence[str]) -> None:
        async with _redis(context.runtime) as (client, name):
            encoded = msgspec.json.encode(list(methods))
            await _PROVE.run(client, [name("session", session_id)], _micros(context.now), encoded)

    @override
    async def end(self, context: Context, account_id: UUID, session_id: UUID) -> bool:
        async with _redis(context.runtime) as (client, name):
            keys = [name("session", session_id), name("sessions", account_id)]
            return bool(await _END.run(client, keys, str(session_id), _micros(context.now), str(account_id)))

    @override
    async def end_all(self, context: Context, account_id: UUID, *, but: UUID | None = None) -> list[UUID]:
        async with _redis(context.runtime) as (client, name):
            ended = await _END_ALL.run(
                client,
                [name("sessions", account_id)],
                str(but or ""),
                _micros(context.now),
                str(account_id),
                name("session", ""),
            )
        return [UUID(session_id.decode()) for session_id in ended]

    @override
    async def principal(self, runtime: Runtime, session_id: UUID) -> Principal | None:
        session = await self._load(runtime, session_id)
        if session is None or session.expires_at <= runtime.clock.now():
            return None
        account = await ReadUnit(runtime.placement).first(_ACCOUNT, id=session.account_id)
        if account is None:
            return None
        return Principal(
            account_id=account.id,
            session_id=session.id,
            kind=account.kind,
            expires_at=session.expires_at,
            authenticated_at=session.authenticated_at,
            methods=session.methods,
            rights_epoch=account.rights_epoch,
            must_change_password=account.must_change_password,
        )

    @override
    async def living(self, runtime: Runtime, session_ids: Iterable[UUID]) -> Mapping[UUID, int]:
        unit, now = ReadUnit(runtime.placement), _micros(runtime.clock.now())
        living: dict[UUID, int] = {}
        remaining = iter(session_ids)
        while chunk := list(islice(remaining, CHUNK)):
            owners: dict[UUID, UUID] = {}
            async with _redis(runtime) as (client, name):
                # Its commands are queued, whatever the library's types say.
                pipeline: Any = client.pipeline(transaction=False)
                for session_id in chunk:
                    pipeline.hmget(name("session", session_id), "account_id", "expires_at")
                for session_id, (owner, expiry) in zip(chunk, await pipeline.execute(), strict=True):
                    if owner is not None and int(expiry) > now:
                        owners[session_id] = UUID(owner.decode())
            epochs = {each.id: each.rights_epoch for each in await unit.all(_ACCOUNTS, ids=list(set(owners.values())))}
            living.update({each: epochs[owner] for each, owner in owners.items() if owner in epochs})
        return living

    @override
    async def prune(self, context: Context, before: datetime, limit: int) -> int:
        # Redis lets go of what is over by itself.
        return 0

    @staticmethod
    async def _load(runtime: Runtime, session_id: UUID) -> StoredSession | None:
        async with _redis(runtime) as (client, name):
            asked: Any = client
            found = await asked.hgetall(name("session", session_id))
        return _decode(found) if found else None


class _Names:
    """Names of keys, behind the prefix of the installation."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __call__(self, kind: str, known_by: UUID | str) -> str:
        return f"{self._prefix}:{kind}:{known_by}"


@asynccontextmanager
async def _redis(runtime: Runtime) -> AsyncIterator[tuple[redis.Redis, _Names]]:
    """Yield the client and the names of keys.

    Raises:
        Unavailable: Redis does not answer, or refuses.
    """
    client = runtime.redis
    if client is None:
        raise RuntimeError("sessions are to be kept in Redis, and there is none")
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            yield client, _Names(runtime.settings.redis.prefix)
    except (RedisError, OSError) as error:
        raise Unavailable("The store of the sessions does not answer.") from error


def _life(context: ReadContext, session_id: UUID, expires_at: datetime) -> tuple[str, int, int, int]:
    """Return id, now, expiry, and how many milliseconds there are between, as the scripts want them."""
    milliseconds = max(1, (expires_at - context.now) // _MILLISECOND)
    return str(session_id), _micros(context.now), _micros(expires_at), milliseconds


def _micros(moment: datetime) -> int:
    # Whole numbers up to 2^53 are exact in Lua and in the scores of a sorted set: that is the year 2255.
    return (moment - _EPOCH) // _MICROSECOND


def _moment(micros: bytes) -> datetime:
    return _EPOCH + int(micros) * _MICROSECOND


def _encode(session: StoredSession) -> dict[str, str | bytes | int]:
    return {
        "id": str(session.id),
        "account_id": str(session.account_id),
        "refresh_digest": session.refresh_digest,
        "previous_digest": session.previous_digest or b"",
        "successor": session.successor or b"",
        "device": session.device,
        "address": session.address,
        "methods": msgspec.json.encode(session.methods),
        "created_at": _micros(session.created_at),
        "authenticated_at": _micros(session.authenticated_at),
        "refreshed_at": _micros(session.refreshed_at),
        "expires_at": _micros(session.expires_at),
    }


def _decode(fields: Mapping[bytes, bytes]) -> StoredSession:
    return StoredSession(
        id=UUID(fields[b"id"].decode()),
        account_id=UUID(fields[b"account_id"].decode()),
        refresh_digest=fields[b"refresh_digest"],
        previous_digest=fields[b"previous_digest"] or None,
        successor=fields[b"successor"] or None,
        device=fields[b"device"].decode(),
        address=fields[b"address"].decode(),
        methods=msgspec.json.decode(fields[b"methods"], type=list[str]),
        created_at=_moment(fields[b"created_at"]),
        authenticated_at=_moment(fields[b"authenticated_at"]),
        refreshed_at=_moment(fields[b"refreshed_at"]),
        expires_at=_moment(fields[b"expires_at"]),
    )
