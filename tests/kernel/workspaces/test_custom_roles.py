"""Roles that a workspace makes itself."""

import asyncio
from typing import Any

import httpx2
import pytest

from courtyard.kernel.http import API
from courtyard.kernel.workspaces.service import roles as service
from tests.conftest import ServerFactory
from tests.factories import Factory, Person, Workspace, ok, problem
from tests.kernel.workspaces.acting import grant, make_role, member_path, own_permissions, set_roles

READ = "workspaces.workspace.read"


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


async def change(workspace: Workspace, by: Person, role: str, **fields: Any) -> httpx2.Response:
    return await by.http.patch(f"{workspace.path}/roles/{role}", json=fields)


async def test_a_role_is_made_seen_changed_and_removed(workspace: Workspace) -> None:
    http, roles = workspace.owner.http, f"{workspace.path}/roles"
    new = {"name": "custom.night_shift", "description": "Reads at night", "permissions": [READ, READ]}
    made = await http.post(roles, json=new)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    assert made.json() == {
        **new,
        "permissions": [READ],
        "built_in": False,
        "require_second_factor": False,
        "version": 1,
    }
    path = f"{roles}/custom.night_shift"
    assert ok(await http.get(path)) == made.json()
    changed = await http.patch(path, json={"permissions": [], "description": "Sleeps"}, headers={"If-Match": '"1"'})
    assert ok(changed) == {**made.json(), "permissions": [], "description": "Sleeps", "version": 2}
    problem(
        await http.patch(path, json={"permissions": [READ]}, headers={"If-Match": '"1"'}), 412, "precondition_failed"
    )
    assert ok(await http.patch(path, json={}))["version"] == 2
    assert (await http.delete(path)).status_code == 204
    problem(await http.get(path), 404, "not_found")
    problem(await http.delete(path), 404, "not_found")


async def test_roles_come_in_pages_by_name(workspace: Workspace) -> None:
    made = {await make_role(workspace, workspace.owner, READ) for _ in range(3)}
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = ok(await workspace.owner.http.get(f"{workspace.path}/roles?limit=3{cursor}"))
        found += answer["items"]
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    names = [role["name"] for role in found]
    assert names == sorted(names)
    assert {role["name"] for role in found if not role["built_in"]} == made
    assert {"owner", "administrator", "member", "chat.volunteer"} < set(names)
    assert all(role["version"] is None for role in found if role["built_in"])


@pytest.mark.parametrize("name", ["night", "owner", "chat.volunteer", "chat.own", "custom.", "custom.A", "custom.a__b"])
async def test_names_that_are_not_for_workspaces_are_refused(workspace: Workspace, name: str) -> None:
    new = {"name": name, "description": "Mine", "permissions": []}
    document = problem(await workspace.owner.http.post(f"{workspace.path}/roles", json=new), 400, "invalid_input")
    assert [fault["pointer"] for fault in document["errors"]] == ["/name"]


@pytest.mark.parametrize("name", ["owner", "administrator", "member", "chat.volunteer"])
async def test_built_in_roles_cannot_be_changed(workspace: Workspace, name: str) -> None:
    path = f"{workspace.path}/roles/{name}"
    assert ok(await workspace.owner.http.get(path))["built_in"] is True
    problem(await workspace.owner.http.patch(path, json={"permissions": []}), 409, "built_in_role")
    problem(await workspace.owner.http.delete(path), 409, "built_in_role")


async def test_roles_that_no_member_has_are_not_there(workspace: Workspace) -> None:
    for name in ("everybody", "chat.visitor", "custom.nothing"):
        problem(await workspace.owner.http.get(f"{workspace.path}/roles/{name}"), 404, "not_found")
        problem(await change(workspace, workspace.owner, name, permissions=[]), 404, "not_found")


async def test_permissions_that_there_are_not_are_refused(workspace: Workspace) -> None:
    new = {"name": "custom.x", "description": "Mine", "permissions": [READ, "chat.nonsense.read"]}
    document = problem(await workspace.owner.http.post(f"{workspace.path}/roles", json=new), 400, "unknown_permission")
    assert [fault["pointer"] for fault in document["errors"]] == ["/permissions"]
    role = await make_role(workspace, workspace.owner, READ)
    problem(
        await change(workspace, workspace.owner, role, permissions=["chat.nonsense.read"]), 400, "unknown_permission"
    )


