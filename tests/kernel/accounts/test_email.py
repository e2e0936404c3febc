"""Logging in by mail, and moving to another address."""

import asyncio
from typing import Any

import httpx2
import pytest

from courtyard.kernel.http import API, BROWSER_COOKIE
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, Person, ok, problem, unique
from tests.mailbox import Mailbox
from tests.running import MovableClock


@pytest.fixture
async def person(make: Factory) -> Person:
    return await make.person()


def browser_of(make: Factory) -> httpx2.AsyncClient:
    """Return a client that keeps its cookies."""
    return make.server.client(base_url=make.server.url + API)


async def ask(client: httpx2.AsyncClient, email: str, **more: Any) -> str:
    answer = await client.post("/sessions/email", json={"email": email, **more})
    assert answer.status_code == 202
    return str(answer.json()["challenge_id"])


def link_proof(link: str, **more: Any) -> dict[str, Any]:
    return {"by": "link", "token": link.rpartition("/")[2], **more}


def code_proof(challenge_id: str, code: str, **more: Any) -> dict[str, Any]:
    return {"by": "code", "challenge_id": challenge_id, "code": code, **more}


async def test_logging_in_with_a_link_in_the_browser_that_asked(
    make: Factory, person: Person, mailbox: Mailbox
) -> None:
    assert person.email is not None
    browser = browser_of(make)
    await ask(browser, person.email)
    assert BROWSER_COOKIE in browser.cookies
    proof = link_proof((await mailbox.wait_for(person.email, "accounts.login")).link, cookies=True)
    assert ok(await browser.post("/sessions/email/proof", json=proof))["account"]["id"] == str(person.id)
    assert ok(await browser.get("/me"))["id"] == str(person.id)
    problem(await browser.post("/sessions/email/proof", json=proof), 400, "invalid_challenge")


async def test_a_link_that_is_opened_in_another_browser_logs_nobody_in(
    make: Factory, person: Person, mailbox: Mailbox
) -> None:
    assert person.email is not None
    browser = browser_of(make)
    challenge_id = await ask(browser, person.email)
    mail = await mailbox.wait_for(person.email, "accounts.login")
    stranger = browser_of(make)
    await ask(stranger, f"{unique('nobody')}@example.org")
    for other in (stranger, make.nobody):
        for proof in (link_proof(mail.link), code_proof(challenge_id, mail.code)):
            problem(await other.post("/sessions/email/proof", json=proof), 400, "invalid_challenge")
    # And it has spoilt nothing.
    ok(await browser.post("/sessions/email/proof", json=code_proof(challenge_id, mail.code)))


async def test_a_client_without_cookies_is_known_by_its_key(make: Factory, person: Person, mailbox: Mailbox) -> None:
    assert person.email is not None
    key = {"browser_key": unique("key-of-this-very-client")}
    challenge_id = await ask(make.nobody, person.email, **key)
    code = (await mailbox.wait_for(person.email, "accounts.login")).code
    problem(
        await make.nobody.post("/sessions/email/proof", json=code_proof(challenge_id, code)), 400, "invalid_challenge"
    )
    login = ok(await make.nobody.post("/sessions/email/proof", json=code_proof(challenge_id, code, **key)))
    assert login["account"]["id"] == str(person.id)


async def test_an_unknown_address_gets_the_same_answer_and_another_mail(make: Factory, mailbox: Mailbox) -> None:
    email = f"{unique('nobody')}@example.org"
    browser = browser_of(make)
    challenge_id = await ask(browser, email)
    assert (await mailbox.wait_for(email)).template == "accounts.login_unknown"
    for code in ("000000", "123456"):
        problem(
            await browser.post("/sessions/email/proof", json=code_proof(challenge_id, code)), 400, "invalid_challenge"
        )


