"""What every store of sessions promises, and what is Redis' own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias
from uuid import UUID

import httpx2
import msgspec
import pytest
from sqlalchemy import func, select

from courtyard.kernel.accounts import sessions_of
from courtyard.kernel.accounts.models import AccountRow, SessionRow
from courtyard.kernel.accounts.store import SessionStore, StoredSession
from courtyard.kernel.database import Prepared, ReadUnit
from courtyard.kernel.errors import Unavailable
from courtyard.kernel.ids import new_id
from tests.conftest import ServerFactory
from tests.factories import Factory, Person, ok, problem
from tests.installations import Installation
from tests.processes import OwnRedis, own_redis
from tests.running import MovableClock, make_settings
from tests.services import Databases, Kind, RedisSpace

StoreKind: TypeAlias = Literal["database", "redis"]
HOUR = timedelta(hours=1)


@pytest.fixture(params=["database", pytest.param("redis", marks=pytest.mark.services)])
def store_kind(request: pytest.FixtureRequest) -> StoreKind:
    """Where the sessions are kept."""
    kind: StoreKind = request.param
    return kind


@pytest.fixture
async def here(
    databases: Databases, database_kind: Kind, store_kind: StoreKind, clock: MovableClock
) -> AsyncIterator[Installation]:
    """A process."""
    url = await databases.shared(database_kind)
    sections: dict[str, dict[str, Any]] = {"accounts": {"session_store": store_kind}}
    async with AsyncExitStack() as stack:
        if store_kind == "redis":
            space = RedisSpace()
            await space.check()
            stack.push_async_callback(space.clear)
            sections["redis"] = {"url": space.url, "prefix": space.prefix}
        installation = Installation(make_settings(databases.data_dir(url), url, **sections), clock)
        stack.push_async_callback(installation.runtime.close)
        yield installation


@pytest.fixture
def store(here: Installation) -> SessionStore:
    """The store of the process."""
    return sessions_of(here.runtime)


def session_of(here: Installation, account_id: UUID, **changes: Any) -> StoredSession:
    now = here.runtime.clock.now()
    session = StoredSession(
        id=new_id(),
        account_id=account_id,
        refresh_digest=b"\x00first\xff",
        previous_digest=None,
        successor=None,
        device="Mozilla/5.0 (ÿ)",
        address="192.0.2.0/24",
        methods=["password"],
        created_at=now,
        authenticated_at=now,
        refreshed_at=now,
        expires_at=now + HOUR,
    )
    return msgspec.structs.replace(session, **changes)


async def added(here: Installation, store: SessionStore, account_id: UUID, **changes: Any) -> StoredSession:
    session = session_of(here, account_id, **changes)
    async with here.context() as context:
        await store.add(context, session)
    return session


async def found(here: Installation, store: SessionStore, session: StoredSession) -> StoredSession | None:
    async with here.context() as context:
        return await store.find(context, session.id)


async def listed(here: Installation, store: SessionStore, account_id: UUID) -> list[UUID]:
    async with here.context() as context:
        return [session.id for session in await store.of_account(context, account_id)]


async def rotated(here: Installation, store: SessionStore, session: StoredSession, digest: bytes = b"second") -> bool:
    async with here.context() as context:
        expires_at = context.now + HOUR
        return await store.rotate(context, session, digest=digest, successor=b"sealed", expires_at=expires_at)


async def test_a_session_is_kept_as_it_is(here: Installation, store: SessionStore) -> None:
    account_id = await here.account()
    session = await added(here, store, account_id)
    assert await found(here, store, session) == session
    async with here.context() as context:
        assert await store.of_account(context, account_id) == [session]


async def test_sessions_are_listed_by_account_the_newest_first(here: Installation, store: SessionStore) -> None:
    ada, bob = await here.account(), await here.account()
    first = await added(here, store, ada)
    others = await added(here, store, bob)
    second = await added(here, store, ada)
    assert await listed(here, store, ada) == [second.id, first.id]
    assert await listed(here, store, bob) == [others.id]
    assert await listed(here, store, await here.account()) == []


async def test_what_has_expired_is_as_if_it_had_never_been(
    here: Installation, store: SessionStore, clock: MovableClock
) -> None:
    account_id = await here.account()
    session = await added(here, store, account_id)
    clock.move(hours=1)
    assert await found(here, store, session) is None
    assert await listed(here, store, account_id) == []
    assert await store.principal(here.runtime, session.id) is None
    assert await store.living(here.runtime, [session.id]) == {}
    assert not await rotated(here, store, session)
    async with here.context() as context:
        await store.prove(context, session.id, ["passkey"])
        assert not await store.end(context, account_id, session.id)
        assert await store.end_all(context, account_id) == []
    assert await found(here, store, session) is None


async def test_a_rotation_puts_the_new_token_in_the_place_of_the_old(
    here: Installation, store: SessionStore, clock: MovableClock
) -> None:
    session = await added(here, store, await here.account())
    clock.move(minutes=30)
    assert await rotated(here, store, session)
    changed = await found(here, store, session)
    assert changed is not None
    assert (changed.refresh_digest, changed.previous_digest, changed.successor) == (
        b"second",
        session.refresh_digest,
        b"sealed",
    )
    assert changed.refreshed_at - session.refreshed_at >= timedelta(minutes=30)
    assert changed.created_at == session.created_at
    clock.move(minutes=45)
    assert await found(here, store, session) == changed
    assert await listed(here, store, session.account_id) == [session.id]


async def test_a_token_that_was_replaced_is_not_replaced_again(here: Installation, store: SessionStore) -> None:
    session = await added(here, store, await here.account())
    assert await rotated(here, store, session)
    changed = await found(here, store, session)
    assert not await rotated(here, store, session, b"third")
    assert await found(here, store, session) == changed


async def test_of_many_rotations_at_once_one_succeeds(here: Installation, store: SessionStore) -> None:
    session = await added(here, store, await here.account())
    digests = [b"%d" % number for number in range(8)]
    outcomes = await asyncio.gather(*(rotated(here, store, session, digest) for digest in digests))
    assert sorted(outcomes) == [*[False] * 7, True]
    changed = await found(here, store, session)
    assert changed is not None
    assert changed.refresh_digest == digests[outcomes.index(True)]


async def test_a_rotation_and_an_end_at_once_leave_it_ended(here: Installation, store: SessionStore) -> None:
    for _ in range(10):
        session = await added(here, store, await here.account())

        async def end(session: StoredSession = session) -> None:
            async with here.context() as context:
                assert await store.end(context, session.account_id, session.id)

        await asyncio.gather(rotated(here, store, session), end())
        assert await found(here, store, session) is None
        assert await listed(here, store, session.account_id) == []


async def test_a_proof_is_noted(here: Installation, store: SessionStore, clock: MovableClock) -> None:
    session = await added(here, store, await here.account())
    clock.move(minutes=5)
    async with here.context() as context:
        await store.prove(context, session.id, ["password", "totp"])
    principal = await store.principal(here.runtime, session.id)
    assert principal is not None
    assert principal.methods == ["password", "totp"]
    assert principal.authenticated_at - session.authenticated_at >= timedelta(minutes=5)


async def test_an_end_is_once_and_for_the_account_that_owns_it(here: Installation, store: SessionStore) -> None:
    ada, bob = await here.account(), await here.account()
    session = await added(here, store, ada)
    async with here.context() as context:
        assert not await store.end(context, bob, session.id)
        assert not await store.end(context, ada, new_id())
    assert await listed(here, store, ada) == [session.id]
    async with here.context() as context:
        assert await store.end(context, ada, session.id)
    async with here.context() as context:
        assert not await store.end(context, ada, session.id)
    assert await found(here, store, session) is None
    assert await listed(here, store, ada) == []
    assert await store.principal(here.runtime, session.id) is None


async def test_all_but_one_end(here: Installation, store: SessionStore) -> None:
    ada, bob = await here.account(), await here.account()
    mine = [await added(here, store, ada) for _ in range(4)]
    others = await added(here, store, bob)
    async with here.context() as context:
        ended = await store.end_all(context, ada, but=mine[1].id)
    assert set(ended) == {mine[0].id, mine[2].id, mine[3].id}
    assert await listed(here, store, ada) == [mine[1].id]
    async with here.context() as context:
        # One that stays only for its owner.
        assert await store.end_all(context, ada, but=others.id) == [mine[1].id]
        assert await store.end_all(context, ada) == []
    assert await listed(here, store, ada) == []
    assert await listed(here, store, bob) == [others.id]


async def test_who_logs_in_while_all_sessions_end_is_listed_or_gone(here: Installation, store: SessionStore) -> None:
    account_id = await here.account()

    async def end_all() -> None:
        async with here.context() as context:
            await store.end_all(context, account_id)

    for _ in range(5):
        sessions, *_ = await asyncio.gather(
            asyncio.gather(*(added(here, store, account_id) for _ in range(4))), end_all(), end_all()
        )
        alive = {session.id for session in sessions if await found(here, store, session) is not None}
        assert set(await listed(here, store, account_id)) == alive
        await end_all()
        assert [await found(here, store, session) for session in sessions] == [None] * 4


async def test_a_session_stands_for_its_account_as_it_is_now(here: Installation, store: SessionStore) -> None:
    account_id = await here.account(kind="visitor")
    session = await added(here, store, account_id)
    principal = await store.principal(here.runtime, session.id)
    assert principal is not None
    assert (principal.account_id, principal.session_id, principal.kind) == (account_id, session.id, "visitor")
    assert (principal.expires_at, principal.methods) == (session.expires_at, ["password"])
    assert (principal.rights_epoch, principal.must_change_password, principal.scopes) == (0, False, None)
    async with here.context() as context:
        await context.db.update(AccountRow, {"id": account_id}, rights_epoch=7, must_change_password=True)
    principal = await store.principal(here.runtime, session.id)
    assert principal is not None
    assert (principal.rights_epoch, principal.must_change_password) == (7, True)
    assert await store.living(here.runtime, [session.id]) == {session.id: 7}
    async with here.context() as context:
        await context.db.update(AccountRow, {"id": account_id}, disabled_at=context.now)
    assert await store.principal(here.runtime, session.id) is None
    assert await store.living(here.runtime, [session.id]) == {}


async def test_many_sessions_are_asked_for_at_once(here: Installation, store: SessionStore) -> None:
    ada, bob = await here.account(rights_epoch=1), await here.account(rights_epoch=2)
    async with here.context() as context:
        sessions = [session_of(here, ada if number % 2 else bob) for number in range(1_200)]
        for session in sessions:
            await store.add(context, session)
    unknown = [new_id() for _ in range(1_200)]
    expected = {session.id: 1 if session.account_id == ada else 2 for session in sessions}
    assert await store.living(here.runtime, [*expected, *unknown]) == expected
    assert await store.living(here.runtime, []) == {}


async def test_what_fails_after_an_end_never_brings_tokens_back_that_were_told_to_be_dead(
    here: Installation, store: SessionStore, store_kind: StoreKind
) -> None:
    """The transaction of the database is undone; what Redis has done stays, and that is the safe side."""
    account_id = await here.account()
    session = await added(here, store, account_id)
    new = session_of(here, account_id)

    async def fail() -> None:
        async with here.context() as context:
            await store.end(context, account_id, session.id)
            await store.add(context, new)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    # In Redis: one has ended, and one is there whose token nobody was told.
    assert await listed(here, store, account_id) == ([session.id] if store_kind == "database" else [new.id])


async def test_what_is_long_over_is_removed_in_portions(
    here: Installation, store: SessionStore, clock: MovableClock, store_kind: StoreKind
) -> None:
    account_id = await here.account()
    sessions = [await added(here, store, account_id) for _ in range(5)]
    async with here.context() as context:
        await store.end(context, account_id, sessions[0].id)
    clock.move(days=3)
    lasting = await added(here, store, account_id)
    rows = Prepared(select(func.count()).select_from(SessionRow).where(SessionRow.account_id == account_id), int)

    async def prune(limit: int) -> int:
        async with here.context() as context:
            return await store.prune(context, context.now - timedelta(days=1), limit)

    if store_kind == "redis":
        assert await prune(100) == 0
        return
    assert await prune(2) == 2
    while await prune(100):
        pass
    assert await ReadUnit(here.runtime.placement).one(rows) == 1
    assert await listed(here, store, account_id) == [lasting.id]


@pytest.mark.services
class TestRedis:
    """What is Redis' own."""

    @pytest.fixture
    def store_kind(self) -> StoreKind:
        """Redis alone."""
        return "redis"

    async def test_nothing_stays_for_ever(self, here: Installation, store: SessionStore) -> None:
        account_id = await here.account()
        session = await added(here, store, account_id)
        await rotated(here, store, session)
        short = await added(here, store, account_id, expires_at=here.runtime.clock.now() + timedelta(minutes=1))
        redis, prefix = here.runtime.redis, here.runtime.settings.redis.prefix
        assert redis is not None
        # The index lives as long as the session that lives longest.
        for key, seconds in (
            (f"{prefix}:session:{session.id}", 3_600),
            (f"{prefix}:session:{short.id}", 60),
            (f"{prefix}:sessions:{account_id}", 3_600),
        ):
            assert seconds - 30 < await redis.ttl(key) <= seconds

    async def test_the_index_lets_go_of_what_is_over(
        self, here: Installation, store: SessionStore, clock: MovableClock
    ) -> None:
        account_id = await here.account()
        for _ in range(3):
            await added(here, store, account_id)
        clock.move(hours=2)
        last = await added(here, store, account_id)
        redis, prefix = here.runtime.redis, here.runtime.settings.redis.prefix
        assert redis is not None
        assert await redis.zrange(f"{prefix}:sessions:{account_id}", 0, -1) == [str(last.id).encode()]

    async def test_an_entry_that_outlived_its_session_ends_nobody_elses(
        self, here: Installation, store: SessionStore
    ) -> None:
        """The race of the ancestor, brought about by hand: the index of Ada names a session that is Bob's."""
        ada, bob = await here.account(), await here.account()
        mine, his = await added(here, store, ada), await added(here, store, bob)
        redis, prefix = here.runtime.redis, here.runtime.settings.redis.prefix
        assert redis is not None
        await redis.zadd(f"{prefix}:sessions:{ada}", {str(his.id): 1e18})
        async with here.context() as context:
            assert not await store.end(context, ada, his.id)
            assert await store.end_all(context, ada) == [mine.id]
        assert await found(here, store, his) == his
        assert await listed(here, store, bob) == [his.id]

    async def test_a_store_that_is_away_is_never_a_session_that_is_over(
        self, databases: Databases, database_kind: Kind, clock: MovableClock, tmp_path: Path
    ) -> None:
        url = await databases.shared(database_kind)
        async with own_redis(tmp_path) as redis:
            sections = {"accounts": {"session_store": "redis"}, "redis": {"url": redis.url}}
            here = Installation(make_settings(databases.data_dir(url), url, **sections), clock)
            store, account_id = sessions_of(here.runtime), await here.account()
            session = await added(here, store, account_id)
            await redis.kill()

            async def prove() -> None:
                async with here.context() as context:
                    await store.prove(context, session.id, [])

            async def end() -> None:
                async with here.context() as context:
                    await store.end(context, account_id, session.id)

            async def end_all() -> None:
                async with here.context() as context:
                    await store.end_all(context, account_id)

            for attempt in (
                added(here, store, account_id),
                found(here, store, session),
                listed(here, store, account_id),
                rotated(here, store, session),
                prove(),
                end(),
                end_all(),
                store.principal(here.runtime, session.id),
                store.living(here.runtime, [session.id]),
            ):
                with pytest.raises(Unavailable):
                    await attempt
            await here.runtime.close()

    @pytest.mark.slow
    async def test_people_stay_logged_in_while_redis_is_away(
        self, server_factory: ServerFactory, tmp_path: Path
    ) -> None:
        async with own_redis(tmp_path) as redis:
            server = await server_factory(accounts={"session_store": "redis"}, redis={"url": redis.url})
            make = Factory(server)
            person = await make.person()
            socket = await make.socket(person)
            for outage in (_pause, _kill_connections):
                await outage(redis)
                server.runtime.identity.forget()
                if outage is _pause:
                    answer = await person.http.get("/me")
                    problem(answer, 503, "unavailable")
                    assert int(answer.headers["Retry-After"]) >= 1
                    refresh = {"refresh_token": person.login["refresh_token"]}
                    problem(await make.nobody.post("/sessions/refresh", json=refresh), 503, "unavailable")
                await redis.resume()
                assert ok(await _again(person))["id"] == str(person.id)
                assert socket.client.connected
            await make.close()


async def _again(person: Person) -> httpx2.Response:
    """Ask until the server is whole again, as it says that one should."""
    async with asyncio.timeout(10):
        while True:
            answer = await person.http.get("/me")
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(0.05)


async def _pause(redis: OwnRedis) -> None:
    await redis.pause()


async def _kill_connections(redis: OwnRedis) -> None:
    await redis.kill_connections()
