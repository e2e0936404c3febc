"""Service accounts: made, changed and removed by people, with no more rights than they have."""

import asyncio
from typing import Any
from uuid import UUID

import httpx2
import pytest

from courtyard.kernel.context import Context
from courtyard.kernel.http import API
from courtyard.kernel.workspaces.errors import RoleNotForAccount
from courtyard.kernel.workspaces.service.members import join
from tests.conftest import ServerFactory
from tests.factories import Factory, Person, Workspace, ok, problem


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


def path(workspace: Workspace) -> str:
    return f"{workspace.path}/services"


async def make_service(workspace: Workspace, *roles: str, by: Person | None = None, **new: Any) -> httpx2.Response:
    body = {"name": "Bot", "roles": roles or ["chat.volunteer"], **new}
    return await (by or workspace.owner).http.post(path(workspace), json=body)


async def test_a_service_is_a_member_with_roles(workspace: Workspace) -> None:
    http = workspace.owner.http
    answer = await make_service(workspace, "member", "chat.volunteer", description="Counts")
    assert answer.status_code == 201
    made = answer.json()
    assert UUID(made["id"]).version == 7
    assert {key: made[key] for key in ("name", "description", "roles", "maker_id", "version")} == {
        "name": "Bot",
        "description": "Counts",
        "roles": ["chat.volunteer", "member"],
        "maker_id": str(workspace.owner.id),
        "version": 1,
    }
    assert ok(await http.get(f"{path(workspace)}/{made['id']}")) == made
    assert ok(await http.get(path(workspace)))["items"] == [made]
    assert ok(await http.get(f"{workspace.path}/members/{made['id']}"))["roles"] == ["chat.volunteer", "member"]


async def test_changing_a_service(workspace: Workspace) -> None:
    http, made = workspace.owner.http, ok(await make_service(workspace))
    address = f"{path(workspace)}/{made['id']}"
    changed = await http.patch(address, json={"name": "Other", "roles": ["member"]})
    assert (ok(changed)["name"], changed.json()["roles"], changed.headers["etag"]) == ("Other", ["member"], '"2"')
    assert ok(await http.patch(address, json={"description": "Counts"}))["version"] == 3
    assert ok(await http.patch(address, json={}))["version"] == 3
    problem(await http.patch(address, json={"name": "Late"}, headers={"If-Match": '"1"'}), 412, "precondition_failed")
    problem(await http.patch(address, json={"maker_id": made["id"]}), 400, "invalid_input")
    problem(await http.patch(address, json={"roles": []}), 400, "invalid_input")


async def test_of_two_changes_at_once_none_is_lost(workspace: Workspace) -> None:
    made = ok(await make_service(workspace))
    address = f"{path(workspace)}/{made['id']}"
    changes: list[dict[str, Any]] = [{"name": "Other"}, {"description": "Counts"}, {"roles": ["member"]}]
    answers = await asyncio.gather(*(workspace.owner.http.patch(address, json=change) for change in changes))
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    settled = ok(await workspace.owner.http.get(address))
    assert (settled["name"], settled["description"], settled["roles"]) == ("Other", "Counts", ["member"])
    assert settled["version"] == 4


async def test_a_service_that_was_removed_is_gone(workspace: Workspace) -> None:
    http, made = workspace.owner.http, ok(await make_service(workspace))
    address = f"{path(workspace)}/{made['id']}"
    assert (await http.delete(address)).status_code == 204
    problem(await http.delete(address), 404, "not_found")
    problem(await http.get(address), 404, "not_found")
    problem(await http.patch(address, json={"name": "Other"}), 404, "not_found")
    problem(await http.get(f"{workspace.path}/members/{made['id']}"), 404, "not_found")
    assert ok(await http.get(path(workspace)))["items"] == []


async def test_one_who_was_removed_from_among_the_members_can_be_given_roles_again(workspace: Workspace) -> None:
    http, made = workspace.owner.http, ok(await make_service(workspace))
    assert (await http.delete(f"{workspace.path}/members/{made['id']}")).status_code == 204
    assert ok(await http.get(f"{path(workspace)}/{made['id']}"))["roles"] == []
    changed = ok(await http.patch(f"{path(workspace)}/{made['id']}", json={"roles": ["member"]}))
    assert changed["roles"] == ["member"]
    assert ok(await http.get(f"{workspace.path}/members/{made['id']}"))["roles"] == ["member"]


