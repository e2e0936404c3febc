"""Registering: an account is there once its address is proven."""

import asyncio
from typing import Any
from uuid import UUID

import httpx2
import pytest

from courtyard.kernel.http import API
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, ok, problem, unique
from tests.mailbox import Mailbox
from tests.running import MovableClock


def new_account(**changes: Any) -> dict[str, Any]:
    return {"email": f"{unique('ada')}@example.org", "password": PASSWORD, "name": "Ada", **changes}


async def start(nobody: httpx2.AsyncClient, new: dict[str, Any]) -> str:
    answer = await nobody.post("/accounts", json=new)
    assert answer.status_code == 202
    started = answer.json()
    assert set(started) == {"challenge_id", "expires_in_seconds"}
    assert started["expires_in_seconds"] == 900
    return str(started["challenge_id"])


async def by_code(nobody: httpx2.AsyncClient, challenge_id: str, code: str) -> httpx2.Response:
    return await nobody.post("/accounts/confirm", json={"by": "code", "challenge_id": challenge_id, "code": code})


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06}"


def token_in(link: str) -> str:
    return link.rpartition("/")[2]


async def test_registering_with_the_code_of_the_mail(nobody: httpx2.AsyncClient, mailbox: Mailbox) -> None:
    new = new_account(name="Ada Lovelace")
    challenge_id = await start(nobody, new)
    credentials = {"email": new["email"], "password": PASSWORD}
    # Nothing is there before the address is proven.
    problem(await nobody.post("/sessions", json=credentials), 401, "wrong_credentials")
    mail = await mailbox.wait_for(new["email"], "accounts.confirm_registration")
    answer = await by_code(nobody, challenge_id, mail.code)
    assert answer.status_code == 201
    account = answer.json()
    assert UUID(account.pop("id")).version == 7
    assert account.pop("created_at")
    assert account == {
        "kind": "person",
        "email": new["email"],
        "name": "Ada Lovelace",
        "language": None,
        "must_change_password": False,
        "version": 1,
    }
    assert ok(await nobody.post("/sessions", json=credentials))["account"]["name"] == "Ada Lovelace"
    problem(await by_code(nobody, challenge_id, mail.code), 400, "invalid_challenge")


async def test_registering_with_the_link_of_the_mail_on_another_device(make: Factory, mailbox: Mailbox) -> None:
    new = new_account()
    await start(make.nobody, new)
    token = token_in((await mailbox.wait_for(new["email"])).link)
    elsewhere = make.server.client(base_url=make.server.url + API)
    confirmed = await elsewhere.post("/accounts/confirm", json={"by": "link", "token": token})
    # The account is made, and nobody is logged in by it.
    assert set(ok(confirmed)) == set(ok(await (await make.person()).http.get("/me")))
    problem(await elsewhere.post("/accounts/confirm", json={"by": "link", "token": token}), 400, "invalid_challenge")


async def test_a_taken_address_gets_the_same_answer_and_its_owner_another_mail(make: Factory, mailbox: Mailbox) -> None:
    person = await make.person()
    assert person.email is not None
    new = new_account(email=person.email.upper())
    challenge_id = await start(make.nobody, new)
    mail = await mailbox.wait_for(person.email)
    assert mail.template == "accounts.already_registered"
    problem(await by_code(make.nobody, challenge_id, "000000"), 400, "invalid_challenge")
    ok(await make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD}))


async def test_of_two_who_register_with_one_address_the_first_to_prove_it_has_it(
    nobody: httpx2.AsyncClient, mailbox: Mailbox
) -> None:
    new = new_account()
    first, second = await start(nobody, new), await start(nobody, {**new, "name": "Eve"})
    mails = [await mailbox.wait_for(new["email"]) for _ in range(2)]
    answers = await asyncio.gather(*(by_code(nobody, which, mail.code) for which in (first, second) for mail in mails))
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400]


