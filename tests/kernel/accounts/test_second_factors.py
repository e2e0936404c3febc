"""The authenticator app and the recovery codes."""

import asyncio
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import select

from courtyard.kernel.accounts.models import RecoveryCodeRow, TotpRow
from courtyard.kernel.database import Prepared, ReadUnit
from courtyard.kernel.http import API
from tests.conftest import ServerFactory
from tests.credentials import App, first_factor, set_up_app
from tests.factories import PASSWORD, Factory, Person, ok, problem
from tests.mailbox import Mailbox
from tests.running import MovableClock, RunningServer
from tests.sockets import Json

LONG = {"access_token_seconds": 86_400}


@pytest.fixture
async def timed(server_factory: ServerFactory, clock: MovableClock) -> Factory:
    """Makes people on a server whose clock can be moved."""
    return Factory(await server_factory(clock=clock, security=LONG))


async def answer(http: httpx2.AsyncClient, challenge: str, **factor: str) -> httpx2.Response:
    by = "totp" if "code" in factor else "recovery_code"
    return await http.post("/sessions/second-factor", json={"by": by, "challenge": challenge, **factor})


async def log_in(make: Factory, person: Person, **factor: str) -> httpx2.Response:
    return await answer(make.nobody, await first_factor(make.nobody, person), **factor)


async def stored_secret(server: RunningServer, account_id: UUID) -> bytes:
    statement = Prepared(select(TotpRow.secret).where(TotpRow.account_id == account_id), bytes)
    return await ReadUnit(server.runtime.placement).one(statement)


async def stored_codes(server: RunningServer, account_id: UUID) -> list[bytes]:
    statement = Prepared(select(RecoveryCodeRow.digest).where(RecoveryCodeRow.account_id == account_id), bytes)
    return await ReadUnit(server.runtime.placement).all(statement)


async def test_setting_up_an_app(make: Factory, mailbox: Mailbox) -> None:
    person = await make.person()
    before = ok(await person.http.get("/me/security"))
    assert before == {
        "has_password": True,
        "totp_since": None,
        "recovery_codes_left": 0,
        "passkeys": [],
        "external_identities": [],
        "has_second_factor": False,
    }
    begun = ok(await person.http.post("/me/totp"))
    assert begun["uri"].startswith("otpauth://totp/Courtyard:")
    assert begun["expires_in_seconds"] == 900
    # As long as no code has come back, logins ask for none.
    ok(await make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD}))
    assert ok(await person.http.get("/me/security")) == before
    codes = ok(await person.http.post("/me/totp/confirm", json={"code": App(begun["secret"]).code()}))["codes"]
    assert len(set(codes)) == 10
    after = ok(await person.http.get("/me/security"))
    assert after["totp_since"] is not None
    assert after["recovery_codes_left"] == 10
    # Who has just shown a code need not log in anew to count as somebody with two factors.
    assert after["has_second_factor"]
    notice = await mailbox.wait_for(person.email or "", "accounts.second_factor_changed")
    assert "authenticator app was added" in notice.text
    await first_factor(make.nobody, person)


async def test_secrets_are_kept_neither_in_clear_nor_for_another_row(make: Factory) -> None:
    person, other = await make.person(), await make.person()
    app = await set_up_app(person)
    server, keys = make.server, make.server.runtime.keys
    encrypted = await stored_secret(server, person.id)
    assert app.secret.encode() not in encrypted
    assert keys.decrypt(encrypted, "totp.secret", person.id).decode() == app.secret
    with pytest.raises(Exception, match="belongs to another row"):
        keys.decrypt(encrypted, "totp.secret", other.id)
    kept = await stored_codes(server, person.id)
    assert [len(digest) for digest in kept] == [32] * 10
    assert not {code.replace("-", "").encode() for code in app.recovery_codes} & set(kept)