async def test_a_service_never_owns(workspace: Workspace) -> None:
    problem(await make_service(workspace, "owner"), 403, "role_not_for_account")
    made = ok(await make_service(workspace))
    answer = await workspace.owner.http.patch(f"{path(workspace)}/{made['id']}", json={"roles": ["owner"]})
    problem(answer, 403, "role_not_for_account")
    answer = await workspace.owner.http.patch(f"{workspace.path}/members/{made['id']}", json={"roles": ["owner"]})
    problem(answer, 403, "role_not_for_account")


async def test_nobody_makes_a_service_above_their_rights(make: Factory, workspace: Workspace) -> None:
    role = {
        "name": "custom.engineer",
        "description": "Looks after services",
        "permissions": ["workspaces.service.edit", "workspaces.member.edit", "workspaces.member.read"],
    }
    ok(await workspace.owner.http.post(f"{workspace.path}/roles", json=role))
    engineer = await make.member(workspace, "custom.engineer")
    problem(await make_service(workspace, "administrator", by=engineer), 403, "above_own_rights")
    mighty = ok(await make_service(workspace, "administrator"))
    address = f"{path(workspace)}/{mighty['id']}"
    problem(await engineer.http.patch(address, json={"roles": ["custom.engineer"]}), 403, "above_own_rights")
    problem(await engineer.http.delete(address), 403, "above_own_rights")
    own = ok(await make_service(workspace, "custom.engineer", by=engineer))
    problem(
        await engineer.http.patch(f"{path(workspace)}/{own['id']}", json={"roles": ["administrator"]}),
        403,
        "above_own_rights",
    )
    assert (await engineer.http.delete(f"{path(workspace)}/{own['id']}")).status_code == 204


async def test_who_may_not_sees_no_services(make: Factory, workspace: Workspace) -> None:
    made = ok(await make_service(workspace))
    for person in (await make.member(workspace, "chat.supervisor"), await make.person()):
        problem(await make_service(workspace, by=person), 403, "forbidden")
        problem(await person.http.get(path(workspace)), 403, "forbidden")
        problem(await person.http.get(f"{path(workspace)}/{made['id']}"), 403, "forbidden")
        problem(await person.http.delete(f"{path(workspace)}/{made['id']}"), 403, "forbidden")


async def test_services_of_another_workspace_and_people_are_none(make: Factory, workspace: Workspace) -> None:
    elsewhere, member = await make.workspace(), await make.member(workspace)
    foreign = ok(await make_service(elsewhere))
    http = workspace.owner.http
    for account_id in (foreign["id"], member.id, workspace.owner.id):
        address = f"{path(workspace)}/{account_id}"
        problem(await http.get(address), 404, "not_found")
        problem(await http.patch(address, json={"name": "Mine"}), 404, "not_found")
        problem(await http.delete(address), 404, "not_found")
    assert ok(await elsewhere.owner.http.get(f"{path(elsewhere)}/{foreign['id']}")) == foreign


async def test_services_come_in_pages(workspace: Workspace) -> None:
    made = [ok(await make_service(workspace))["id"] for _ in range(3)]
    first = ok(await workspace.owner.http.get(f"{path(workspace)}?limit=2"))
    rest = ok(await workspace.owner.http.get(f"{path(workspace)}?limit=2&cursor={first['next']}"))
    assert [each["id"] for each in [*first["items"], *rest["items"]]] == made


