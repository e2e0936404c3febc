"""The account itself: profile, deactivation, deletion."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.accounts.service import accounts
from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared, ReadUnit
from courtyard.kernel.http import API
from tests.factories import PASSWORD, Factory, Person, ok, problem, unique
from tests.mailbox import Mailbox
from tests.running import RunningServer


@pytest.fixture
async def person(make: Factory) -> Person:
    return await make.person()


def credentials(person: Person) -> dict[str, Any]:
    return {"email": person.email, "password": PASSWORD}


async def as_operator(server: RunningServer) -> Context:
    return Context(server.runtime, None, None, "operator")


async def disable(server: RunningServer, account_id: UUID) -> None:
    context = await as_operator(server)
    await accounts.disable(context, account_id, by="operator")
    await context.commit()


async def test_changing_oneself(person: Person) -> None:
    before = ok(await person.http.get("/me"))
    changed = ok(await person.http.patch("/me", json={"name": "Ada L.", "language": "fi"}))
    assert changed == {**before, "name": "Ada L.", "language": "fi", "version": before["version"] + 1}
    assert ok(await person.http.patch("/me", json={"language": None}))["language"] is None
    # What is already so is no change.
    assert ok(await person.http.patch("/me", json={"name": "Ada L."}))["version"] == before["version"] + 2


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"name": None}, "/name"),
        ({"name": ""}, "/name"),
        ({"email": "new@example.org"}, ""),
        ({"kind": "service"}, ""),
        ({"must_change_password": False}, ""),
        ({"rights_epoch": 0}, ""),
    ],
)
async def test_what_cannot_be_changed_is_refused(person: Person, patch: dict[str, Any], pointer: str) -> None:
    document = problem(await person.http.patch("/me", json=patch), 400, "invalid_input")
    assert [fault["pointer"] for fault in document["errors"]] == [pointer]


async def test_whoever_deactivates_the_account_comes_back_by_a_mail(
    make: Factory, person: Person, mailbox: Mailbox
) -> None:
    assert person.email is not None
    other = make.signed_in(ok(await make.nobody.post("/sessions", json=credentials(person))))
    ok(await person.http.post("/me/deactivate"))
    await mailbox.wait_for(person.email, "accounts.account_deactivated")
    for session in (person, other):
        problem(await session.http.get("/me"), 401, "unauthenticated")
    problem(await make.nobody.post("/sessions", json=credentials(person)), 401, "wrong_credentials")
    browser = make.server.client(base_url=make.server.url + API)
    started = ok(await browser.post("/sessions/email", json={"email": person.email}))
    code = (await mailbox.wait_for(person.email, "accounts.login")).code
    proof = {"by": "code", "challenge_id": started["challenge_id"], "code": code}
    assert ok(await browser.post("/sessions/email/proof", json=proof))["account"]["id"] == str(person.id)
    ok(await make.nobody.post("/sessions", json=credentials(person)))


async def test_whom_an_operator_has_deactivated_does_not_come_back(
    make: Factory, person: Person, mailbox: Mailbox
) -> None:
    assert person.email is not None
    workspace = await make.workspace()
    await disable(make.server, person.id)
    problem(await person.http.get("/me"), 401, "unauthenticated")
    problem(
        await make.nobody.post("/sessions/refresh", json={"refresh_token": person.login["refresh_token"]}),
        401,
        "invalid_refresh_token",
    )
    problem(await make.nobody.post("/sessions", json=credentials(person)), 401, "wrong_credentials")
    ok(await make.nobody.post("/sessions/email", json={"email": person.email}))
    # As if there were no such account; the address stays taken all the same.
    assert (await mailbox.wait_for(person.email, "accounts.login_unknown")).links
    new = {"email": person.email, "roles": ["member"]}
    problem(await workspace.owner.http.post(f"{workspace.path}/members", json=new), 400, "unknown_account")
    again = {"email": person.email, "password": PASSWORD, "name": "Eve"}
    started = ok(await make.nobody.post("/accounts", json=again))
    mail = await mailbox.wait_for(person.email, "accounts.confirm_registration")
    proof = {"by": "code", "challenge_id": started["challenge_id"], "code": mail.code}
    problem(await make.nobody.post("/accounts/confirm", json=proof), 400, "invalid_challenge")
    context = await as_operator(make.server)
    await accounts.enable(context, person.id)
    await context.commit()
    ok(await make.nobody.post("/sessions", json=credentials(person)))


async def test_whoever_deletes_the_account_is_gone_and_what_was_written_stays(
    make: Factory, person: Person, mailbox: Mailbox
) -> None:
    assert person.email is not None
    conversation = await make.conversation(visitor=person)
    ok(await person.http.post(conversation.messages, json={"text": "hello"}))
    ok(await person.http.delete("/me"))
    await mailbox.wait_for(person.email, "accounts.account_deleted")
    problem(await person.http.get("/me"), 401, "unauthenticated")
    problem(await make.nobody.post("/sessions", json=credentials(person)), 401, "wrong_credentials")
    columns = select(AccountRow.email, AccountRow.name, AccountRow.password_hash)
    stored = Prepared(columns.where(AccountRow.id == person.id), tuple)
    assert await ReadUnit(make.server.runtime.placement).one(stored) == (None, "Deleted account", None)
    items = ok(await conversation.workspace.owner.http.get(conversation.messages))["items"]
    assert [item["text"] for item in items][-1] == "hello"
    # The address is free for whoever proves it.
    again = await make.person(email=person.email)
    assert again.id != person.id


async def test_a_forced_change_of_the_password_lets_nothing_else_through(make: Factory, person: Person) -> None:
    context = await as_operator(make.server)
    await accounts.force_password_change(context, person.id)
    await context.commit()
    assert ok(await person.http.get("/me"))["must_change_password"] is True
    problem(await person.http.get("/workspaces"), 403, "password_change_needed")
    problem(await person.http.patch("/me", json={"name": "Ada"}), 403, "password_change_needed")
    socket = await make.socket(person)
    refused = await socket.call("subscribe", {"workspace": "none", "topic": "chat.queue"})
    assert refused["problem"]["code"] == "password_change_needed"
    new = {"current_password": PASSWORD, "password": "another staple of horses"}
    ok(await person.http.post("/me/password", json=new))
    assert ok(await person.http.get("/me"))["must_change_password"] is False
    ok(await person.http.get("/workspaces"))


async def test_an_anonymous_visitor(make: Factory) -> None:
    answer = await make.nobody.post("/sessions/anonymous", json={"name": "Somebody"})
    assert answer.status_code == 201
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    me = ok(await make.nobody.get("/me", headers=headers))
    assert (me["kind"], me["email"], me["name"]) == ("visitor", None, "Somebody")


async def test_two_visitors_of_one_name_are_two(make: Factory) -> None:
    assert (await make.visitor("Ada")).id != (await make.visitor("Ada")).id


async def test_of_two_changes_at_once_of_one_version_one_is_made(person: Person) -> None:
    version = ok(await person.http.get("/me"))["version"]
    headers = {"If-Match": f'"{version}"'}
    answers = await asyncio.gather(
        *(person.http.patch("/me", json={"name": unique("Ada")}, headers=headers) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