async def test_of_many_who_want_a_name_at_once_one_gets_it(workspace: Workspace) -> None:
    new = {"name": "custom.wanted", "description": "Mine", "permissions": []}
    answers = await asyncio.gather(*(workspace.owner.http.post(f"{workspace.path}/roles", json=new) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"role_exists"}


async def test_a_name_belongs_to_one_workspace(make: Factory, workspace: Workspace) -> None:
    elsewhere = await make.workspace()
    role = await make_role(elsewhere, elsewhere.owner, READ)
    member = await make.member(workspace, "member")
    problem(await set_roles(workspace, workspace.owner, member, role), 400, "unknown_role")
    problem(await workspace.owner.http.get(f"{workspace.path}/roles/{role}"), 404, "not_found")


async def test_a_workspace_has_so_many_roles_and_no_more(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_ROLES", 1)
    await make_role(workspace, workspace.owner, READ)
    new = {"name": "custom.more", "description": "Mine", "permissions": []}
    problem(await workspace.owner.http.post(f"{workspace.path}/roles", json=new), 409, "too_many_roles")


async def test_a_change_counts_for_all_who_have_the_role(make: Factory, workspace: Workspace) -> None:
    role = await make_role(workspace, workspace.owner, READ)
    members = [await make.member(workspace, role) for _ in range(2)]
    for member in members:
        ok(await member.http.get(workspace.path))
        problem(await member.http.get(f"{workspace.path}/members"), 403, "forbidden")
    ok(await change(workspace, workspace.owner, role, permissions=["workspaces.member.read"]))
    for member in members:
        problem(await member.http.get(workspace.path), 403, "forbidden")
        ok(await member.http.get(f"{workspace.path}/members"))


async def test_a_change_is_known_elsewhere_within_a_second(
    make: Factory, workspace: Workspace, server_factory: ServerFactory
) -> None:
    role = await make_role(workspace, workspace.owner, "chat.queue.read", "chat.conversation.read")
    member, elsewhere = await make.member(workspace, role), Factory(await server_factory())
    client = elsewhere.server.client(base_url=elsewhere.server.url + API, headers=member.headers)
    conversation = await make.conversation(workspace)
    ok(await client.get(conversation.path))
    listens = await elsewhere.socket(member)
    await listens.ok("subscribe", workspace=workspace.slug, topic="chat.queue")
    ok(await change(workspace, workspace.owner, role, permissions=[]))
    async with asyncio.timeout(3):
        answer = await client.get(conversation.path)
        while answer.is_success:
            await asyncio.sleep(0.05)
            answer = await client.get(conversation.path)
        await listens.client.wait()
    problem(answer, 404, "not_found")
    again = await elsewhere.socket(member)
    refused = await again.call("subscribe", {"workspace": workspace.slug, "topic": "chat.queue"})
    assert refused["problem"]["code"] == "forbidden"
    await elsewhere.close()


async def test_a_role_in_use_is_not_removed(make: Factory, workspace: Workspace) -> None:
    role = await make_role(workspace, workspace.owner, READ)
    member, conversation = await make.member(workspace, "member"), await make.conversation(workspace)
    path = f"{workspace.path}/roles/{role}"
    given = ok(await grant(workspace, workspace.owner, member, role, conversation))
    assert problem(await workspace.owner.http.delete(path), 409, "role_in_use")["members"] == 1
    ok(await workspace.owner.http.delete(f"{member_path(workspace, member)}/grants/{given['id']}"))
    assert (await workspace.owner.http.delete(path)).status_code == 204


async def test_a_role_is_not_given_while_it_is_removed(make: Factory, workspace: Workspace) -> None:
    member = await make.member(workspace, "member")
    for _ in range(4):
        role = await make_role(workspace, workspace.owner, READ)
        given, removed = await asyncio.gather(
            set_roles(workspace, workspace.owner, member, "member", role),
            workspace.owner.http.delete(f"{workspace.path}/roles/{role}"),
        )
        assert (given.status_code, removed.status_code) in {(200, 409), (400, 204)}


class TestRights:
    """Nobody makes of roles what they have not, nor for themselves, nor for those above."""

    @pytest.fixture
    async def administrator(self, make: Factory, workspace: Workspace) -> Person:
        return await make.member(workspace, "administrator", name="Adam")

    @pytest.fixture
    async def maker(self, make: Factory, workspace: Workspace) -> Person:
        """Somebody who makes roles and gives them, and has little else."""
        role = await make_role(
            workspace, workspace.owner, "workspaces.role.edit", "workspaces.member.edit", "workspaces.member.read", READ
        )
        return await make.member(workspace, role, name="Mia")

    async def test_a_role_is_made_of_what_one_has(self, workspace: Workspace, maker: Person) -> None:
        await make_role(workspace, maker, READ)
        new = {"name": "custom.more", "description": "Mine", "permissions": [READ, "workspaces.workspace.edit"]}
        problem(await maker.http.post(f"{workspace.path}/roles", json=new), 403, "above_own_rights")

    async def test_nobody_widens_what_they_have_themselves(self, make: Factory, workspace: Workspace) -> None:
        role = await make_role(workspace, workspace.owner, READ)
        both = await make.member(workspace, "administrator", role)
        for permissions in ([READ, "workspaces.member.read"], []):
            problem(await change(workspace, both, role, permissions=permissions), 403, "above_own_rights")
        problem(await change(workspace, both, role, require_second_factor=True), 403, "above_own_rights")
        assert ok(await change(workspace, both, role, description="Other words"))["version"] == 2

    async def test_nobody_changes_what_somebody_above_has(
        self, make: Factory, workspace: Workspace, maker: Person
    ) -> None:
        role = await make_role(workspace, workspace.owner, READ)
        await make.member(workspace, role, "chat.supervisor")
        for permissions in ([READ, "workspaces.member.read"], []):
            problem(await change(workspace, maker, role, permissions=permissions), 403, "above_own_rights")

    async def test_a_role_with_more_than_one_has_is_left_alone(self, workspace: Workspace, maker: Person) -> None:
        role = await make_role(workspace, workspace.owner, "chat.queue.read")
        problem(await change(workspace, maker, role, permissions=[]), 403, "above_own_rights")
        problem(await change(workspace, maker, role, description="Mine"), 403, "above_own_rights")
        problem(await maker.http.delete(f"{workspace.path}/roles/{role}"), 403, "above_own_rights")

    async def test_what_is_below_is_changed(self, make: Factory, workspace: Workspace, maker: Person) -> None:
        role = await make_role(workspace, workspace.owner, READ)
        member = await make.member(workspace, role)
        ok(await change(workspace, maker, role, permissions=[READ, "workspaces.member.read"]))
        assert "workspaces.member.read" in (await own_permissions(workspace, member))["permissions"]

    async def test_an_administrator_gives_no_role_with_what_owners_alone_have(
        self, make: Factory, workspace: Workspace, administrator: Person
    ) -> None:
        permissions = (await own_permissions(workspace, workspace.owner))["permissions"]
        more = set(permissions) - set((await own_permissions(workspace, administrator))["permissions"])
        role = await make_role(workspace, workspace.owner, *permissions)
        member = await make.member(workspace, "member")
        answer = await set_roles(workspace, administrator, member, role)
        assert answer.status_code == (403 if more else 200)

    async def test_of_two_who_take_rights_from_each_other_one_is_too_late(
        self, make: Factory, workspace: Workspace
    ) -> None:
        for _ in range(4):
            first, second = [await make.member(workspace, "administrator") for _ in range(2)]
            answers = await asyncio.gather(
                set_roles(workspace, first, second, "member"), set_roles(workspace, second, first, "member")
            )
            assert sorted(answer.status_code for answer in answers) == [200, 403]

    async def test_who_loses_a_role_gives_none_at_the_same_time(self, make: Factory, workspace: Workspace) -> None:
        for _ in range(4):
            first, member = await make.member(workspace, "administrator"), await make.member(workspace, "member")
            lost, given = await asyncio.gather(
                set_roles(workspace, workspace.owner, first, "member"),
                set_roles(workspace, first, member, "administrator"),
            )
            assert lost.status_code == 200
            # What was given before is given; after, nothing is.
            if given.status_code != 200:
                problem(given, 403, "forbidden")
                assert ok(await member.http.get(member_path(workspace, member)))["roles"] == ["member"]