async def test_only_a_first_code_makes_an_app_count(timed: Factory, clock: MovableClock) -> None:
    person = await timed.person()
    problem(await person.http.post("/me/totp/confirm", json={"code": "123456"}), 409, "no_totp")
    first = App(ok(await person.http.post("/me/totp"))["secret"], clock=clock)
    app = App(ok(await person.http.post("/me/totp"))["secret"], clock=clock)
    # The second secret has taken the place of the first.
    problem(await person.http.post("/me/totp/confirm", json={"code": first.code()}), 400, "wrong_code")
    ok(await person.http.post("/me/totp/confirm", json={"code": app.code()}))
    clock.move(seconds=60)
    problem(await person.http.post("/me/totp/confirm", json={"code": app.code()}), 409, "totp_set_up")
    problem(await person.http.post("/me/totp"), 409, "totp_set_up")


async def test_setting_up_takes_no_longer_than_a_quarter_of_an_hour(
    server_factory: ServerFactory, clock: MovableClock
) -> None:
    make = Factory(await server_factory(clock=clock, security=LONG, accounts={"step_up_seconds": 86_400}))
    person = await make.person()
    app = App(ok(await person.http.post("/me/totp"))["secret"], clock=clock)
    clock.move(seconds=901)
    problem(await person.http.post("/me/totp/confirm", json={"code": app.code()}), 409, "no_totp")


async def test_of_many_who_confirm_at_once_one_succeeds(make: Factory) -> None:
    person = await make.person()
    app = App(ok(await person.http.post("/me/totp"))["secret"])
    code = {"code": app.code()}
    answers = await asyncio.gather(*(person.http.post("/me/totp/confirm", json=code) for _ in range(4)))
    assert sorted(each.status_code for each in answers) == [201, 409, 409, 409]
    assert len(await stored_codes(make.server, person.id)) == 10


async def test_a_visitor_has_no_second_factor(make: Factory) -> None:
    visitor = await make.visitor()
    problem(await visitor.http.post("/me/totp"), 403, "not_for_visitors")
    problem(await visitor.http.post("/me/totp/confirm", json={"code": "123456"}), 409, "no_totp")


async def test_logging_in_with_a_code(make: Factory) -> None:
    person = await make.person()
    app = await set_up_app(person)
    login = ok(await log_in(make, person, code=app.code(1)))
    entered = make.signed_in(login)
    sessions = ok(await entered.http.get("/sessions"))
    (current,) = [each for each in sessions if each["current"]]
    assert current["methods"] == ["password", "totp"]
    assert ok(await entered.http.get("/me/security"))["has_second_factor"]


async def test_each_code_counts_once(timed: Factory, clock: MovableClock) -> None:
    person = await timed.person()
    app = await set_up_app(person, clock)
    # That of now was used to set up; that of the next step may come early.
    problem(await log_in(timed, person, code=app.code()), 400, "wrong_code")
    early = app.code(1)
    ok(await log_in(timed, person, code=early))
    problem(await log_in(timed, person, code=early), 400, "wrong_code")
    clock.move(seconds=30)
    problem(await log_in(timed, person, code=early), 400, "wrong_code")
    clock.move(seconds=30)
    late = app.code()
    clock.move(seconds=30)
    ok(await log_in(timed, person, code=late))
    ok(await log_in(timed, person, code=app.code()))


async def test_a_clock_that_goes_back_lets_no_code_count_twice(timed: Factory, clock: MovableClock) -> None:
    person = await timed.person()
    app = await set_up_app(person, clock)
    clock.move(minutes=10)
    used = app.code()
    ok(await log_in(timed, person, code=used))
    clock.move(minutes=-10)
    for code in (used, app.code(), app.code(1)):
        problem(await log_in(timed, person, code=code), 400, "wrong_code")


async def test_of_two_logins_with_one_code_at_once_one_succeeds(make: Factory) -> None:
    person = await make.person()
    app = await set_up_app(person)
    challenges = [await first_factor(make.nobody, person) for _ in range(4)]
    code = app.code(1)
    answers = await asyncio.gather(*(answer(make.nobody, challenge, code=code) for challenge in challenges))
    assert sorted(each.status_code for each in answers) == [201, 400, 400, 400]


