"""Two people log in, renew, log out and wait, in any order: on every store the sessions are those of a model.

The race of an ancestor, in which an entry of an index outlived its token and then ended somebody else's session, would
be found here: no session ends by what another account does, and the index is always equal to the living sessions.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from typing_extensions import override

from courtyard.kernel.accounts.errors import InvalidRefreshToken, RefreshTokenReused
from courtyard.kernel.accounts.rules import Arrival
from courtyard.kernel.accounts.schemas import Login
from courtyard.kernel.accounts.service import sessions
from courtyard.kernel.accounts.store import sessions_of
from courtyard.kernel.context import Principal
from courtyard.kernel.errors import NotFound, Unauthenticated
from tests.installations import Installation
from tests.running import MovableClock, make_settings
from tests.services import Databases, Kind, RedisSpace

T = TypeVar("T")
owners = st.integers(0, 1)
choices = st.integers(0, 999)
ACCESS = timedelta(minutes=10)
LIFE = timedelta(hours=1)
GRACE = timedelta(seconds=10)
ARRIVAL = Arrival("Firefox", "192.0.2.0/24", "browser")


class StillClock(MovableClock):
    """A clock that moves only when it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self._start = super().now().replace(microsecond=0)

    @override
    def now(self) -> datetime:
        """Return the time."""
        return self._start + self.offset


