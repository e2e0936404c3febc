"""Passkeys, with an authenticator that does what a test wants. `tests/e2e` has a real browser."""

import asyncio
import copy
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webauthn.helpers import bytes_to_base64url

from courtyard.kernel.http import API
from tests.conftest import ServerFactory
from tests.credentials import (
    ORIGIN,
    PRESENT,
    VERIFIED,
    Authenticator,
    add_passkey,
    passkey_login,
    set_up_app,
)
from tests.factories import Factory, Person, ok, problem
from tests.mailbox import Mailbox
from tests.running import MovableClock
from tests.sockets import Json

BROWSER = {"browser_key": "the-browser-of-this-test"}


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator()


async def ask(make: Factory) -> Json:
    return ok(await make.nobody.post("/sessions/passkey/options", json=BROWSER))


async def send(make: Factory, asked: Json, credential: Json, **changes: Any) -> httpx2.Response:
    answer = {**BROWSER, "challenge": asked["challenge"], "credential": credential, **changes}
    return await make.nobody.post("/sessions/passkey", json=answer)


async def test_several_passkeys(make: Factory, mailbox: Mailbox) -> None:
    person, laptop, phone = await make.person(), Authenticator(), Authenticator(counts=False)
    first = await add_passkey(person, laptop, "Laptop")
    assert first["name"] == "Laptop"
    assert (first["backed_up"], first["used_at"], first["version"]) == (False, None, 1)
    asked = ok(await person.http.post("/me/passkeys/options"))
    options = asked["options"]
    assert options["rp"] == {"id": "localhost", "name": "Courtyard"}
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    # The authenticator that has one already is not to make a second one. What is no transport was left out.
    assert options["excludeCredentials"] == [
        {"type": "public-key", "id": bytes_to_base64url(laptop.credentials[0].id), "transports": ["internal", "hybrid"]}
    ]
    await add_passkey(person, phone, "Phone")
    assert [each["name"] for each in ok(await person.http.get("/me/passkeys"))] == ["Phone", "Laptop"]
    assert ok(await person.http.get("/me/security"))["passkeys"] == ok(await person.http.get("/me/passkeys"))
    for _ in range(2):
        assert (
            "passkey was added" in (await mailbox.wait_for(person.email or "", "accounts.second_factor_changed")).text
        )
    for authenticator in (laptop, phone, laptop, phone):
        login = ok(await passkey_login(make.nobody, authenticator))
        assert login["account"]["id"] == str(person.id)
    assert all(each["used_at"] is not None for each in ok(await person.http.get("/me/passkeys")))


async def test_a_login_with_a_passkey_asks_for_no_other_factor(make: Factory, authenticator: Authenticator) -> None:
    person = await make.person()
    await set_up_app(person)
    await add_passkey(person, authenticator)
    entered = make.signed_in(ok(await passkey_login(make.nobody, authenticator)))
    (current,) = [each for each in ok(await entered.http.get("/sessions")) if each["current"]]
    assert current["methods"] == ["passkey"]
    assert ok(await entered.http.get("/me/security"))["has_second_factor"]


async def test_a_browser_logs_in_with_cookies(make: Factory, authenticator: Authenticator) -> None:
    person = await make.person()
    await add_passkey(person, authenticator)
    async with make.server.client(base_url=make.server.url + API) as browser:
        asked = ok(await browser.post("/sessions/passkey/options", json={}))
        assert "allowCredentials" not in asked["options"] or asked["options"]["allowCredentials"] == []
        answer = {"challenge": asked["challenge"], "credential": authenticator.answer(asked["options"])}
        # Not without the cookie that the question brought.
        problem(await make.nobody.post("/sessions/passkey", json=answer), 400, "invalid_challenge")
        assert ok(await browser.post("/sessions/passkey", json={**answer, "cookies": True}))["access_token"] is None
        assert ok(await browser.get("/me"))["id"] == str(person.id)


@pytest.mark.parametrize(
    "wrong",
    [
        {"origin": "http://localhost:8001"},
        {"origin": "https://evil.example"},
        {"rp_id": "evil.example"},
        {"flags": PRESENT},
        {"flags": VERIFIED},
        {"crossOrigin": True},
        {"type": "webauthn.create"},
        {"challenge": "AAAA"},
    ],
    ids=str,
)
async def test_an_answer_that_does_not_fit_is_refused(
    make: Factory, authenticator: Authenticator, wrong: dict[str, Any]
) -> None:
    person = await make.person()
    await add_passkey(person, authenticator)
    problem(await passkey_login(make.nobody, authenticator, **wrong), 400, "passkey_refused")
    ok(await passkey_login(make.nobody, authenticator))


