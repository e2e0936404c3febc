"""Sessions: refreshing, ending, what is kept of them."""

import asyncio
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from courtyard.kernel.accounts.models import SessionRow
from courtyard.kernel.database import Prepared, ReadUnit
from courtyard.kernel.http import API
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, ok, problem
from tests.running import MovableClock


async def refresh(nobody: httpx2.AsyncClient, login: dict[str, Any]) -> httpx2.Response:
    return await nobody.post("/sessions/refresh", json={"refresh_token": login["refresh_token"]})


def bearer(login: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {login['access_token']}"}


async def test_refreshing_gives_new_tokens_of_the_same_session(make: Factory) -> None:
    person = await make.person()
    renewed = ok(await refresh(make.nobody, person.login))
    assert renewed["refresh_token"] != person.login["refresh_token"]
    assert renewed["csrf_token"] == person.login["csrf_token"]
    assert renewed["account"] == person.login["account"]
    assert ok(await make.nobody.get("/me", headers=bearer(renewed)))["id"] == str(person.id)
    # The old access token lives on until its time is over.
    ok(await person.http.get("/me"))
    ok(await refresh(make.nobody, renewed))


async def test_a_refresh_token_that_is_shown_again_later_ends_the_session(
    server_factory: ServerFactory, clock: MovableClock
) -> None:
    make = Factory(await server_factory(clock=clock))
    person = await make.person()
    renewed = ok(await refresh(make.nobody, person.login))
    clock.move(seconds=11)
    problem(await refresh(make.nobody, person.login), 401, "refresh_token_reused")
    # The refusal has kept its effect: nobody of the two goes on.
    problem(await refresh(make.nobody, renewed), 401, "invalid_refresh_token")
    for login in (person.login, renewed):
        refused = problem(await make.nobody.get("/me", headers=bearer(login)), 401, "unauthenticated")
        assert refused["reason"] == "session_ended"
    # Other sessions of the same person are not touched.
    ok(await make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD}))


async def test_a_refresh_token_from_before_the_last_one_ends_the_session_at_once(make: Factory) -> None:
    person = await make.person()
    second = ok(await refresh(make.nobody, person.login))
    third = ok(await refresh(make.nobody, second))
    problem(await refresh(make.nobody, person.login), 401, "refresh_token_reused")
    problem(await refresh(make.nobody, third), 401, "invalid_refresh_token")


async def test_two_tabs_that_refresh_at_once_both_go_on(make: Factory) -> None:
    person = await make.person()
    answers = [ok(each) for each in await asyncio.gather(*(refresh(make.nobody, person.login) for _ in range(4)))]
    assert len({answer["refresh_token"] for answer in answers}) == 1
    for answer in answers:
        ok(await make.nobody.get("/me", headers=bearer(answer)))
    ok(await refresh(make.nobody, answers[0]))


async def test_whoever_knows_the_id_of_a_session_cannot_end_it_with_a_made_up_token(make: Factory) -> None:
    person = await make.person()
    token = str(person.login["refresh_token"])
    # The id stands in front; everything behind it is made up.
    forged = token[:22] + token[22:][::-1]
    problem(await refresh(make.nobody, {"refresh_token": forged}), 401, "invalid_refresh_token")
    ok(await refresh(make.nobody, person.login))


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 43, "x" * 107, "x" * 201, "with space in the middle of it", "ü" * 43, 7, None]
)
async def test_a_refresh_token_that_was_never_given_out_is_refused(nobody: httpx2.AsyncClient, token: object) -> None:
    answer = await nobody.post("/sessions/refresh", json={"refresh_token": token})
    if token in {"x" * 43, "x" * 107}:
        problem(answer, 401, "invalid_refresh_token")
    else:
        document = problem(answer, 400, "invalid_input")
        assert [fault["pointer"] for fault in document["errors"]] == ["/refresh_token"]


async def test_logging_out_takes_effect_at_once(make: Factory) -> None:
    person = await make.person()
    other = make.signed_in(ok(await make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD})))
    for _ in range(3):
        ok(await person.http.get("/me"))
    answer = await person.http.delete("/sessions/current")
    assert (answer.status_code, answer.content) == (204, b"")
    assert problem(await person.http.get("/me"), 401, "unauthenticated")["reason"] == "session_ended"
    problem(await person.http.delete("/sessions/current"), 401, "unauthenticated")
    problem(await refresh(make.nobody, person.login), 401, "invalid_refresh_token")
    ok(await other.http.get("/me"))