async def test_a_workspace_has_so_many_services(server_factory: ServerFactory) -> None:
    make = Factory(await server_factory(workspaces={"services": 2}))
    workspace = await make.workspace()
    answers = await asyncio.gather(*(make_service(workspace) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409]
    problem(await make_service(workspace), 409, "too_many_services")


@pytest.mark.parametrize(
    "change",
    [{"name": ""}, {"name": "a\nb"}, {"roles": []}, {"description": "x" * 1_001}, {"id": "x"}, {"kind": "person"}],
)
async def test_bad_input_is_refused(workspace: Workspace, change: dict[str, Any]) -> None:
    problem(await make_service(workspace, **change), 400, "invalid_input")


class TestKeys:
    async def key(self, workspace: Workspace, service: dict[str, Any], **new: Any) -> httpx2.Response:
        return await workspace.owner.http.post(f"{path(workspace)}/{service['id']}/keys", json={"name": "Key", **new})

    def program(self, make: Factory, key: str) -> httpx2.AsyncClient:
        return make.server.client(base_url=make.server.url + API, headers={"Authorization": f"Bearer {key}"})

    async def test_a_program_acts_with_the_roles_of_its_service(self, make: Factory, workspace: Workspace) -> None:
        service = ok(await make_service(workspace, "chat.volunteer"))
        issued = ok(await self.key(workspace, service))
        program = self.program(make, issued["key"])
        assert ok(await program.get(workspace.path))["id"] == str(workspace.id)
        conversation = await make.conversation(workspace)
        ok(await program.post(f"{conversation.path}/claim"))
        ok(await program.post(conversation.messages, json={"text": "beep"}))
        problem(await program.patch(workspace.path, json={"name": "Mine"}), 403, "forbidden")
        ok(await workspace.owner.http.patch(f"{path(workspace)}/{service['id']}", json={"roles": ["member"]}))
        problem(await program.post(conversation.messages, json={"text": "beep"}), 404, "not_found")

    async def test_a_program_has_no_place_elsewhere(self, make: Factory, workspace: Workspace) -> None:
        service = ok(await make_service(workspace, "administrator"))
        program = self.program(make, ok(await self.key(workspace, service))["key"])
        elsewhere = await make.workspace()
        link = ok(await elsewhere.owner.http.post(f"{elsewhere.path}/invitation-links", json={"roles": ["member"]}))
        problem(await program.get(elsewhere.path), 403, "forbidden")
        refused = [
            await program.post("/workspaces", json={"slug": "mine", "name": "Mine"}),
            await program.post("/invitation-links/join", json={"token": link["token"]}),
            await program.post(f"{workspace.path}/ownership/accept"),
            await program.delete(f"{workspace.path}/members/me"),
        ]
        for answer in refused:
            problem(answer, 403, "session_needed")
        # What is dangerous wants a person.
        problem(
            await program.post(f"{path(workspace)}/{service['id']}/keys", json={"name": "Mine"}), 403, "step_up_needed"
        )
        context = Context(make.server.runtime, None, None, "test")
        with pytest.raises(RoleNotForAccount):
            await join(context, UUID(service["id"]), ["member"], granted_by=None, workspace_id=elsewhere.id)
        await context.rollback()

    async def test_keys_are_listed_and_revoked(self, make: Factory, workspace: Workspace) -> None:
        service, other = ok(await make_service(workspace)), ok(await make_service(workspace))
        issued = ok(await self.key(workspace, service, expires_in_days=7))
        http, keys = workspace.owner.http, f"{path(workspace)}/{service['id']}/keys"
        listed = await http.get(keys)
        assert ok(listed) == [issued["api_key"]]
        assert issued["key"] not in listed.text
        key_id, program = issued["api_key"]["id"], self.program(make, issued["key"])
        ok(await program.get("/me"))
        elsewhere = await make.workspace()
        problem(await http.delete(f"{path(workspace)}/{other['id']}/keys/{key_id}"), 404, "not_found")
        foreign = f"{path(elsewhere)}/{service['id']}/keys"
        problem(await elsewhere.owner.http.get(foreign), 404, "not_found")
        problem(await elsewhere.owner.http.delete(f"{foreign}/{key_id}"), 404, "not_found")
        problem(await elsewhere.owner.http.post(foreign, json={"name": "Mine"}), 404, "not_found")
        assert (await http.delete(f"{keys}/{key_id}")).status_code == 204
        problem(await program.get("/me"), 401, "unauthenticated")
        problem(await http.delete(f"{keys}/{key_id}"), 404, "not_found")
        assert ok(await http.get(keys)) == []

    async def test_a_key_ends_with_its_service(self, make: Factory, workspace: Workspace) -> None:
        service = ok(await make_service(workspace))
        program = self.program(make, ok(await self.key(workspace, service))["key"])
        ok(await program.get("/me"))
        assert (await workspace.owner.http.delete(f"{path(workspace)}/{service['id']}")).status_code == 204
        problem(await program.get("/me"), 401, "unauthenticated")

    async def test_a_key_is_no_way_to_rights_that_one_has_not(self, make: Factory, workspace: Workspace) -> None:
        role = {"name": "custom.engineer", "description": "Services", "permissions": ["workspaces.service.edit"]}
        ok(await workspace.owner.http.post(f"{workspace.path}/roles", json=role))
        engineer = await make.member(workspace, "custom.engineer")
        service = ok(await make_service(workspace, "chat.volunteer"))
        answer = await engineer.http.post(f"{path(workspace)}/{service['id']}/keys", json={"name": "Mine"})
        problem(answer, 403, "above_own_rights")

    async def test_a_key_is_cut_down_to_its_scopes(self, make: Factory, workspace: Workspace) -> None:
        service = ok(await make_service(workspace, "administrator"))
        issued = ok(await self.key(workspace, service, scopes=["workspaces.workspace.read"]))
        program = self.program(make, issued["key"])
        ok(await program.get(workspace.path))
        problem(await program.get(f"{workspace.path}/members"), 403, "forbidden")
        problem(await self.key(workspace, service, scopes=["nothing.at.all"]), 400, "unknown_permission")