async def test_of_two_answers_to_one_challenge_at_once_one_succeeds(make: Factory) -> None:
    person = await make.person()
    app = await set_up_app(person)
    challenge = await first_factor(make.nobody, person)
    answers = await asyncio.gather(
        *(answer(make.nobody, challenge, recovery_code=code) for code in app.recovery_codes[:3])
    )
    assert sorted(each.status_code for each in answers) == [201, 400, 400]
    # The codes that came too late are still good.
    assert ok(await person.http.get("/me/security"))["recovery_codes_left"] == 9


async def test_a_challenge_survives_four_wrong_codes_and_not_a_fifth(make: Factory) -> None:
    person = await make.person()
    app = await set_up_app(person)
    challenge = await first_factor(make.nobody, person)
    wrong = "0000-0000-0000"
    for _ in range(4):
        problem(await answer(make.nobody, challenge, recovery_code=wrong), 400, "wrong_code")
    ok(await answer(make.nobody, challenge, recovery_code=app.recovery_codes[0]))
    problem(await answer(make.nobody, challenge, recovery_code=app.recovery_codes[1]), 400, "invalid_challenge")
    other = await first_factor(make.nobody, person)
    for _ in range(5):
        problem(await answer(make.nobody, other, recovery_code=wrong), 400, "wrong_code")
    problem(await answer(make.nobody, other, recovery_code=app.recovery_codes[1]), 400, "invalid_challenge")


async def test_beginning_the_login_anew_gives_no_more_tries(
    timed: Factory, clock: MovableClock, mailbox: Mailbox
) -> None:
    person = await timed.person()
    app = await set_up_app(person, clock)
    clock.move(minutes=1)
    for _ in range(5):
        problem(await log_in(timed, person, code=app.wrong_code()), 400, "wrong_code")
    challenge = await first_factor(timed.nobody, person)
    refused = await answer(timed.nobody, challenge, code=app.code())
    problem(refused, 429, "second_factor_slowed")
    assert 0 < int(refused.headers["retry-after"]) <= 3
    # The wait costs no try of the challenge, and ends by itself.
    clock.move(seconds=3)
    ok(await answer(timed.nobody, challenge, code=app.code()))
    # What was right has set the count back.
    clock.move(minutes=1)
    problem(await log_in(timed, person, code=app.wrong_code()), 400, "wrong_code")
    ok(await log_in(timed, person, code=app.code()))
    assert mailbox.waiting(person.email or "", "accounts.security_notice") == []


async def test_whoever_guesses_on_keeps_the_owner_out_of_codes_alone(
    timed: Factory, clock: MovableClock, mailbox: Mailbox
) -> None:
    person = await timed.person()
    app = await set_up_app(person, clock)
    for _ in range(14):
        problem(await log_in(timed, person, code=app.wrong_code()), 400, "wrong_code")
        clock.move(minutes=15, seconds=1)
    problem(await log_in(timed, person, code=app.wrong_code()), 400, "wrong_code")
    problem(await log_in(timed, person, code=app.code()), 429, "second_factor_slowed")
    # The owner is told once, and gets in with paper.
    notice = await mailbox.wait_for(person.email or "", "accounts.security_notice")
    assert notice.subject == "Somebody is guessing your codes"
    ok(await log_in(timed, person, recovery_code=app.recovery_codes[3]))
    assert mailbox.waiting(person.email or "", "accounts.security_notice") == []
    # After an hour without a wrong one, the count begins anew.
    clock.move(minutes=61)
    for _ in range(4):
        problem(await log_in(timed, person, code=app.wrong_code()), 400, "wrong_code")
    ok(await log_in(timed, person, code=app.code()))


async def test_many_wrong_codes_at_once_are_counted_one_by_one(make: Factory) -> None:
    person = await make.person()
    app = await set_up_app(person)
    challenges = [await first_factor(make.nobody, person) for _ in range(8)]
    code = app.wrong_code()
    answers = await asyncio.gather(*(answer(make.nobody, challenge, code=code) for challenge in challenges))
    assert sorted(each.status_code for each in answers) == [*[400] * 5, *[429] * 3]