async def test_a_login_by_mail_ends_with_its_time(server_factory: ServerFactory, clock: MovableClock) -> None:
    server = await server_factory(clock=clock)
    make, mailbox = Factory(server), Mailbox(server.settings.data_path)
    person = await make.person()
    assert person.email is not None
    browser = browser_of(make)
    challenge_id = await ask(browser, person.email)
    code = (await mailbox.wait_for(person.email)).code
    clock.move(seconds=900)
    problem(await browser.post("/sessions/email/proof", json=code_proof(challenge_id, code)), 400, "invalid_challenge")


async def test_moving_to_another_address(make: Factory, person: Person, mailbox: Mailbox) -> None:
    assert person.email is not None
    new = f"{unique('new')}@example.org"
    answer = await person.http.post("/me/email", json={"email": new.upper()})
    assert answer.status_code == 202
    mail = await mailbox.wait_for(new, "accounts.confirm_email")
    assert ok(await person.http.get("/me"))["email"] == person.email
    # The link counts wherever it is opened: it proves the address, and logs nobody in.
    moved = ok(await browser_of(make).post("/me/email/confirm", json=link_proof(mail.link)))
    assert (moved["id"], moved["email"]) == (str(person.id), new)
    told = await mailbox.wait_for(person.email, "accounts.email_changed")
    assert new not in told.text + told.html
    problem(
        await make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD}),
        401,
        "wrong_credentials",
    )
    ok(await make.nobody.post("/sessions", json={"email": new, "password": PASSWORD}))


async def test_nobody_moves_to_an_address_that_is_taken(make: Factory, person: Person, mailbox: Mailbox) -> None:
    other = await make.person()
    assert other.email is not None
    answer = await person.http.post("/me/email", json={"email": other.email})
    assert answer.status_code == 202
    assert (await mailbox.wait_for(other.email)).template == "accounts.already_registered"


async def test_of_two_who_move_to_one_address_one_gets_it(make: Factory, mailbox: Mailbox) -> None:
    new = f"{unique('new')}@example.org"
    people = [await make.person() for _ in range(3)]
    proofs = []
    for person in people:
        ok(await person.http.post("/me/email", json={"email": new}))
        proofs.append(link_proof((await mailbox.wait_for(new, "accounts.confirm_email")).link))
    answers = await asyncio.gather(*(make.nobody.post("/me/email/confirm", json=proof) for proof in proofs))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400]


async def test_links_to_the_old_address_open_nothing_any_more(make: Factory, person: Person, mailbox: Mailbox) -> None:
    assert person.email is not None
    browser = browser_of(make)
    await ask(browser, person.email)
    old = link_proof((await mailbox.wait_for(person.email, "accounts.login")).link)
    new = f"{unique('new')}@example.org"
    ok(await person.http.post("/me/email", json={"email": new}))
    ok(await browser.post("/me/email/confirm", json=link_proof((await mailbox.wait_for(new)).link)))
    problem(await browser.post("/sessions/email/proof", json=old), 400, "invalid_challenge")


async def test_a_login_from_a_new_device_is_told(make: Factory, person: Person, mailbox: Mailbox) -> None:
    assert person.email is not None
    credentials = {"email": person.email, "password": PASSWORD}
    headers = {"User-Agent": "A browser <b>of</b> somebody"}
    browser = browser_of(make)
    ok(await browser.post("/sessions", json={**credentials, "cookies": True}, headers=headers))
    told = await mailbox.wait_for(person.email, "accounts.new_device")
    assert "A browser <b>of</b> somebody" in told.text
    assert "<b>of</b>" not in told.html
    # From then on it is known, and so is the device of the first login.
    ok(await browser.post("/sessions", json={**credentials, "cookies": True}, headers=headers))
    ok(await make.nobody.post("/sessions", json=credentials))
    ok(await make.nobody.post("/password-resets", json={"email": person.email}))
    await mailbox.wait_for(person.email, "accounts.password_reset")
    assert mailbox.waiting(person.email, "accounts.new_device") == []