async def test_of_many_who_prove_one_address_at_once_one_succeeds(nobody: httpx2.AsyncClient, mailbox: Mailbox) -> None:
    new = new_account()
    challenge_id = await start(nobody, new)
    code = (await mailbox.wait_for(new["email"])).code
    answers = await asyncio.gather(*(by_code(nobody, challenge_id, code) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 400, 400, 400]


async def test_five_wrong_codes_and_the_right_one_is_worth_nothing(
    nobody: httpx2.AsyncClient, mailbox: Mailbox
) -> None:
    new = new_account()
    challenge_id = await start(nobody, new)
    code = (await mailbox.wait_for(new["email"])).code
    for _ in range(5):
        problem(await by_code(nobody, challenge_id, other_than(code)), 400, "invalid_challenge")
    problem(await by_code(nobody, challenge_id, code), 400, "invalid_challenge")


async def test_a_code_ends_with_its_time(server_factory: ServerFactory, clock: MovableClock) -> None:
    server = await server_factory(clock=clock)
    nobody, mailbox, new = Factory(server).nobody, Mailbox(server.settings.data_path), new_account()
    challenge_id = await start(nobody, new)
    code = (await mailbox.wait_for(new["email"])).code
    clock.move(seconds=900)
    problem(await by_code(nobody, challenge_id, code), 400, "invalid_challenge")


async def test_a_code_proves_nothing_else(make: Factory, mailbox: Mailbox) -> None:
    new = new_account()
    challenge_id = await start(make.nobody, new)
    mail = await mailbox.wait_for(new["email"])
    for path in ("/sessions/email/proof", "/me/email/confirm"):
        for proof in (
            {"by": "code", "challenge_id": challenge_id, "code": mail.code},
            {"by": "link", "token": token_in(mail.link)},
        ):
            problem(await make.nobody.post(path, json=proof), 400, "invalid_challenge")
    ok(await by_code(make.nobody, challenge_id, mail.code))


async def test_where_registration_is_closed_nobody_registers(server_factory: ServerFactory) -> None:
    server = await server_factory(accounts={"registration": "closed"})
    problem(await Factory(server).nobody.post("/accounts", json=new_account()), 403, "registration_closed")


async def test_a_visitor_becomes_a_person_and_keeps_everything(make: Factory, mailbox: Mailbox) -> None:
    conversation = await make.conversation()
    visitor = conversation.visitor
    new = new_account(name="Vera")
    answer = await visitor.http.post("/me/registration", json=new)
    assert answer.status_code == 202
    code = (await mailbox.wait_for(new["email"])).code
    account = ok(await by_code(make.nobody, answer.json()["challenge_id"], code))
    assert (account["id"], account["kind"], account["name"]) == (str(visitor.id), "person", "Vera")
    # The session goes on, and so does whoever logs in elsewhere.
    assert ok(await visitor.http.get("/me"))["email"] == new["email"]
    person = make.signed_in(ok(await make.nobody.post("/sessions", json={"email": new["email"], "password": PASSWORD})))
    assert ok(await person.http.get(conversation.path))["id"] == str(conversation.id)
    problem(await person.http.post("/me/registration", json=new_account()), 409, "not_for_persons")


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
        assert answer.status_code == 202, answer.text
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
        ("language", "not a language"),
    ],
)
async def test_what_does_not_fit_is_refused(nobody: httpx2.AsyncClient, field: str, value: str) -> None:
    document = problem(await nobody.post("/accounts", json=new_account(**{field: value})), 400, "invalid_input")
    assert [fault["pointer"] for fault in document["errors"]] == [f"/{field}"]


@pytest.mark.parametrize("password", ["password12345", "aaaaaaaaaaaaaaaa", "lovelace1815", "courtyard2026"])
async def test_a_password_that_would_be_guessed_is_refused(nobody: httpx2.AsyncClient, password: str) -> None:
    new = new_account(password=password, name="Lovelace 1815")
    document = problem(await nobody.post("/accounts", json=new), 400, "weak_password")
    assert [fault["pointer"] for fault in document["errors"]] == ["/password"]
    assert document["suggestions"]


async def test_the_mail_speaks_the_language_that_was_asked_for(nobody: httpx2.AsyncClient, mailbox: Mailbox) -> None:
    new = new_account(language="fi")
    challenge_id = await start(nobody, new)
    mail = await mailbox.wait_for(new["email"])
    assert mail.message["Content-Language"] == "fi"
    assert ok(await by_code(nobody, challenge_id, mail.code))["language"] == "fi"