async def test_a_browser_is_bound_to_its_login(make: Factory) -> None:
    person = await make.person()
    app = await set_up_app(person)
    credentials = {"email": person.email, "password": PASSWORD, "cookies": True}
    async with make.server.client(base_url=make.server.url + API) as browser:
        refused = await browser.post("/sessions", json=credentials)
        challenge = problem(refused, 401, "second_factor_needed")["challenge"]
        # The refusal has brought the secret by which the browser is known.
        assert "courtyard_browser" in browser.cookies
        factor = {"by": "recovery_code", "challenge": challenge, "recovery_code": app.recovery_codes[0]}
        problem(await make.nobody.post("/sessions/second-factor", json=factor), 400, "invalid_challenge")
        entered = await browser.post("/sessions/second-factor", json={**factor, "cookies": True})
        assert ok(entered)["access_token"] is None
        assert ok(await browser.get("/me"))["id"] == str(person.id)


async def test_a_login_by_mail_asks_for_the_second_factor_too(make: Factory, mailbox: Mailbox) -> None:
    person = await make.person()
    app = await set_up_app(person)
    known = {"browser_key": "browser-of-this-test"}
    started = ok(await make.nobody.post("/sessions/email", json={"email": person.email, **known}))
    code = (await mailbox.wait_for(person.email or "", "accounts.login")).code
    proof = {"by": "code", "challenge_id": started["challenge_id"], "code": code, **known}
    document = problem(await make.nobody.post("/sessions/email/proof", json=proof), 401, "second_factor_needed")
    factor = {"by": "totp", "challenge": document["challenge"], "code": app.code(1), **known}
    login = ok(await make.nobody.post("/sessions/second-factor", json=factor))
    (current,) = [each for each in ok(await make.signed_in(login).http.get("/sessions")) if each["current"]]
    assert current["methods"] == ["email", "totp"]


async def test_a_challenge_is_over_after_ten_minutes(timed: Factory, clock: MovableClock) -> None:
    person = await timed.person()
    app = await set_up_app(person, clock)
    challenge = await first_factor(timed.nobody, person)
    clock.move(seconds=601)
    problem(await answer(timed.nobody, challenge, code=app.code()), 400, "invalid_challenge")


async def test_a_login_that_is_half_done_ends_with_the_account(make: Factory) -> None:
    person = await make.person()
    app = await set_up_app(person)
    challenge = await first_factor(make.nobody, person)
    ok(await person.http.post("/me/deactivate"))
    problem(await answer(make.nobody, challenge, recovery_code=app.recovery_codes[0]), 400, "invalid_challenge")


async def test_a_recovery_code_counts_once(make: Factory, mailbox: Mailbox) -> None:
    person = await make.person()
    app = await set_up_app(person)
    typed = app.recovery_codes[0].lower().replace("-", " ")
    login = ok(await log_in(make, person, recovery_code=typed))
    (current,) = [each for each in ok(await make.signed_in(login).http.get("/sessions")) if each["current"]]
    assert current["methods"] == ["password", "recovery_code"]
    notice = await mailbox.wait_for(person.email or "", "accounts.recovery_code_used")
    assert "9 recovery codes left" in notice.text
    problem(await log_in(make, person, recovery_code=app.recovery_codes[0]), 400, "wrong_code")
    ok(await log_in(make, person, recovery_code=app.recovery_codes[1]))
    assert ok(await person.http.get("/me/security"))["recovery_codes_left"] == 8


async def test_of_many_logins_with_one_recovery_code_at_once_one_succeeds(make: Factory) -> None:
    person = await make.person()
    app = await set_up_app(person)
    challenges = [await first_factor(make.nobody, person) for _ in range(4)]
    answers = await asyncio.gather(
        *(answer(make.nobody, challenge, recovery_code=app.recovery_codes[0]) for challenge in challenges)
    )
    assert sorted(each.status_code for each in answers) == [201, 400, 400, 400]