async def test_a_wrong_signature_or_key_or_owner_is_refused(make: Factory, authenticator: Authenticator) -> None:
    person, other = await make.person(), await make.person()
    await add_passkey(person, authenticator)
    await add_passkey(other, authenticator)
    mine, others = authenticator.credentials
    asked = await ask(make)
    # Signed by somebody else.
    forged = authenticator.answer(asked["options"], credential=others)
    forged["id"] = forged["rawId"] = bytes_to_base64url(mine.id)
    problem(await send(make, asked, forged), 400, "passkey_refused")
    for handle in (bytes_to_base64url(other.id.bytes), None):
        asked = await ask(make)
        answer = authenticator.answer(asked["options"], credential=mine)
        answer["response"]["userHandle"] = handle
        problem(await send(make, asked, answer), 400, "passkey_refused")
    # One that nobody has kept.
    asked = await ask(make)
    stranger = Authenticator()
    stranger.create({"user": {"id": bytes_to_base64url(person.id.bytes)}, "challenge": "AAAA"})
    problem(await send(make, asked, stranger.answer(asked["options"])), 400, "passkey_refused")


async def test_an_answer_counts_once_in_one_browser_for_five_minutes(
    server_factory: ServerFactory, clock: MovableClock, authenticator: Authenticator
) -> None:
    make = Factory(await server_factory(clock=clock))
    person = await make.person()
    await add_passkey(person, authenticator)
    asked = await ask(make)
    answer = authenticator.answer(asked["options"])
    problem(await send(make, asked, answer, browser_key="the-browser-of-another"), 400, "invalid_challenge")
    ok(await send(make, asked, answer))
    problem(await send(make, asked, answer), 400, "invalid_challenge")
    # Neither to another question.
    problem(await send(make, await ask(make), answer), 400, "passkey_refused")
    late = await ask(make)
    clock.move(seconds=301)
    problem(await send(make, late, authenticator.answer(late["options"])), 400, "invalid_challenge")


async def test_a_question_that_was_answered_wrong_is_used_up(make: Factory, authenticator: Authenticator) -> None:
    person = await make.person()
    await add_passkey(person, authenticator)
    asked = await ask(make)
    problem(await send(make, asked, authenticator.answer(asked["options"], flags=PRESENT)), 400, "passkey_refused")
    problem(await send(make, asked, authenticator.answer(asked["options"])), 400, "invalid_challenge")


async def test_of_two_logins_at_once_with_one_answer_one_succeeds(make: Factory, authenticator: Authenticator) -> None:
    person = await make.person()
    await add_passkey(person, authenticator)
    asked = await ask(make)
    answer = authenticator.answer(asked["options"])
    answers = await asyncio.gather(*(send(make, asked, answer) for _ in range(4)))
    assert sorted(each.status_code for each in answers) == [201, 400, 400, 400]


async def test_of_two_logins_at_once_with_one_counter_one_succeeds(
    make: Factory, authenticator: Authenticator, mailbox: Mailbox
) -> None:
    person = await make.person()
    await add_passkey(person, authenticator)
    (credential,) = authenticator.credentials
    answers = []
    for _ in range(3):
        asked = await ask(make)
        answers.append((asked, authenticator.answer(asked["options"])))
        credential.counter -= 1
    found = await asyncio.gather(*(send(make, asked, answer) for asked, answer in answers))
    assert sorted(each.status_code for each in found) == [201, 400, 400]
    for _ in range(2):
        notice = await mailbox.wait_for(person.email or "", "accounts.security_notice")
        assert notice.subject == "One of your passkeys may have been copied"


async def test_a_copied_authenticator_is_refused_and_told(
    make: Factory, authenticator: Authenticator, mailbox: Mailbox
) -> None:
    person = await make.person()
    await add_passkey(person, authenticator, "Laptop")
    copied = copy.copy(authenticator)
    copied.credentials = [copy.copy(each) for each in authenticator.credentials]
    ok(await passkey_login(make.nobody, authenticator))
    ok(await passkey_login(make.nobody, authenticator))
    problem(await passkey_login(make.nobody, copied), 400, "passkey_refused")
    notice = await mailbox.wait_for(person.email or "", "accounts.security_notice")
    assert "“Laptop”" in notice.text
    # Nothing else is closed: neither sessions nor the passkey where it counts on.
    ok(await person.http.get("/me"))
    ok(await passkey_login(make.nobody, authenticator))


async def test_an_authenticator_without_a_counter_is_good_again_and_again(make: Factory) -> None:
    person, phone = await make.person(), Authenticator(counts=False)
    await add_passkey(person, phone)
    for _ in range(3):
        ok(await passkey_login(make.nobody, phone))


