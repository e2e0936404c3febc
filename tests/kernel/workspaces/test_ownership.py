"""Handing a workspace over."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, Person, Workspace, ok, problem
from tests.mailbox import Mailbox
from tests.running import MovableClock

LONG = {"access_token_seconds": 86_400}


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
async def member(make: Factory, workspace: Workspace) -> Person:
    return await make.member(workspace, "chat.volunteer", name="Max")


def path(workspace: Workspace) -> str:
    return f"{workspace.path}/ownership"


async def offer(workspace: Workspace, to: Person, by: Person | None = None) -> httpx2.Response:
    return await (by or workspace.owner).http.post(path(workspace), json={"account_id": str(to.id)})


async def accept(workspace: Workspace, person: Person) -> httpx2.Response:
    return await person.http.post(f"{path(workspace)}/accept")


async def roles_in(workspace: Workspace, seen_by: Person) -> dict[str, list[str]]:
    items: list[dict[str, Any]] = ok(await seen_by.http.get(f"{workspace.path}/members"))["items"]
    return {member["account_id"]: member["roles"] for member in items}


async def test_a_member_becomes_the_owner_by_accepting(
    make: Factory, workspace: Workspace, member: Person, mailbox: Mailbox
) -> None:
    owner = workspace.owner
    bystander = await make.member(workspace, "administrator")
    answer = await offer(workspace, member)
    assert answer.status_code == 201
    assert (answer.json()["from_id"], answer.json()["to_id"]) == (str(owner.id), str(member.id))
    assert member.email is not None
    assert owner.email is not None
    mail = await mailbox.wait_for(member.email, "workspaces.ownership_offered")
    assert "Olga" in mail.subject
    for person in (owner, member):
        assert ok(await person.http.get(path(workspace))) == answer.json()
    for person in (bystander, await make.person()):
        problem(await person.http.get(path(workspace)), 404, "not_found")
        problem(await accept(workspace, person), 404, "not_found")
        problem(await person.http.post(f"{path(workspace)}/decline"), 404, "not_found")
    assert (await roles_in(workspace, owner))[str(member.id)] == ["chat.volunteer"]
    assert ok(await accept(workspace, member))["id"] == str(workspace.id)
    assert await roles_in(workspace, member) == {
        str(owner.id): ["administrator"],
        str(member.id): ["chat.volunteer", "owner"],
        str(bystander.id): ["administrator"],
    }
    for person in (owner, member):
        assert person.email is not None
        await mailbox.wait_for(person.email, "workspaces.ownership_transferred")
    problem(await accept(workspace, member), 404, "not_found")
    problem(await member.http.get(path(workspace)), 404, "not_found")
    problem(await offer(workspace, bystander, by=owner), 403, "forbidden")
    ok(await offer(workspace, owner, by=member))


async def test_nothing_changes_by_declining(workspace: Workspace, member: Person) -> None:
    ok(await offer(workspace, member))
    assert (await member.http.post(f"{path(workspace)}/decline")).status_code == 204
    problem(await accept(workspace, member), 404, "not_found")
    assert (await roles_in(workspace, workspace.owner))[str(workspace.owner.id)] == ["owner"]
    ok(await offer(workspace, member))


async def test_an_offer_is_taken_back(make: Factory, workspace: Workspace, member: Person) -> None:
    problem(await workspace.owner.http.delete(path(workspace)), 404, "not_found")
    ok(await offer(workspace, member))
    problem(await offer(workspace, await make.member(workspace)), 409, "offer_open")
    problem(await member.http.delete(path(workspace)), 403, "forbidden")
    assert (await workspace.owner.http.delete(path(workspace))).status_code == 204
    problem(await accept(workspace, member), 404, "not_found")


async def test_only_active_members_can_be_offered(make: Factory, workspace: Workspace, member: Person) -> None:
    second = await make.member(workspace, "owner")
    ok(await workspace.owner.http.post(f"{workspace.path}/members/{member.id}/suspend"))
    service = ok(
        await workspace.owner.http.post(f"{workspace.path}/services", json={"name": "Bot", "roles": ["member"]})
    )
    for account_id in (workspace.owner.id, second.id, member.id, (await make.person()).id, service["id"]):
        answer = await workspace.owner.http.post(path(workspace), json={"account_id": str(account_id)})
        problem(answer, 400, "cannot_own")


async def test_only_owners_offer(make: Factory, workspace: Workspace, member: Person) -> None:
    administrator = await make.member(workspace, "administrator")
    problem(await offer(workspace, member, by=administrator), 403, "forbidden")
    problem(await offer(workspace, member, by=await make.person()), 403, "forbidden")
    elsewhere = await make.workspace()
    problem(await offer(elsewhere, member), 400, "cannot_own")


async def test_both_sides_have_proven_lately_who_they_are(server_factory: ServerFactory, clock: MovableClock) -> None:
    make = Factory(await server_factory(clock=clock, security=LONG))
    workspace = await make.workspace()
    member = await make.member(workspace)
    clock.move(minutes=16)
    problem(await offer(workspace, member), 403, "step_up_needed")
    for person in (workspace.owner, member):
        if person is workspace.owner:
            ok(await person.http.post("/sessions/current/proof", json={"by": "password", "password": PASSWORD}))
            ok(await offer(workspace, member))
    problem(await accept(workspace, member), 403, "step_up_needed")
    ok(await member.http.post("/sessions/current/proof", json={"by": "password", "password": PASSWORD}))
    ok(await accept(workspace, member))


async def test_an_offer_expires(server_factory: ServerFactory, clock: MovableClock) -> None:
    make = Factory(await server_factory(clock=clock, security={"access_token_seconds": 86_400}))
    workspace = await make.workspace()
    member = await make.member(workspace)
    ok(await offer(workspace, member))
    clock.move(days=7, seconds=1)
    owner, member = [
        make.signed_in(ok(await make.nobody.post("/sessions", json={"email": person.email, "password": PASSWORD})))
        for person in (workspace.owner, member)
    ]
    problem(await accept(workspace, member), 404, "not_found")
    problem(await owner.http.get(path(workspace)), 404, "not_found")
    ok(await offer(workspace, member, by=owner))
    ok(await accept(workspace, member))


async def test_who_has_left_or_lost_the_ownership_hands_nothing_over(make: Factory, workspace: Workspace) -> None:
    member, second = await make.member(workspace), await make.member(workspace, "owner")
    ok(await offer(workspace, member))
    ok(await second.http.patch(f"{workspace.path}/members/{workspace.owner.id}", json={"roles": ["administrator"]}))
    problem(await accept(workspace, member), 404, "not_found")
    assert (await second.http.delete(f"{workspace.path}/members/{workspace.owner.id}")).status_code == 204
    problem(await member.http.get(path(workspace)), 404, "not_found")
    # What is offered to a member ends with the membership.
    ok(await offer(workspace, member, by=second))
    assert (await member.http.delete(f"{workspace.path}/members/me")).status_code == 204
    make_again = {"email": member.email, "roles": ["member"]}
    ok(await second.http.post(f"{workspace.path}/members", json=make_again))
    problem(await accept(workspace, member), 404, "not_found")


@pytest.mark.parametrize("turn", range(3))
async def test_of_accepting_and_withdrawing_at_once_one_counts(workspace: Workspace, member: Person, turn: int) -> None:
    del turn
    ok(await offer(workspace, member))
    accepted, withdrawn, again = await asyncio.gather(
        accept(workspace, member), workspace.owner.http.delete(path(workspace)), accept(workspace, member)
    )
    roles = await roles_in(workspace, member)
    if accepted.is_success or again.is_success:
        assert sorted((accepted.status_code, again.status_code)) == [200, 404]
        assert withdrawn.status_code in {403, 404}
        assert [roles[str(person.id)] for person in (workspace.owner, member)] == [
            ["administrator"],
            ["chat.volunteer", "owner"],
        ]
    else:
        assert withdrawn.status_code == 204
        assert roles[str(workspace.owner.id)] == ["owner"]


async def test_of_two_offers_at_once_one_is_made(make: Factory, workspace: Workspace, member: Person) -> None:
    second = await make.member(workspace, "owner")
    answers = await asyncio.gather(offer(workspace, member), offer(workspace, member, by=second))
    assert sorted(answer.status_code for answer in answers) == [201, 409]


@pytest.mark.parametrize("turn", range(3))
async def test_a_workspace_has_an_owner_whatever_happens_at_once(
    make: Factory, workspace: Workspace, member: Person, turn: int
) -> None:
    del turn
    second = await make.member(workspace, "owner")
    ok(await offer(workspace, member))
    await asyncio.gather(
        accept(workspace, member),
        workspace.owner.http.delete(f"{workspace.path}/members/me"),
        second.http.delete(f"{workspace.path}/members/me"),
        member.http.delete(f"{workspace.path}/members/me"),
    )
    left = [
        person for person in (workspace.owner, second, member) if (await person.http.get(workspace.path)).is_success
    ]
    assert left
    assert any("owner" in roles for roles in (await roles_in(workspace, left[0])).values())