async def test_logging_out_takes_effect_within_a_second_elsewhere(make: Factory, server_factory: ServerFactory) -> None:
    """Without a bus between them, which the second process here does not have."""
    person = await make.person()
    elsewhere = await server_factory()
    client = elsewhere.client(base_url=elsewhere.url + API, headers=person.headers)
    ok(await client.get("/me"))
    ok(await person.http.delete("/sessions/current"))
    async with asyncio.timeout(1.5):
        answer = await client.get("/me")
        while answer.is_success:
            await asyncio.sleep(0.05)
            answer = await client.get("/me")
    problem(answer, 401, "unauthenticated")


async def test_no_token_is_stored(make: Factory) -> None:
    person = await make.person()
    ok(await refresh(make.nobody, person.login))
    columns = [column for column in SessionRow.__table__.columns if column.name != "account_id"]
    rows = await ReadUnit(make.server.runtime.placement).all(
        Prepared(select(*columns).where(SessionRow.account_id == person.id), tuple)
    )
    assert len(rows) == 1
    stored = repr([list(row) for row in rows])
    assert person.token not in stored
    assert person.login["refresh_token"] not in stored


async def test_a_session_knows_its_device(make: Factory) -> None:
    person = await make.person()
    credentials = {"email": person.email, "password": PASSWORD}
    ok(await make.nobody.post("/sessions", json=credentials, headers={"User-Agent": "Browser/1.0 " + "x" * 500}))
    statement = Prepared(select(SessionRow.device).where(SessionRow.account_id == person.id), str)
    devices = await ReadUnit(make.server.runtime.placement).all(statement)
    assert min(devices).startswith("Browser/1.0 ")
    assert max(map(len, devices)) == 200


async def test_one_sees_ones_own_sessions_and_ends_them(make: Factory) -> None:
    person, stranger = await make.person(), await make.person()
    credentials = {"email": person.email, "password": PASSWORD}
    others = [make.signed_in(ok(await make.nobody.post("/sessions", json=credentials))) for _ in range(3)]
    listed = ok(await person.http.get("/sessions"))
    assert [session["current"] for session in listed].count(True) == 1
    assert len(listed) == 4
    assert all(session["methods"] == ["password"] for session in listed)
    assert {session["address"] for session in listed} == {"127.0.0.0/24"}
    (mine,) = (session["id"] for session in listed if session["current"])
    ending = listed[0]["id"]
    problem(await stranger.http.delete(f"/sessions/{ending}"), 404, "not_found")
    ok(await person.http.delete(f"/sessions/{ending}"))
    problem(await person.http.delete(f"/sessions/{ending}"), 404, "not_found")
    assert ending not in {session["id"] for session in ok(await person.http.get("/sessions"))}
    ok(await person.http.delete("/sessions"))
    assert [session["id"] for session in ok(await person.http.get("/sessions"))] == [mine]
    for other in others:
        problem(await other.http.get("/me"), 401, "unauthenticated")
    ok(await stranger.http.get("/me"))


async def test_where_one_session_is_all_a_login_ends_the_others(server_factory: ServerFactory) -> None:
    make = Factory(await server_factory(accounts={"single_session": True}))
    person = await make.person()
    other = make.signed_in(ok(await make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD})))
    problem(await person.http.get("/me"), 401, "unauthenticated")
    assert len(ok(await other.http.get("/sessions"))) == 1
    logins = await asyncio.gather(
        *(make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD}) for _ in range(4))
    )
    assert all(login.is_success for login in logins)
    living = [(await make.nobody.get("/me", headers=bearer(login.json()))).status_code for login in logins]
    assert sorted(living) == [200, 401, 401, 401]


async def test_a_session_that_is_used_ends_all_the_same(server_factory: ServerFactory, clock: MovableClock) -> None:
    server = await server_factory(
        clock=clock,
        security={"access_token_seconds": 86_400, "refresh_token_seconds": 3_600, "session_seconds": 7_200},
    )
    make = Factory(server)
    login = (await make.person()).login
    for _ in range(3):
        clock.move(minutes=39)
        login = ok(await refresh(make.nobody, login))
    clock.move(minutes=4)
    server.runtime.identity.forget()
    problem(await refresh(make.nobody, login), 401, "invalid_refresh_token")
    problem(await make.nobody.get("/me", headers=bearer(login)), 401, "unauthenticated")
