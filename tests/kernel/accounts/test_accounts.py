"""People and their sessions."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import select, update

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.accounts.models import SessionRow
from courtyard.kernel.database import Prepared, ReadUnit, UnitOfWork
from courtyard.kernel.http import API
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, Person, ok, problem, unique
from tests.running import RunningServer


def new_account(**changes: Any) -> dict[str, Any]:
    return {"email": f"{unique('ada')}@example.org", "password": PASSWORD, "name": "Ada", **changes}


async def refresh(nobody: httpx2.AsyncClient, login: dict[str, Any]) -> httpx2.Response:
    return await nobody.post("/sessions/refresh", json={"refresh_token": login["refresh_token"]})


def bearer(login: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {login['access_token']}"}


async def change_account(server: RunningServer, account_id: UUID, **values: Any) -> None:
    """Change what no route changes."""
    unit = UnitOfWork(server.runtime.placement)
    await unit.execute(Prepared(update(AccountRow).where(AccountRow.id == account_id).values(**values)))
    await unit.commit()
    server.runtime.identity.forget()


async def stored_hash(server: RunningServer, email: str) -> str:
    statement = Prepared(select(AccountRow.password_hash).where(AccountRow.email == email), str)
    return await ReadUnit(server.runtime.placement).one(statement)


async def test_registering(nobody: httpx2.AsyncClient) -> None:
    new = new_account(name="Ada Lovelace")
    answer = await nobody.post("/accounts", json=new)
    assert answer.status_code == 201
    account = answer.json()
    assert UUID(account.pop("id")).version == 7
    assert datetime.fromisoformat(account.pop("created_at")).tzinfo == UTC
    assert account == {"kind": "person", "email": new["email"], "name": "Ada Lovelace", "version": 1}


async def test_an_address_is_the_same_in_upper_and_lower_case(nobody: httpx2.AsyncClient) -> None:
    new = new_account()
    assert ok(await nobody.post("/accounts", json={**new, "email": new["email"].upper()}))["email"] == new["email"]
    problem(await nobody.post("/accounts", json=new), 409, "email_taken")
    credentials = {"email": new["email"].title(), "password": PASSWORD}
    assert ok(await nobody.post("/sessions", json=credentials))["account"]["email"] == new["email"]


async def test_of_many_who_register_with_one_address_at_once_one_succeeds(nobody: httpx2.AsyncClient) -> None:
    new = new_account()
    answers = await asyncio.gather(*(nobody.post("/accounts", json=new) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 5]


@pytest.mark.parametrize(
    ("email", "good"),
    [
        ("a@b.c", True),
        ("ada.lovelace+tag@mail.example.org", True),
        ("üñí@exämple.org", True),
        (f"{'a' * 64}@{'b' * 185}.org", True),
        ("ada", False),
        ("@example.org", False),
        ("ada@", False),
        ("a@b@c", False),
        ("ada @example.org", False),
        ("ada@example.org\n", False),
        ("ada@exam\0ple.org", False),
        (f"{'a' * 65}@example.org", False),
        (f"{'a' * 64}@{'b' * 190}", False),
        # In lower case each of these letters is two.
        (f"{'İ' * 64}@{'İ' * 180}.org", False),
    ],
)
async def test_which_addresses_are_good(nobody: httpx2.AsyncClient, email: str, good: bool) -> None:  # noqa: FBT001
    answer = await nobody.post("/accounts", json=new_account(email=email))
    if good:
        assert answer.status_code in {201, 409}, answer.text
    else:
        document = problem(answer, 400, "invalid_input")
        assert [fault["pointer"] for fault in document["errors"]] == ["/email"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("password", "short"),
        ("password", "x" * 129),
        ("password", "nul\0 in the middle"),
        ("name", ""),
        ("name", "   "),
        ("name", "two\nlines"),
        ("name", "x" * 201),
    ],
)
async def test_what_does_not_fit_is_refused(nobody: httpx2.AsyncClient, field: str, value: str) -> None:
    document = problem(await nobody.post("/accounts", json=new_account(**{field: value})), 400, "invalid_input")
    assert [fault["pointer"] for fault in document["errors"]] == [f"/{field}"]


async def test_logging_in(make: Factory) -> None:
    person = await make.person()
    credentials = {"email": person.email, "password": PASSWORD}
    answer = await make.nobody.post("/sessions", json=credentials)
    assert answer.status_code == 201
    assert "set-cookie" not in answer.headers
    login = answer.json()
    assert set(login) == {"access_token", "refresh_token", "csrf_token", "expires_in_seconds", "account"}
    assert login["expires_in_seconds"] == 900
    assert ok(await make.nobody.get("/me", headers=bearer(login))) == login["account"]


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(make: Factory) -> None:
    person = await make.person()
    documents = [
        problem(await make.nobody.post("/sessions", json=credentials), 401, "wrong_credentials")
        for credentials in (
            {"email": person.email, "password": "not the password"},
            {"email": f"{unique('nobody')}@example.org", "password": PASSWORD},
        )
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
    credentials = {"email": f"{unique('nobody')}@example.org", "password": PASSWORD}
    problem(await make.nobody.post("/sessions", json=credentials), 401, "wrong_credentials")
    assert verified == [None]


async def test_a_hash_is_renewed_when_hashing_has_become_harder(make: Factory, server_factory: ServerFactory) -> None:
    person = await make.person()
    assert person.email is not None
    before = await stored_hash(make.server, person.email)
    harder = await server_factory(security={"argon2_time_cost": 2})
    credentials = {"email": person.email, "password": PASSWORD}
    async with harder.client(base_url=harder.url + API) as client:
        problem(await client.post("/sessions", json={**credentials, "password": "wrong one"}), 401, "wrong_credentials")
        assert await stored_hash(make.server, person.email) == before
        ok(await client.post("/sessions", json=credentials))
        after = await stored_hash(make.server, person.email)
        assert "t=1" in before
        assert "t=2" in after
        ok(await client.post("/sessions", json=credentials))
        assert await stored_hash(make.server, person.email) == after


async def test_a_disabled_account_can_do_nothing(make: Factory) -> None:
    person, workspace = await make.person(), await make.workspace()
    await change_account(make.server, person.id, disabled_at=datetime.now(UTC))
    assert problem(await person.http.get("/me"), 401, "unauthenticated")["reason"] == "session_ended"
    problem(await refresh(make.nobody, person.login), 401, "invalid_refresh_token")
    credentials = {"email": person.email, "password": PASSWORD}
    problem(await make.nobody.post("/sessions", json=credentials), 401, "wrong_credentials")
    new = {"email": person.email, "roles": ["member"]}
    problem(await workspace.owner.http.post(f"{workspace.path}/members", json=new), 400, "unknown_account")
    # The address stays taken.
    problem(await make.nobody.post("/accounts", json=new_account(email=person.email)), 409, "email_taken")


async def test_an_anonymous_visitor(make: Factory) -> None:
    answer = await make.nobody.post("/sessions/anonymous", json={"name": "Somebody"})
    assert answer.status_code == 201
    me = ok(await make.nobody.get("/me", headers=bearer(answer.json())))
    assert (me["kind"], me["email"], me["name"]) == ("visitor", None, "Somebody")
    assert ok(await refresh(make.nobody, answer.json()))["account"] == me


async def test_two_visitors_of_one_name_are_two(make: Factory) -> None:
    assert (await make.visitor("Ada")).id != (await make.visitor("Ada")).id


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


async def test_a_refresh_token_that_is_shown_again_ends_the_session(make: Factory) -> None:
    person = await make.person()
    renewed = ok(await refresh(make.nobody, person.login))
    problem(await refresh(make.nobody, person.login), 401, "refresh_token_reused")
    # The refusal has kept its effect: nobody of the two goes on.
    problem(await refresh(make.nobody, renewed), 401, "invalid_refresh_token")
    for login in (person.login, renewed):
        refused = problem(await make.nobody.get("/me", headers=bearer(login)), 401, "unauthenticated")
        assert refused["reason"] == "session_ended"
    # Other sessions of the same person are not touched.
    ok(await make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD}))


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 43, "x" * 201, "with space in the middle of it", "ü" * 43, 7, None]
)
async def test_a_refresh_token_that_was_never_given_out_is_refused(nobody: httpx2.AsyncClient, token: object) -> None:
    answer = await nobody.post("/sessions/refresh", json={"refresh_token": token})
    if token == "x" * 43:
        problem(answer, 401, "invalid_refresh_token")
    else:
        document = problem(answer, 400, "invalid_input")
        assert [fault["pointer"] for fault in document["errors"]] == ["/refresh_token"]


async def test_of_two_refreshes_at_once_one_wins(make: Factory) -> None:
    person = await make.person()
    answers = await asyncio.gather(*(refresh(make.nobody, person.login) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [201, 401]
    # Nobody can tell two tabs of a browser from a thief, so the session is over for both.
    (winner,) = (answer.json() for answer in answers if answer.is_success)
    problem(await refresh(make.nobody, winner), 401, "invalid_refresh_token")


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


@pytest.fixture
async def person(make: Factory) -> Person:
    return await make.person()


async def test_changing_oneself(person: Person) -> None:
    before = ok(await person.http.get("/me"))
    changed = ok(await person.http.patch("/me", json={"name": "Ada L."}))
    assert changed == {**before, "name": "Ada L.", "version": before["version"] + 1}
    assert ok(await person.http.get("/me")) == changed


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [({"name": None}, "/name"), ({"name": ""}, "/name"), ({"email": "new@example.org"}, ""), ({"kind": "service"}, "")],
)
async def test_what_cannot_be_changed_is_refused(person: Person, patch: dict[str, Any], pointer: str) -> None:
    document = problem(await person.http.patch("/me", json=patch), 400, "invalid_input")
    assert [fault["pointer"] for fault in document["errors"]] == [pointer]
