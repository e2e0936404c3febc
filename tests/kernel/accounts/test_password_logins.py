"""Logging in with a password, changing it, resetting it."""

import asyncio
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import select

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.database import Prepared, ReadUnit
from courtyard.kernel.http import API
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, Person, ok, problem, unique
from tests.mailbox import Mailbox
from tests.running import MovableClock, RunningServer

OTHER = "another staple of horses"


def bearer(login: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {login['access_token']}"}


def credentials(person: Person, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
    return {"email": person.email, "password": password, **more}


async def stored_hash(server: RunningServer, email: str) -> str:
    statement = Prepared(select(AccountRow.password_hash).where(AccountRow.email == email), str)
    return await ReadUnit(server.runtime.placement).one(statement)


@pytest.fixture
async def person(make: Factory) -> Person:
    return await make.person()


async def test_logging_in(make: Factory, person: Person) -> None:
    answer = await make.nobody.post("/sessions", json=credentials(person))
    assert answer.status_code == 201
    assert "set-cookie" not in answer.headers
    login = answer.json()
    assert set(login) == {"access_token", "refresh_token", "csrf_token", "expires_in_seconds", "account"}
    assert login["expires_in_seconds"] == 900
    assert ok(await make.nobody.get("/me", headers=bearer(login))) == login["account"]


async def test_an_address_is_the_same_in_upper_and_lower_case(make: Factory, person: Person) -> None:
    assert person.email is not None
    upper = {"email": person.email.upper(), "password": PASSWORD}
    assert ok(await make.nobody.post("/sessions", json=upper))["account"]["email"] == person.email


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(make: Factory, person: Person) -> None:
    unknown = {"email": f"{unique('nobody')}@example.org", "password": PASSWORD}
    documents = [
        problem(await make.nobody.post("/sessions", json=shown), 401, "wrong_credentials")
        for shown in (credentials(person, "not the password"), unknown)
    ]
    for document in documents:
        del document["request_id"]
    assert documents[0] == documents[1]


async def test_an_unknown_address_is_hashed_for_as_well(make: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the time of the answer would tell which addresses there are."""
    passwords = make.server.runtime.passwords
    verified: list[object] = []
    verify = passwords.verify

    async def watched(stored: str | None, password: str) -> bool:
        verified.append(stored)
        return await verify(stored, password)

    monkeypatch.setattr(passwords, "verify", watched)
    unknown = {"email": f"{unique('nobody')}@example.org", "password": PASSWORD}
    problem(await make.nobody.post("/sessions", json=unknown), 401, "wrong_credentials")
    assert verified == [None]


async def test_a_hash_is_renewed_when_hashing_has_become_harder(
    make: Factory, person: Person, server_factory: ServerFactory
) -> None:
    assert person.email is not None
    before = await stored_hash(make.server, person.email)
    harder = await server_factory(security={"argon2_time_cost": 2})
    async with harder.client(base_url=harder.url + API) as client:
        problem(await client.post("/sessions", json=credentials(person, "wrong one")), 401, "wrong_credentials")
        assert await stored_hash(make.server, person.email) == before
        ok(await client.post("/sessions", json=credentials(person)))
        after = await stored_hash(make.server, person.email)
        assert "t=1" in before
        assert "t=2" in after
        ok(await client.post("/sessions", json=credentials(person)))
        assert await stored_hash(make.server, person.email) == after


async def fail(nobody: httpx2.AsyncClient, email: str, times: int) -> None:
    for _ in range(times):
        answer = await nobody.post("/sessions", json={"email": email, "password": "not the password"})
        assert answer.status_code in {401, 429}


@pytest.mark.parametrize("known", [True, False])
async def test_wrong_passwords_slow_down_whoever_tries_them(
    server_factory: ServerFactory,
    clock: MovableClock,
    known: bool,  # noqa: FBT001
) -> None:
    make = Factory(await server_factory(clock=clock))
    email = (await make.person()).email if known else f"{unique('nobody')}@example.org"
    assert email is not None
    shown = {"email": email, "password": PASSWORD}
    await fail(make.nobody, email, 5)
    refused = await make.nobody.post("/sessions", json=shown)
    problem(refused, 429, "login_slowed")
    assert 0 < int(refused.headers["retry-after"]) <= 3
    clock.move(seconds=3)
    # The next failure doubles the wait, and none is longer than a quarter of an hour.
    await fail(make.nobody, email, 1)
    clock.move(seconds=3)
    problem(await make.nobody.post("/sessions", json=shown), 429, "login_slowed")
    for _ in range(20):
        clock.move(minutes=15, seconds=1)
        await fail(make.nobody, email, 1)
    refused = await make.nobody.post("/sessions", json=shown)
    problem(refused, 429, "login_slowed")
    assert 890 < int(refused.headers["retry-after"]) <= 901
    clock.move(minutes=15, seconds=1)
    answer = await make.nobody.post("/sessions", json=shown)
    assert answer.status_code == (201 if known else 401)
    if known:
        # Whoever got in has a clean slate.
        await fail(make.nobody, email, 4)
        ok(await make.nobody.post("/sessions", json=shown))


async def test_nobody_can_lock_somebody_out_of_a_browser_that_is_known(make: Factory, person: Person) -> None:
    assert person.email is not None
    mine = {"browser_key": unique("browser-of-the-owner")}
    ok(await make.nobody.post("/sessions", json=credentials(person, **mine)))
    await fail(make.nobody, person.email, 6)
    problem(await make.nobody.post("/sessions", json=credentials(person)), 429, "login_slowed")
    stranger = {"browser_key": unique("browser-of-another")}
    problem(await make.nobody.post("/sessions", json=credentials(person, **stranger)), 429, "login_slowed")
    ok(await make.nobody.post("/sessions", json=credentials(person, **mine)))


async def test_failures_at_once_are_all_counted(make: Factory, person: Person) -> None:
    assert person.email is not None
    await asyncio.gather(*(fail(make.nobody, person.email, 1) for _ in range(8)))
    problem(await make.nobody.post("/sessions", json=credentials(person)), 429, "login_slowed")


async def test_changing_the_password_ends_the_other_sessions(make: Factory, person: Person, mailbox: Mailbox) -> None:
    assert person.email is not None
    other = make.signed_in(ok(await make.nobody.post("/sessions", json=credentials(person))))
    wrong = {"current_password": "not the password", "password": OTHER}
    problem(await person.http.post("/me/password", json=wrong), 401, "wrong_credentials")
    problem(await person.http.post("/me/password", json={"password": OTHER}), 401, "wrong_credentials")
    weak = {"current_password": PASSWORD, "password": "password12345"}
    problem(await person.http.post("/me/password", json=weak), 400, "weak_password")
    ok(await other.http.get("/me"))
    ok(await person.http.post("/me/password", json={"current_password": PASSWORD, "password": OTHER}))
    ok(await person.http.get("/me"))
    problem(await other.http.get("/me"), 401, "unauthenticated")
    problem(await make.nobody.post("/sessions", json=credentials(person)), 401, "wrong_credentials")
    ok(await make.nobody.post("/sessions", json=credentials(person, OTHER)))
    await mailbox.wait_for(person.email, "accounts.password_changed")


async def test_a_visitor_has_no_password(make: Factory) -> None:
    visitor = await make.visitor()
    problem(await visitor.http.post("/me/password", json={"password": OTHER}), 403, "not_for_visitors")


async def reset_token(nobody: httpx2.AsyncClient, mailbox: Mailbox, email: str) -> str:
    answer = await nobody.post("/password-resets", json={"email": email})
    assert answer.status_code == 202
    return (await mailbox.wait_for(email, "accounts.password_reset")).link.rpartition("/")[2]


async def test_resetting_a_password_ends_every_session(make: Factory, person: Person, mailbox: Mailbox) -> None:
    assert person.email is not None
    earlier = await reset_token(make.nobody, mailbox, person.email)
    token = await reset_token(make.nobody, mailbox, person.email)
    weak = {"token": token, "password": "password12345"}
    problem(await make.nobody.post("/password-resets/complete", json=weak), 400, "weak_password")
    ok(await person.http.get("/me"))
    reset = {"token": token, "password": OTHER}
    ok(await make.nobody.post("/password-resets/complete", json=reset))
    problem(await person.http.get("/me"), 401, "unauthenticated")
    ok(await make.nobody.post("/sessions", json=credentials(person, OTHER)))
    await mailbox.wait_for(person.email, "accounts.password_changed")
    # Once, and the links of other mails are worth nothing any more.
    for used in (token, earlier):
        again = {"token": used, "password": PASSWORD}
        problem(await make.nobody.post("/password-resets/complete", json=again), 400, "invalid_challenge")


async def test_a_reset_for_an_unknown_address_gets_the_same_answer(make: Factory, mailbox: Mailbox) -> None:
    email = f"{unique('nobody')}@example.org"
    answer = await make.nobody.post("/password-resets", json={"email": email})
    assert answer.status_code == 202
    assert (UUID(answer.json()["challenge_id"]).version, answer.json()["expires_in_seconds"]) == (7, 1_800)
    assert (await mailbox.wait_for(email)).template == "accounts.login_unknown"


async def test_a_reset_ends_with_its_time(server_factory: ServerFactory, clock: MovableClock) -> None:
    server = await server_factory(clock=clock)
    make, mailbox = Factory(server), Mailbox(server.settings.data_path)
    person = await make.person()
    assert person.email is not None
    token = await reset_token(make.nobody, mailbox, person.email)
    clock.move(seconds=1_800)
    reset = {"token": token, "password": OTHER}
    problem(await make.nobody.post("/password-resets/complete", json=reset), 400, "invalid_challenge")


async def test_of_two_who_use_a_reset_at_once_one_succeeds(make: Factory, person: Person, mailbox: Mailbox) -> None:
    assert person.email is not None
    token = await reset_token(make.nobody, mailbox, person.email)
    resets = [{"token": token, "password": f"{OTHER} {number}"} for number in range(3)]
    answers = await asyncio.gather(*(make.nobody.post("/password-resets/complete", json=each) for each in resets))
    assert sorted(answer.status_code for answer in answers) == [204, 400, 400]


async def test_what_is_dangerous_wants_a_proof_from_the_last_minutes(
    server_factory: ServerFactory, clock: MovableClock
) -> None:
    make = Factory(await server_factory(clock=clock, security={"access_token_seconds": 86_400}))
    person = await make.person()
    clock.move(seconds=901)
    make.server.runtime.identity.forget()
    problem(await person.http.post("/me/deactivate"), 403, "step_up_needed")
    problem(await person.http.delete("/me"), 403, "step_up_needed")
    problem(await person.http.post("/me/email", json={"email": "new@example.org"}), 403, "step_up_needed")
    wrong = {"by": "password", "password": "not the password"}
    problem(await person.http.post("/sessions/current/proof", json=wrong), 401, "wrong_credentials")
    ok(await person.http.post("/sessions/current/proof", json={"by": "password", "password": PASSWORD}))
    ok(await person.http.post("/me/deactivate"))