@pytest.mark.parametrize(
    "wrong",
    [{"origin": "https://evil.example"}, {"rp_id": "evil.example"}, {"flags": PRESENT}, {"flags": VERIFIED}],
    ids=str,
)
async def test_a_new_passkey_that_does_not_fit_is_refused(
    make: Factory, authenticator: Authenticator, wrong: dict[str, Any]
) -> None:
    person = await make.person()
    asked = ok(await person.http.post("/me/passkeys/options"))
    new = {"challenge": asked["challenge"], "name": "Laptop"}
    refused = authenticator.create(asked["options"], **wrong)
    problem(await person.http.post("/me/passkeys", json={**new, "credential": refused}), 400, "passkey_refused")
    # The question was used up.
    good = authenticator.create(asked["options"])
    problem(await person.http.post("/me/passkeys", json={**new, "credential": good}), 400, "invalid_challenge")
    assert ok(await person.http.get("/me/passkeys")) == []


async def test_a_passkey_is_made_by_the_session_that_asked_and_once(
    make: Factory, authenticator: Authenticator
) -> None:
    person, other = await make.person(), await make.person()
    asked = ok(await person.http.post("/me/passkeys/options"))
    credential = authenticator.create(asked["options"])
    new = {"challenge": asked["challenge"], "name": "Laptop", "credential": credential}
    problem(await other.http.post("/me/passkeys", json=new), 400, "invalid_challenge")
    ok(await person.http.post("/me/passkeys", json=new))
    problem(await person.http.post("/me/passkeys", json=new), 400, "invalid_challenge")
    # Nobody else can have the same one.
    asked = ok(await other.http.post("/me/passkeys/options"))
    stolen = authenticator.create(asked["options"])
    authenticator.credentials[-1].key = authenticator.credentials[0].key
    assert stolen["id"] != credential["id"]
    taken = {"challenge": asked["challenge"], "name": "Laptop", "credential": _with_challenge(credential, asked)}
    problem(await other.http.post("/me/passkeys", json=taken), 400, "passkey_refused")


def _with_challenge(credential: Json, asked: Json) -> Json:
    """Return a known passkey as if it had been made for this question: `none` attestations are not signed."""
    fresh = Authenticator().create(asked["options"])
    response = {**credential["response"], "clientDataJSON": fresh["response"]["clientDataJSON"]}
    return {**credential, "response": response}


async def test_an_account_has_only_so_many(make: Factory, authenticator: Authenticator) -> None:
    person = await make.person()
    for number in range(19):
        await add_passkey(person, authenticator, f"Key {number}")
    asked = [ok(await person.http.post("/me/passkeys/options")) for _ in range(3)]
    answers = await asyncio.gather(
        *(
            person.http.post(
                "/me/passkeys",
                json={
                    "challenge": each["challenge"],
                    "name": "Last",
                    "credential": authenticator.create(each["options"]),
                },
            )
            for each in asked
        )
    )
    assert sorted(each.status_code for each in answers) == [201, 409, 409]
    problem(await person.http.post("/me/passkeys/options"), 409, "too_many_credentials")


async def test_renaming_and_removing(make: Factory, authenticator: Authenticator, mailbox: Mailbox) -> None:
    person, other = await make.person(), await make.person()
    passkey = await add_passkey(person, authenticator)
    path = f"/me/passkeys/{passkey['id']}"
    problem(await other.http.patch(path, json={"name": "Mine"}), 404, "not_found")
    problem(await other.http.delete(path), 404, "not_found")
    renamed = ok(await person.http.patch(path, json={"name": "Work"}, headers={"If-Match": '"1"'}))
    assert (renamed["name"], renamed["version"]) == ("Work", 2)
    problem(
        await person.http.patch(path, json={"name": "Home"}, headers={"If-Match": '"1"'}), 412, "precondition_failed"
    )
    assert ok(await person.http.patch(path, json={}))["version"] == 2
    answers = await asyncio.gather(*(person.http.patch(path, json={"name": f"Name {n}"}) for n in range(3)))
    assert {each.status_code for each in answers} <= {200, 412}
    await mailbox.wait_for(person.email or "", "accounts.second_factor_changed")
    ok(await person.http.delete(path))
    notice = await mailbox.wait_for(person.email or "", "accounts.second_factor_changed")
    assert "passkey was removed" in notice.text
    problem(await person.http.delete(path), 404, "not_found")
    problem(await passkey_login(make.nobody, authenticator), 400, "passkey_refused")


