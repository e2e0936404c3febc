"""Who is there: counted per connection, gone only after a moment of grace, right again after a process was killed.

An account is present on a topic while at least one of its connections listens to it, on any process. Every entry
has a time of expiry that its process puts off; what a killed process leaves behind runs out, and is told. What is
told is the state, not a change: hearing it twice does no harm.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID

import msgspec
import redis.asyncio as redis
import structlog
from redis.exceptions import RedisError
from typing_extensions import override

from courtyard.kernel.clock import Clock
from courtyard.kernel.events import Background, Dispatcher

log = structlog.get_logger()

TTL_SECONDS = 30.0
BEAT_SECONDS = 10.0
# Presence is a courtesy: nobody waits for its store longer than this.
ANSWER_SECONDS = 1.0
# Names are for small circles, such as those in a conversation; a longer list is cut.
MAX_PRESENT = 200
CHUNK = 1_000


class Entry(msgspec.Struct, frozen=True):
    """One connection that listens to a topic.

    Attributes:
        room: `workspace/topic`.
        account: the id of who is connected.
        connection: the id of the connection.
    """

    room: str
    account: str
    connection: str


class PresenceStore(Protocol):
    """Remembers entries by room. All methods are atomic, also between processes; times are in seconds."""

    async def enter(self, entry: Entry, now: float) -> bool:
        """Add an entry, or put off its expiry; return whether the account was not in the room before."""
        ...

    async def leave(self, entry: Entry, now: float) -> bool:
        """Remove an entry; return whether the account is not in the room any more."""
        ...

    async def present(self, room: str, now: float) -> list[str]:
        """Return the accounts that are in a room, at most `MAX_PRESENT`."""
        ...

    async def beat(self, entries: Sequence[Entry], until: float) -> list[Entry]:
        """Set the expiry of entries; return those that had to be added again."""
        ...

    async def expire(self, rooms: Iterable[str], now: float) -> list[tuple[str, str]]:
        """Remove what has run out; return room and account of those who are gone by that, each once in all."""
        ...


class MemoryPresence(PresenceStore):
    """The store of a single process."""

    def __init__(self) -> None:
        self._rooms: dict[str, dict[Entry, float]] = {}

    def _has(self, room: str, account: str) -> bool:
        return any(entry.account == account for entry in self._rooms.get(room, ()))

    @override
    async def enter(self, entry: Entry, now: float) -> bool:
        is_first = not self._has(entry.room, entry.account)
        self._rooms.setdefault(entry.room, {})[entry] = now + TTL_SECONDS
        return is_first

    @override
    async def leave(self, entry: Entry, now: float) -> bool:
        entries = self._rooms.get(entry.room, {})
        entries.pop(entry, None)
        if not entries:
            self._rooms.pop(entry.room, None)
        return not self._has(entry.room, entry.account)

    @override
    async def present(self, room: str, now: float) -> list[str]:
        entries = self._rooms.get(room, {})
        return sorted({entry.account for entry, expiry in entries.items() if expiry > now})[:MAX_PRESENT]

    @override
    async def beat(self, entries: Sequence[Entry], until: float) -> list[Entry]:
        added = [entry for entry in entries if entry not in self._rooms.get(entry.room, {})]
        for entry in entries:
            self._rooms.setdefault(entry.room, {})[entry] = until
        return added

    @override
    async def expire(self, rooms: Iterable[str], now: float) -> list[tuple[str, str]]:
        expired = [entry for room in rooms for entry, expiry in self._rooms.get(room, {}).items() if expiry <= now]
        gone = [(entry.room, entry.account) for entry in expired if await self.leave(entry, now)]
        return sorted(set(gone))


# A room is a sorted set of "account connection", by time of expiry.
_HAS_OTHER = """
local function present(account)
  for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if string.sub(member, 1, #account + 1) == account .. ' ' then return true end
  end
  return false
end
"""
_ENTER = (
    _HAS_OTHER
    + """
local was_there = present(ARGV[1])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1] .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return was_there and 0 or 1
"""
)
_LEAVE = (
    _HAS_OTHER
    + """
redis.call('ZREM', KEYS[1], ARGV[1] .. ' ' .. ARGV[2])
return present(ARGV[1]) and 0 or 1
"""
)
_EXPIRE = (
    _HAS_OTHER
    + """
