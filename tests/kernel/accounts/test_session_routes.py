"""Sessions over HTTP, in the database and in Redis, by header and by cookie; and what is done with them in silence."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select

from courtyard.kernel.accounts.models import ChallengeRow, LoginThrottleRow, SessionRow
from courtyard.kernel.accounts.service import pruning
from courtyard.kernel.database import MainBase, Prepared, ReadUnit
from courtyard.kernel.http import API
from courtyard.kernel.ids import new_id
from courtyard.kernel.passwords import Passwords
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, Person, ok, problem, unique
from tests.running import MovableClock, finish
from tests.services import RedisSpace


@pytest.fixture(params=["database", pytest.param("redis", marks=pytest.mark.services)])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[dict[str, Any]]:
    """Settings of where sessions are kept."""
    if request.param == "database":
        yield {}
        return
    space = RedisSpace()
    await space.check()
    yield {"accounts": {"session_store": "redis"}, "redis": {"url": space.url, "prefix": space.prefix}}
    await space.clear()


@pytest.fixture
async def make(server_factory: ServerFactory, stores: dict[str, Any]) -> AsyncIterator[Factory]:
    """People on a server with such a store."""
    factory = Factory(await server_factory(**stores))
    yield factory
    await factory.close()


async def again(make: Factory, person: Person, **more: Any) -> Person:
    credentials = {"email": person.email, "password": PASSWORD, **more}
    return make.signed_in(ok(await make.nobody.post("/sessions", json=credentials)))


async def sessions_of(person: Person) -> dict[str, dict[str, Any]]:
    return {session["id"]: session for session in ok(await person.http.get("/sessions"))}


async def test_one_sees_and_ends_ones_own_sessions(make: Factory) -> None:
    first = await make.person()
    headers = {"User-Agent": "Phone"}
    phone = make.signed_in(
        ok(await make.nobody.post("/sessions", json={"email": first.email, "password": PASSWORD}, headers=headers))
    )
    listed = await sessions_of(first)
    (current,) = (each["id"] for each in listed.values() if each["current"])
    (other,) = set(listed) - {current}
    assert listed[other]["device"] == "Phone"
    assert listed[other]["methods"] == ["password"]
    assert list(listed) == [other, current]
    ok(await first.http.delete(f"/sessions/{other}"))
    problem(await phone.http.get("/me"), 401, "unauthenticated")
    assert set(await sessions_of(first)) == {current}
    problem(await first.http.delete(f"/sessions/{other}"), 404, "not_found")


async def test_nobody_ends_the_session_of_somebody_else(make: Factory) -> None:
    ada, bob = await make.person(), await make.person()
    for session_id in await sessions_of(bob):
        problem(await ada.http.delete(f"/sessions/{session_id}"), 404, "not_found")
    problem(await ada.http.delete(f"/sessions/{new_id()}"), 404, "not_found")
    ok(await ada.http.delete("/sessions"))
    ok(await bob.http.get("/me"))
    assert not set(await sessions_of(ada)) & set(await sessions_of(bob))


async def test_all_others_end_and_the_present_one_goes_on(make: Factory) -> None:
    first = await make.person()
    others = [await again(make, first) for _ in range(3)]
    visitor = await make.visitor()
    ok(await first.http.delete("/sessions"))
    for other in others:
        problem(await other.http.get("/me"), 401, "unauthenticated")
        token = {"refresh_token": other.login["refresh_token"]}
        problem(await make.nobody.post("/sessions/refresh", json=token), 401, "invalid_refresh_token")
    ok(await first.http.get("/me"))
    ok(await visitor.http.get("/me"))


async def test_a_browser_with_cookies_does_the_same_behind_its_csrf_token(make: Factory) -> None:
    person = await make.person()
    async with make.server.client(base_url=make.server.url + API) as browser:
        credentials = {"email": person.email, "password": PASSWORD, "cookies": True}
        csrf = {"X-CSRF-Token": ok(await browser.post("/sessions", json=credentials))["csrf_token"]}
        listed = ok(await browser.get("/sessions"))
        (mine,) = (each["id"] for each in listed if each["current"])
        (other,) = (each["id"] for each in listed if not each["current"])
        problem(await browser.delete(f"/sessions/{other}"), 403, "csrf_failed")
        ok(await person.http.get("/me"))
        ok(await browser.delete(f"/sessions/{other}", headers=csrf))
        problem(await person.http.get("/me"), 401, "unauthenticated")
        ok(await browser.post("/sessions/refresh", json={}))
        ok(await browser.delete(f"/sessions/{mine}", headers=csrf))
        problem(await browser.get("/me"), 401, "unauthenticated")
        problem(await browser.post("/sessions/refresh", json={}), 401, "invalid_refresh_token")


async def test_where_one_session_is_all_many_logins_at_once_leave_one(
    server_factory: ServerFactory, stores: dict[str, Any]
) -> None:
    accounts = {**stores.get("accounts", {}), "single_session": True}
    make = Factory(await server_factory(**{**stores, "accounts": accounts}))
    person = await make.person()
    logins = await asyncio.gather(*(again(make, person) for _ in range(5)))
    make.server.runtime.identity.forget()
    answers = [await login.http.get("/me") for login in (person, *logins)]
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 5]
    (alive,) = (login for login, answer in zip((person, *logins), answers, strict=True) if answer.is_success)
    assert len(await sessions_of(alive)) == 1


async def test_a_password_that_is_changed_while_it_is_checked_logs_nobody_in(
    make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await make.person()
    verify = Passwords.verify

    async def slowly(self: Passwords, stored: str | None, password: str) -> bool:
        is_right = await verify(self, stored, password)
        if password == PASSWORD and is_right:
            monkeypatch.setattr(Passwords, "verify", verify)
            change = {"current_password": PASSWORD, "password": "another horse battery"}
            ok(await person.http.post("/me/password", json=change))
        return is_right

    monkeypatch.setattr(Passwords, "verify", slowly)
    credentials = {"email": person.email, "password": PASSWORD}
    problem(await make.nobody.post("/sessions", json=credentials), 401, "wrong_credentials")
    assert len(await sessions_of(person)) == 1


async def test_what_is_old_is_removed_once_an_hour(
    server_factory: ServerFactory, stores: dict[str, Any], clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "LIMIT", 2)
    make = Factory(await server_factory(clock=clock, **stores))
    person = await make.person()
    wrong = {"email": f"{unique('nobody')}@example.org", "password": "wrong"}
    for _ in range(3):
        await make.nobody.post("/password-resets", json={"email": person.email})
        await again(make, person)
    await make.nobody.post("/sessions", json=wrong)

    async def count(table: type[MainBase], *where: Any) -> int:
        statement = Prepared(select(func.count()).select_from(table).where(*where), int)
        return await ReadUnit(make.server.runtime.placement).one(statement)

    mine = (SessionRow.account_id == UUID(str(person.id)),)
    resets = (ChallengeRow.account_id == person.id,)
    digest = make.server.runtime.digests.digest("login throttle", wrong["email"])
    throttles = (LoginThrottleRow.email_digest == digest,)
    in_database = 4 if not stores else 0
    await finish(make.server.runtime, pruning.prune)
    assert await count(SessionRow, *mine) == in_database
    assert await count(ChallengeRow, *resets) == 3
    assert await count(LoginThrottleRow, *throttles) == 1
    clock.move(days=59)
    await finish(make.server.runtime, pruning.prune)
    assert await count(SessionRow, *mine) == in_database
    assert await count(ChallengeRow, *resets) == 0
    assert await count(LoginThrottleRow, *throttles) == 0
    clock.offset += timedelta(days=2)
    await finish(make.server.runtime, pruning.prune)
    assert await count(SessionRow, *mine) == 0
    await make.close()