async def test_removing_wants_a_recent_proof_which_a_passkey_is(
    server_factory: ServerFactory, clock: MovableClock, authenticator: Authenticator
) -> None:
    make = Factory(await server_factory(clock=clock, security={"access_token_seconds": 86_400}))
    person, other, theirs = await make.person(), await make.person(), Authenticator()
    passkey = await add_passkey(person, authenticator)
    await add_passkey(other, theirs)
    clock.move(seconds=901)
    make.server.runtime.identity.forget()
    path = f"/me/passkeys/{passkey['id']}"
    problem(await person.http.delete(path), 403, "step_up_needed")

    async def prove(device: Authenticator, **wrong: Any) -> httpx2.Response:
        asked = ok(await person.http.post("/sessions/current/proof/options"))
        proof = {
            "by": "passkey",
            "challenge": asked["challenge"],
            "credential": device.answer(asked["options"], **wrong),
        }
        return await person.http.post("/sessions/current/proof", json=proof)

    problem(await prove(theirs), 400, "passkey_refused")
    problem(await prove(authenticator, flags=PRESENT), 400, "passkey_refused")
    # An answer that logs in proves nothing here.
    asked = await ask(make)
    proof = {"by": "passkey", "challenge": asked["challenge"], "credential": authenticator.answer(asked["options"])}
    problem(await person.http.post("/sessions/current/proof", json=proof), 400, "invalid_challenge")
    problem(await person.http.delete(path), 403, "step_up_needed")
    ok(await prove(authenticator))
    ok(await person.http.delete(path))


async def test_a_passkey_of_an_account_that_was_closed_opens_nothing(
    make: Factory, authenticator: Authenticator
) -> None:
    person = await make.person()
    await add_passkey(person, authenticator)
    ok(await person.http.post("/me/deactivate"))
    problem(await passkey_login(make.nobody, authenticator), 401, "wrong_credentials")


async def test_a_visitor_has_no_passkeys(make: Factory) -> None:
    visitor = await make.visitor()
    problem(await visitor.http.post("/me/passkeys/options"), 403, "not_for_visitors")


async def test_what_passkeys_belong_to_can_be_chosen(
    server_factory: ServerFactory, authenticator: Authenticator
) -> None:
    site = {"passkey_rp_id": "example.org", "passkey_origins": ("https://www.example.org",)}
    make = Factory(await server_factory(accounts=site))
    person = await make.person()
    asked = ok(await person.http.post("/me/passkeys/options"))
    assert asked["options"]["rp"]["id"] == "example.org"
    fitting: dict[str, Any] = {"origin": "https://www.example.org", "rp_id": "example.org"}
    new = {
        "challenge": asked["challenge"],
        "name": "Laptop",
        "credential": authenticator.create(asked["options"], **fitting),
    }
    ok(await person.http.post("/me/passkeys", json=new))
    ok(await passkey_login(make.nobody, authenticator, **fitting))
    problem(await passkey_login(make.nobody, authenticator, origin=ORIGIN), 400, "passkey_refused")


BYTES = st.binary(min_size=1, max_size=300).map(bytes_to_base64url)


async def test_whatever_an_authenticator_says_is_answered(make: Factory, authenticator: Authenticator) -> None:
    """Nothing that is sent instead of an answer ends in a fault of the server."""
    person = await make.person()
    await add_passkey(person, authenticator)
    await _fuzz(make, person, authenticator)


async def _fuzz(make: Factory, person: Person, authenticator: Authenticator) -> None:
    loop = asyncio.get_running_loop()

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(["clientDataJSON", "authenticatorData", "signature", "userHandle", "attestationObject"]),
        BYTES,
        st.binary(max_size=80),
    )
    def send_wrong(part: str, replacement: str, tail: bytes) -> None:
        asyncio.run_coroutine_threadsafe(_send_wrong(part, replacement, tail), loop).result(30)

    async def _send_wrong(part: str, replacement: str, tail: bytes) -> None:
        if part == "attestationObject":
            asked = ok(await person.http.post("/me/passkeys/options"))
            made = authenticator.create(asked["options"])
            authenticator.credentials.pop()
            # Half of it right, the other half anything.
            right = made["response"][part]
            made["response"][part] = (right[: len(right) // 2] + bytes_to_base64url(tail)) or replacement
            new = {"challenge": asked["challenge"], "name": "Laptop", "credential": made}
            problem(await person.http.post("/me/passkeys", json=new), 400, "passkey_refused")
        asked = await ask(make)
        credential = authenticator.answer(asked["options"])
        credential["response"][part] = replacement
        if part != "attestationObject":
            problem(await send(make, asked, credential), 400, "passkey_refused")

    await asyncio.to_thread(send_wrong)