class World:
    """The process in which everything happens, driven from code that does not wait."""

    def __init__(self, databases: Databases, database_kind: Kind, store_kind: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._space = RedisSpace()
        self.clock = StillClock()
        sections: dict[str, dict[str, Any]] = {
            "accounts": {"session_store": store_kind, "refresh_grace_seconds": int(GRACE.total_seconds())},
            "security": {
                "access_token_seconds": int(ACCESS.total_seconds()),
                "refresh_token_seconds": int(LIFE.total_seconds()),
            },
        }
        if store_kind == "redis":
            self.run(self._space.check())
            sections["redis"] = {"url": self._space.url, "prefix": self._space.prefix}
        url = self.run(databases.new(database_kind))
        self.here = Installation(make_settings(databases.data_dir(url), url, **sections), self.clock)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something to its end."""
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        """Let go of everything."""
        self.run(self.here.runtime.close())
        self.run(self._space.clear())
        self._loop.close()


@dataclass
class Model:
    """A session as it should be."""

    id: UUID
    owner: int
    access: list[tuple[str, datetime]]
    refresh: str
    previous: str | None
    refreshed_at: datetime
    used: list[str] = field(default_factory=list)
    is_ended: bool = False

    def is_over(self, now: datetime) -> bool:
        return self.is_ended or self.refreshed_at + LIFE <= now


class Sessions(RuleBasedStateMachine):
    """What people do with their sessions."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.models: list[Model] = []
        self.accounts = [self.world.run(self.world.here.account()) for _ in range(2)]

    @property
    def now(self) -> datetime:
        return self.world.clock.now()

    @property
    def living(self) -> list[Model]:
        return [each for each in self.models if not each.is_over(self.now)]

    def principal(self, model: Model) -> Principal:
        return Principal(
            account_id=self.accounts[model.owner],
            session_id=model.id,
            kind="person",
            expires_at=model.refreshed_at + LIFE,
            authenticated_at=model.refreshed_at,
            methods=["password"],
            rights_epoch=0,
            must_change_password=False,
        )

    def keep(self, model: Model, login: Login) -> None:
        assert login.access_token is not None
        assert login.refresh_token is not None
        model.access.append((login.access_token, self.now + ACCESS))
        if login.refresh_token != model.refresh:
            if model.previous is not None:
                model.used.append(model.previous)
            model.previous, model.refresh, model.refreshed_at = model.refresh, login.refresh_token, self.now

    async def refresh(self, token: str) -> Login:
        async with self.world.here.context() as context:
            return await sessions.refresh(context, token)

    def outcome(self, token: str) -> Login | type[Exception]:
        try:
            return self.world.run(self.refresh(token))
        except (InvalidRefreshToken, RefreshTokenReused) as refusal:
            return type(refusal)

    def pick(self, choice: int) -> Model:
        """Return a session, three times out of four one that is not over.

        What two transactions at once come to is not the same in every run, so what is drawn must not depend on it.
        """
        among = self.living if choice % 4 and self.living else self.models
        return among[choice // 4 % len(among)]

    async def opened(self, owner: int) -> Login:
        async with self.world.here.context() as context:
            return await sessions.open_session(context, self.accounts[owner], ARRIVAL, ["password"])

    def taken_up(self, owner: int, login: Login) -> Model:
        assert login.access_token is not None
        assert login.refresh_token is not None
        session_id = self.world.here.runtime.tokens.verify(login.access_token, self.now).session_id
        model = Model(session_id, owner, [], login.refresh_token, None, self.now)
        self.keep(model, login)
        self.models.append(model)
        return model

    @initialize()
    def both_log_in(self) -> None:
        for owner in (0, 1):
            self.log_in(owner)

    @rule(owner=owners)
    def log_in(self, owner: int) -> None:
        self.taken_up(owner, self.world.run(self.opened(owner)))

    @rule(choice=choices)
    def renew(self, choice: int) -> None:
        self.renewed(self.pick(choice))

    def renewed(self, model: Model) -> None:
        outcome = self.outcome(model.refresh)
        if model.is_over(self.now):
            assert outcome is InvalidRefreshToken
        else:
            assert isinstance(outcome, Login)
            assert outcome.refresh_token != model.refresh
            self.keep(model, outcome)

    @rule(choice=choices, tabs=st.integers(2, 4))
    def renew_in_tabs_at_once(self, choice: int, tabs: int) -> None:
        model = self.pick(choice)

        async def renew_all() -> list[Login | BaseException]:
            return await asyncio.gather(*(self.refresh(model.refresh) for _ in range(tabs)), return_exceptions=True)

        outcomes = self.world.run(renew_all())
        if model.is_over(self.now):
            assert {type(outcome) for outcome in outcomes} == {InvalidRefreshToken}
            return
        logins = [outcome for outcome in outcomes if isinstance(outcome, Login)]
        assert len(logins) == tabs, outcomes
        assert len({login.refresh_token for login in logins}) == 1
        for login in logins:
            self.keep(model, login)

    @rule(choice=choices, seconds=st.sampled_from([0, 9, 10, 11, 300]))
    def show_the_token_before(self, choice: int, seconds: int) -> None:
        """Within the grace it gives the same successor; later it is the end of the session."""
        model = self.pick(choice)
        self.renewed(model)
        self.world.clock.move(seconds=seconds)
        if model.previous is None:
            return
        outcome = self.outcome(model.previous)
        if model.is_over(self.now):
            assert outcome is InvalidRefreshToken
        elif self.now - model.refreshed_at <= GRACE:
            assert isinstance(outcome, Login)
            assert outcome.refresh_token == model.refresh
            self.keep(model, outcome)
        else:
            assert outcome is RefreshTokenReused
            model.is_ended = True

    @rule(choice=choices)
    def show_a_token_of_long_ago(self, choice: int) -> None:
        model = self.pick(choice)
        self.renewed(model)
        self.renewed(model)
        if not model.used:
            return
        outcome = self.outcome(model.used[choice % len(model.used)])
        if model.is_over(self.now):
            assert outcome is InvalidRefreshToken
        else:
            assert outcome is RefreshTokenReused
            model.is_ended = True

    @rule(choice=choices, position=st.integers(0, 106), letter=st.sampled_from("AZaz09-_"))
    def make_a_token_up(self, choice: int, position: int, letter: str) -> None:
        """Who knows the id of a session, and no token of it, cannot end it."""
        model = self.pick(choice)
        token = model.refresh[:position] + letter + model.refresh[position + 1 :]
        if token != model.refresh:
            assert self.outcome(token) is InvalidRefreshToken

    @rule(choice=choices, other=choices)
    def end_one(self, choice: int, other: int) -> None:
        """Somebody ends a session by its id, their own or not."""
        model, by = self.pick(choice), self.pick(other)

        async def end() -> None:
            async with self.world.here.context(self.principal(by)) as context:
                await sessions.end_my_session(context, model.id)

        if model.owner == by.owner and not model.is_over(self.now):
            self.world.run(end())
            model.is_ended = True
        else:
            with pytest.raises(NotFound):
                self.world.run(end())

    @rule(choice=choices, what=st.sampled_from(["this", "others", "all"]))
    def log_out(self, choice: int, what: str) -> None:
        model = self.pick(choice)

        async def log_out() -> None:
            async with self.world.here.context(self.principal(model)) as context:
                if what == "this":
                    await sessions.log_out(context)
                elif what == "others":
                    await sessions.end_other_sessions(context)
                else:
                    await sessions.end_sessions(context, model_account)

        model_account = self.accounts[model.owner]
        self.world.run(log_out())
        for each in self.models:
            is_meant = {"this": each is model, "others": each is not model, "all": True}[what]
            each.is_ended = each.is_ended or (is_meant and each.owner == model.owner)

    @rule(owner=owners)
    def log_in_while_all_end(self, owner: int) -> None:
        """Whatever comes first, a session that is listed works, and one that is not does not."""

        async def end() -> None:
            async with self.world.here.context() as context:
                await sessions.end_sessions(context, self.accounts[owner])

        async def at_once() -> tuple[Login, set[UUID]]:
            login, _ = await asyncio.gather(self.opened(owner), end())
            return login, {session.id for session in await self.listed(owner)}

        login, left = self.world.run(at_once())
        for each in self.models:
            each.is_ended = each.is_ended or each.owner == owner
        model = self.taken_up(owner, login)
        assert left <= {model.id}
        model.is_ended = model.id not in left

    @rule(seconds=st.one_of(st.integers(1, 20), st.sampled_from([300, 600, 601, 1_800, 3_599, 3_600, 3_601])))
    def wait(self, seconds: int) -> None:
        self.world.clock.move(seconds=seconds)

    async def listed(self, owner: int) -> list[Any]:
        async with self.world.here.context() as context:
            return await sessions_of(self.world.here.runtime).of_account(context, self.accounts[owner])

    @invariant()
    def the_index_is_equal_to_the_living_sessions(self) -> None:
        for owner in range(2):
            living = {each.id for each in self.models if each.owner == owner and not each.is_over(self.now)}
            listed = self.world.run(self.listed(owner))
            assert {session.id for session in listed} == living
            assert {session.account_id for session in listed} <= {self.accounts[owner]}
        asked = [each.id for each in self.models]
        living = {each.id for each in self.models if not each.is_over(self.now)}
        runtime = self.world.here.runtime
        assert set(self.world.run(sessions_of(runtime).living(runtime, asked))) == living

    @invariant()
    def a_token_works_exactly_while_it_should(self) -> None:
        runtime = self.world.here.runtime

        async def works(token: str) -> bool:
            runtime.identity.forget()
            try:
                await runtime.identity.authenticate(runtime, token)
            except Unauthenticated:
                return False
            return True

        for each in self.models:
            for token, until in each.access[-2:]:
                assert self.world.run(works(token)) == (until > self.now and not each.is_over(self.now))

    @invariant()
    def redis_holds_nothing_else(self) -> None:
        redis = self.world.here.runtime.redis
        if redis is None:
            return
        prefix, now = self.world.here.runtime.settings.redis.prefix, self.now.timestamp() * 1e6
        for owner, account_id in enumerate(self.accounts):
            asked: Any = redis.zrange(f"{prefix}:sessions:{account_id}", f"({now}", "+inf", byscore=True)
            entries: list[bytes] = self.world.run(asked)
            living = {str(each.id) for each in self.models if each.owner == owner and not each.is_over(self.now)}
            assert {entry.decode() for entry in entries} == living


@pytest.fixture(
    params=[
        "sqlite, database",
        pytest.param("postgresql, database", marks=pytest.mark.services),
        pytest.param("sqlite, redis", marks=pytest.mark.services),
        pytest.param("postgresql, redis", marks=pytest.mark.services),
    ]
)
def world(request: pytest.FixtureRequest, databases: Databases) -> Iterator[World]:
    """A process on a database and a store."""
    database_kind, store_kind = request.param.split(", ")
    made = World(databases, database_kind, store_kind)
    yield made
    made.close()


def test_sessions_are_those_of_the_model(world: World) -> None:
    class Machine(Sessions):
        pass

    Machine.world = world
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