local gone = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])) do
  redis.call('ZREM', KEYS[1], member)
  local account = string.match(member, '^(%S+)')
  if not present(account) then gone[#gone + 1] = account end
end
return gone
"""
)
# A room in which nothing has happened for so long goes as a whole, so nothing is left of a killed installation.
_ROOM_MILLISECONDS = int(TTL_SECONDS * 4_000)


class RedisPresence(PresenceStore):
    """The store of many processes.

    Args:
        client: shared with others.
        prefix: goes before every key.
    """

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client = client
        self._prefix = f"{prefix}:presence:"
        self._enter = client.register_script(_ENTER)
        self._leave = client.register_script(_LEAVE)
        self._expire = client.register_script(_EXPIRE)

    @override
    async def enter(self, entry: Entry, now: float) -> bool:
        arguments: list[str | float] = [entry.account, entry.connection, now + TTL_SECONDS, _ROOM_MILLISECONDS]
        return bool(await self._enter(keys=[self._prefix + entry.room], args=arguments))

    @override
    async def leave(self, entry: Entry, now: float) -> bool:
        arguments = [entry.account, entry.connection]
        return bool(await self._leave(keys=[self._prefix + entry.room], args=arguments))

    @override
    async def present(self, room: str, now: float) -> list[str]:
        members: list[Any] = await self._client.zrange(
            self._prefix + room, f"({now}", "+inf", byscore=True, offset=0, num=MAX_PRESENT * 4
        )
        return sorted({member.decode().partition(" ")[0] for member in members})[:MAX_PRESENT]

    @override
    async def beat(self, entries: Sequence[Entry], until: float) -> list[Entry]:
        added: list[Entry] = []
        for start in range(0, len(entries), CHUNK):
            chunk = entries[start : start + CHUNK]
            # Its commands are queued, whatever the library's types say.
            pipeline: Any = self._client.pipeline(transaction=False)
            for entry in chunk:
                pipeline.zadd(self._prefix + entry.room, {f"{entry.account} {entry.connection}": until})
            for room in {entry.room for entry in chunk}:
                pipeline.pexpire(self._prefix + room, _ROOM_MILLISECONDS)
            answers = await pipeline.execute()
            added += [entry for entry, is_new in zip(chunk, answers, strict=False) if is_new]
        return added

    @override
    async def expire(self, rooms: Iterable[str], now: float) -> list[tuple[str, str]]:
        names = list(rooms)
        gone: list[tuple[str, str]] = []
        for start in range(0, len(names), CHUNK):
            chunk = names[start : start + CHUNK]
            pipeline = self._client.pipeline(transaction=False)
            for room in chunk:
                await self._expire(keys=[self._prefix + room], args=[now], client=pipeline)
            answers = await pipeline.execute()
            gone += [
                (room, account.decode()) for room, answer in zip(chunk, answers, strict=True) for account in answer
            ]
        return gone


class PresenceChange(msgspec.Struct, frozen=True):
    """Whether somebody is there now."""

    workspace_id: UUID
    topic: str
    account_id: UUID
    present: bool


class Presence:
    """Keeps the store right for the connections of this process, and tells the rooms.

    Args:
        store: what all processes share.
        dispatcher: carries what is told.
        clock: the time; processes keep their clocks in step.
        grace_seconds: how long somebody who was cut off still counts as there.
    """

    def __init__(self, store: PresenceStore, dispatcher: Dispatcher, clock: Clock, grace_seconds: float) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._clock = clock
        self._grace = grace_seconds
        self._entries: set[Entry] = set()
        self._background = Background()

    def start(self) -> None:
        """Begin to put off the expiry of what is here, and to look for what has run out."""
        self._background.every(BEAT_SECONDS, self.beat)

    async def stop(self) -> None:
        """Leave the connections of this process to the others, which tell of those that do not come back in time."""
        await self._background.end()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._store.beat(list(self._entries), self._now() + self._grace)
        except (RedisError, OSError) as error:
            log.warning("presence.store_failed", error=str(error))
        self._entries.clear()

    async def enter(self, workspace_id: UUID, topic: str, account_id: UUID, connection: str) -> list[UUID]:
        """Count a connection in; return who is there, the newcomer included."""
        entry = Entry(f"{workspace_id}/{topic}", str(account_id), connection)
        now = self._now()
        self._entries.add(entry)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                is_first = await self._store.enter(entry, now)
                present = await self._store.present(entry.room, now)
        except (RedisError, OSError) as error:
            # Rather told twice than never. The next beat enters it.
            log.warning("presence.store_failed", error=str(error))
            is_first, present = True, [entry.account]
        if is_first:
            self._tell(entry.room, entry.account, present=True, skip=connection)
        return [UUID(account) for account in present]

    async def leave(self, workspace_id: UUID, topic: str, account_id: UUID, connection: str) -> None:
        """Count a connection out."""
        entry = Entry(f"{workspace_id}/{topic}", str(account_id), connection)
        if entry not in self._entries:
            return
        self._entries.discard(entry)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                is_gone = await self._store.leave(entry, self._now())
        except (RedisError, OSError) as error:
            # It runs out by itself, and is told then.
            log.warning("presence.store_failed", error=str(error))
            return
        if is_gone:
            self._tell(entry.room, entry.account, present=False)

    def lose(self, workspace_id: UUID, topic: str, account_id: UUID, connection: str) -> None:
        """Count a connection that was cut off out, after the grace."""
        self._background.spawn(self._leave_later(workspace_id, topic, account_id, connection))

    async def _leave_later(self, workspace_id: UUID, topic: str, account_id: UUID, connection: str) -> None:
        await asyncio.sleep(self._grace)
        await self.leave(workspace_id, topic, account_id, connection)

    def _tell(self, room: str, account: str, *, present: bool, skip: str = "") -> None:
        workspace, _, topic = room.partition("/")
        change = PresenceChange(UUID(workspace), topic, UUID(account), present)
        self._dispatcher.tell(change.workspace_id, topic, "presence", msgspec.json.encode(change), skip=skip)

    async def beat(self) -> None:
        """Put off the expiry of every connection here, tell of who has run out elsewhere, and undo what was lost."""
        entries, now = list(self._entries), self._now()
        for entry in await self._store.beat(entries, now + TTL_SECONDS):
            if entry in self._entries:
                self._tell(entry.room, entry.account, present=True)
            else:
                # It left while this was under way.
                await self._store.leave(entry, now)
        for room, account in await self._store.expire({entry.room for entry in entries}, now):
            self._tell(room, account, present=False)

    def _now(self) -> float:
        return self._clock.now().timestamp()