async def test_the_recovery_codes_of_one_account_are_none_of_another(make: Factory) -> None:
    person, other = await make.person(), await make.person()
    await set_up_app(person)
    app = await set_up_app(other)
    problem(await log_in(make, person, recovery_code=app.recovery_codes[0]), 400, "wrong_code")


async def test_new_recovery_codes_make_the_old_ones_void(make: Factory, mailbox: Mailbox) -> None:
    person = await make.person()
    problem(await person.http.post("/me/recovery-codes"), 409, "no_totp")
    app = await set_up_app(person)
    await mailbox.wait_for(person.email or "", "accounts.second_factor_changed")
    answers = await asyncio.gather(*(person.http.post("/me/recovery-codes") for _ in range(3)))
    renewed = [ok(each)["codes"] for each in answers]
    notice = await mailbox.wait_for(person.email or "", "accounts.second_factor_changed")
    assert "New recovery codes" in notice.text
    assert len(await stored_codes(make.server, person.id)) == 10
    problem(await log_in(make, person, recovery_code=app.recovery_codes[0]), 400, "wrong_code")
    # Of those that were made at once, those of one request are good.
    found = [await log_in(make, person, recovery_code=codes[0]) for codes in renewed]
    assert sorted(each.status_code for each in found) == [201, 400, 400]


async def test_removing_the_app(make: Factory, mailbox: Mailbox) -> None:
    person = await make.person()
    problem(await person.http.delete("/me/totp"), 409, "no_totp")
    app = await set_up_app(person)
    await mailbox.wait_for(person.email or "", "accounts.second_factor_changed")
    challenge = await first_factor(make.nobody, person)
    ok(await person.http.delete("/me/totp"))
    notice = await mailbox.wait_for(person.email or "", "accounts.second_factor_changed")
    assert "was removed" in notice.text
    problem(await answer(make.nobody, challenge, code=app.code(1)), 400, "wrong_code")
    problem(await answer(make.nobody, challenge, recovery_code=app.recovery_codes[0]), 400, "wrong_code")
    ok(await make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD}))
    security = ok(await person.http.get("/me/security"))
    assert (security["totp_since"], security["recovery_codes_left"]) == (None, 0)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/me/totp", None),
        ("POST", "/me/totp/confirm", {"code": "123456"}),
        ("DELETE", "/me/totp", None),
        ("POST", "/me/recovery-codes", None),
        ("POST", "/me/passkeys/options", None),
        ("POST", "/me/api-keys", {"name": "Key"}),
    ],
)
async def test_changes_want_a_proof_from_the_last_minutes(
    timed: Factory, clock: MovableClock, method: str, path: str, body: Json
) -> None:
    person = await timed.person()
    clock.move(seconds=901)
    timed.server.runtime.identity.forget()
    problem(await person.http.request(method, path, json=body), 403, "step_up_needed")


async def test_a_code_is_such_a_proof(timed: Factory, clock: MovableClock) -> None:
    person = await timed.person()
    app = await set_up_app(person, clock)
    clock.move(seconds=901)
    timed.server.runtime.identity.forget()
    problem(await person.http.delete("/me/totp"), 403, "step_up_needed")
    wrong = {"by": "totp", "code": app.wrong_code()}
    problem(await person.http.post("/sessions/current/proof", json=wrong), 400, "wrong_code")
    right = {"by": "totp", "code": app.code()}
    ok(await person.http.post("/sessions/current/proof", json=right))
    problem(await person.http.post("/sessions/current/proof", json=right), 400, "wrong_code")
    ok(await person.http.delete("/me/totp"))


async def test_without_an_app_no_code_is_a_proof(make: Factory) -> None:
    person = await make.person()
    proof = {"by": "totp", "code": "123456"}
    problem(await person.http.post("/sessions/current/proof", json=proof), 400, "wrong_code")
    begun = App(ok(await person.http.post("/me/totp"))["secret"])
    # Not before it was confirmed.
    proof = {"by": "totp", "code": begun.code()}
    problem(await person.http.post("/sessions/current/proof", json=proof), 400, "wrong_code")
