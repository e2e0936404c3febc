"""Workspaces, their members and roles."""

import asyncio
from typing import Any
from uuid import UUID

import httpx2
import pytest

from courtyard.kernel.http import API
from tests.conftest import ServerFactory
from tests.factories import Factory, Person, Workspace, ok, problem, unique


async def add(workspace: Workspace, by: Person, person: Person, *roles: str) -> httpx2.Response:
    return await by.http.post(f"{workspace.path}/members", json={"email": person.email, "roles": roles})


async def set_roles(workspace: Workspace, by: Person, person: Person, *roles: str) -> httpx2.Response:
    return await by.http.patch(f"{workspace.path}/members/{person.id}", json={"roles": roles})


async def remove(workspace: Workspace, by: Person, person: Person) -> httpx2.Response:
    return await by.http.delete(f"{workspace.path}/members/{person.id}")


async def roles_of(workspace: Workspace, by: Person) -> dict[UUID, list[str]]:
    items = ok(await by.http.get(f"{workspace.path}/members"))["items"]
    return {UUID(member["account_id"]): member["roles"] for member in items}


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


async def test_whoever_makes_a_workspace_owns_it(make: Factory) -> None:
    owner, slug = await make.person(), unique("help")
    answer = await owner.http.post("/workspaces", json={"slug": slug, "name": "Help line"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["slug"], made["name"], made["version"]) == (slug, "Help line", 1)
    assert UUID(made["id"]).version == 7
    assert ok(await owner.http.get(f"/workspaces/{slug}")) == made
    assert ok(await owner.http.get(f"/workspaces/{made['id']}")) == made
    assert ok(await owner.http.get("/workspaces")) == {"items": [made], "next": None}
    (member,) = ok(await owner.http.get(f"/workspaces/{slug}/members"))["items"]
    assert member.pop("created_at")
    assert member == {
        "account_id": str(owner.id),
        "name": owner.name,
        "email": owner.email,
        "roles": ["owner"],
        "grants": [],
        "suspended_at": None,
        "version": 1,
    }


async def test_a_slug_belongs_to_one_workspace(make: Factory, workspace: Workspace) -> None:
    person = await make.person()
    new = {"slug": workspace.slug, "name": "Mine"}
    problem(await person.http.post("/workspaces", json=new), 409, "slug_taken")
    assert ok(await person.http.get("/workspaces"))["items"] == []


async def test_of_many_who_want_one_slug_at_once_one_gets_it(make: Factory) -> None:
    people = [await make.person() for _ in range(5)]
    new = {"slug": unique("wanted"), "name": "Mine"}
    answers = await asyncio.gather(*(person.http.post("/workspaces", json=new) for person in people))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]


@pytest.mark.parametrize(
    "slug", ["x", "x" * 64, "Upper", "1st", "-a", "a-", "a--b", "a_b", "a b", "a.b", "ä", "a\n", "", "a/b"]
)
async def test_which_slugs_are_refused(make: Factory, slug: str) -> None:
    person = await make.person()
    document = problem(await person.http.post("/workspaces", json={"slug": slug, "name": "Mine"}), 400, "invalid_input")
    assert [fault["pointer"] for fault in document["errors"]] == ["/slug"]


async def test_an_anonymous_visitor_owns_nothing(make: Factory) -> None:
    visitor = await make.visitor()
    new = {"slug": unique("mine"), "name": "Mine"}
    problem(await visitor.http.post("/workspaces", json=new), 403, "visitors_cannot_own")


async def test_changing_a_workspace(workspace: Workspace) -> None:
    http = workspace.owner.http
    before = ok(await http.get(workspace.path))
    changed = await http.patch(workspace.path, json={"name": "New"}, headers={"If-Match": '"1"'})
    assert ok(changed) == {**before, "name": "New", "version": 2}
    assert changed.headers["etag"] == '"2"'
    stale = await http.patch(workspace.path, json={"name": "Newer"}, headers={"If-Match": '"1"'})
    problem(stale, 412, "precondition_failed")
    assert ok(await http.patch(workspace.path, json={}))["version"] == 2
    problem(await http.patch(workspace.path, json={"created_at": "2026-01-01T00:00:00Z"}), 400, "invalid_input")
    assert ok(await http.get(workspace.path)) == changed.json()


async def test_of_two_changes_at_once_none_is_lost_unseen(workspace: Workspace) -> None:
    http = workspace.owner.http
    headers = {"If-Match": '"1"'}
    answers = await asyncio.gather(
        *(http.patch(workspace.path, json={"name": f"Name {n}"}, headers=headers) for n in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]


@pytest.mark.parametrize("named", ["nothing-here", str(UUID(int=7, version=4)), "0" * 63])
async def test_a_workspace_that_does_not_exist_is_not_found(make: Factory, named: str) -> None:
    person = await make.person()
    problem(await person.http.get(f"/workspaces/{named}"), 404, "not_found")
    problem(await person.http.post(f"/workspaces/{named}/chat/conversations", json={}), 404, "not_found")


@pytest.mark.parametrize("named", ["Upper", "x" * 64, "a%20b", "%00", "..%2f..", "ü"])
async def test_what_cannot_be_a_workspace_is_refused(make: Factory, named: str) -> None:
    person = await make.person()
    assert (await person.http.get(f"/workspaces/{named}")).status_code in {400, 404}


async def test_workspaces_come_in_pages(make: Factory) -> None:
    person = await make.person()
    slugs = [(await make.workspace(owner=person)).slug for _ in range(5)]
    await make.workspace()
    found: list[str] = []
    sizes, cursor = [], ""
    while True:
        answer = ok(await person.http.get(f"/workspaces?limit=2{cursor}"))
        sizes.append(len(answer["items"]))
        found += [item["slug"] for item in answer["items"]]
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    assert (found, sizes) == (slugs, [2, 2, 1])


class TestMembers:
    async def test_a_registered_person_becomes_a_member(self, make: Factory, workspace: Workspace) -> None:
        person = await make.person()
        problem(await person.http.get(workspace.path), 403, "forbidden")
        answer = await add(workspace, workspace.owner, person, "chat.volunteer", "member", "member")
        assert answer.status_code == 201
        assert answer.json()["roles"] == ["chat.volunteer", "member"]
        assert ok(await person.http.get(workspace.path))["slug"] == workspace.slug
        assert [item["slug"] for item in ok(await person.http.get("/workspaces"))["items"]] == [workspace.slug]
        member = ok(await person.http.get(f"{workspace.path}/members/{person.id}"))
        assert member == answer.json()

    async def test_an_address_is_found_in_upper_case(self, make: Factory, workspace: Workspace) -> None:
        person = await make.person()
        assert person.email is not None
        new = {"email": person.email.upper(), "roles": ["member"]}
        ok(await workspace.owner.http.post(f"{workspace.path}/members", json=new))

    async def test_whoever_is_not_registered_cannot_be_added(self, workspace: Workspace) -> None:
        new = {"email": "nobody@nowhere.example", "roles": ["member"]}
        document = problem(
            await workspace.owner.http.post(f"{workspace.path}/members", json=new), 400, "unknown_account"
        )
        assert [fault["pointer"] for fault in document["errors"]] == ["/email"]

    async def test_nobody_is_a_member_twice(self, make: Factory, workspace: Workspace) -> None:
        person = await make.person()
        answers = await asyncio.gather(*(add(workspace, workspace.owner, person, "member") for _ in range(4)))
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
        problem(await add(workspace, workspace.owner, person, "administrator"), 409, "already_member")
        assert (await roles_of(workspace, workspace.owner))[person.id] == ["member"]

    @pytest.mark.parametrize("role", ["nonsense", "chat.nonsense", "everybody", "chat.visitor"])
    async def test_a_role_that_is_not_given_to_members_is_refused(
        self, make: Factory, workspace: Workspace, role: str
    ) -> None:
        person = await make.person()
        document = problem(await add(workspace, workspace.owner, person, "member", role), 400, "unknown_role")
        assert [fault["pointer"] for fault in document["errors"]] == ["/roles"]
        assert role in document["errors"][0]["detail"]

    @pytest.mark.parametrize("roles", [["Member"], ["member"] * 21, [7], None, "member"])
    async def test_roles_are_a_list_of_names(self, make: Factory, workspace: Workspace, roles: object) -> None:
        person = await make.person()
        new = {"email": person.email, "roles": roles}
        document = problem(await workspace.owner.http.post(f"{workspace.path}/members", json=new), 400, "invalid_input")
        assert document["errors"][0]["pointer"].startswith("/roles")

    async def test_a_change_of_roles_takes_effect_at_once(self, make: Factory, workspace: Workspace) -> None:
        member = await make.member(workspace, "member")
        queue = f"{workspace.conversations}?state=waiting"
        await make.conversation(workspace)
        assert ok(await member.http.get(queue))["items"] == []
        changed = await set_roles(workspace, workspace.owner, member, "chat.volunteer")
        assert ok(changed)["roles"] == ["chat.volunteer"]
        assert changed.headers["etag"] == '"2"'
        assert len(ok(await member.http.get(queue))["items"]) == 1
        assert (await remove(workspace, workspace.owner, member)).status_code == 204
        problem(await member.http.get(workspace.path), 403, "forbidden")
        assert ok(await member.http.get(queue))["items"] == []

    async def test_a_change_of_a_version_that_is_gone_is_refused(self, make: Factory, workspace: Workspace) -> None:
        member = await make.member(workspace, "member")
        path = f"{workspace.path}/members/{member.id}"
        tag = (await workspace.owner.http.get(path)).headers["etag"]
        ok(await set_roles(workspace, workspace.owner, member, "administrator"))
        stale = await workspace.owner.http.patch(path, json={"roles": ["member"]}, headers={"If-Match": tag})
        problem(stale, 412, "precondition_failed")
        assert (await roles_of(workspace, workspace.owner))[member.id] == ["administrator"]

    async def test_an_empty_change_changes_nothing(self, make: Factory, workspace: Workspace) -> None:
        member = await make.member(workspace, "member")
        unchanged = await workspace.owner.http.patch(f"{workspace.path}/members/{member.id}", json={})
        assert (ok(unchanged)["roles"], unchanged.headers["etag"]) == (["member"], '"1"')

    async def test_whoever_is_not_a_member_cannot_be_changed_or_removed(
        self, make: Factory, workspace: Workspace
    ) -> None:
        stranger = await make.person()
        problem(await set_roles(workspace, workspace.owner, stranger, "member"), 404, "not_found")
        problem(await remove(workspace, workspace.owner, stranger), 404, "not_found")
        problem(await remove(workspace, stranger, stranger), 404, "not_found")
        problem(await workspace.owner.http.get(f"{workspace.path}/members/{stranger.id}"), 404, "not_found")

    async def test_a_member_of_another_workspace_is_none_here(self, make: Factory, workspace: Workspace) -> None:
        elsewhere = await make.workspace()
        member = await make.member(elsewhere, "administrator")
        problem(await workspace.owner.http.get(f"{workspace.path}/members/{member.id}"), 404, "not_found")
        problem(await member.http.get(f"{workspace.path}/members"), 403, "forbidden")
        problem(await remove(workspace, elsewhere.owner, workspace.owner), 403, "forbidden")
        assert list(await roles_of(workspace, workspace.owner)) == [workspace.owner.id]

    async def test_members_come_in_pages(self, make: Factory, workspace: Workspace) -> None:
        members = [await make.member(workspace, "member") for _ in range(4)]
        found: list[str] = []
        cursor = ""
        while True:
            answer = ok(await members[0].http.get(f"{workspace.path}/members?limit=2{cursor}"))
            found += [item["account_id"] for item in answer["items"]]
            if answer["next"] is None:
                break
            cursor = f"&cursor={answer['next']}"
        assert found == sorted(str(one.id) for one in [workspace.owner, *members])

    async def test_the_roles_that_there_are(self, make: Factory, workspace: Workspace) -> None:
        member = await make.member(workspace, "member")
        roles = {role["name"]: role for role in ok(await member.http.get(f"{workspace.path}/roles"))["items"]}
        assert set(roles) == {"owner", "administrator", "member", "chat.volunteer", "chat.supervisor"}
        assert "chat.conversation.claim" in roles["chat.volunteer"]["permissions"]
        assert "chat.conversation.claim" not in roles["member"]["permissions"]
        assert all(role["description"] for role in roles.values())


class TestRights:
    """Nobody gives or takes what they do not have."""

    @pytest.fixture
    async def administrator(self, make: Factory, workspace: Workspace) -> Person:
        return await make.member(workspace, "administrator", name="Adam")

    async def test_an_administrator_makes_nobody_an_owner(
        self, make: Factory, workspace: Workspace, administrator: Person
    ) -> None:
        person, member = await make.person(), await make.member(workspace, "member")
        problem(await add(workspace, administrator, person, "owner"), 403, "above_own_rights")
        problem(await set_roles(workspace, administrator, member, "owner"), 403, "above_own_rights")
        assert "owner" not in (await roles_of(workspace, administrator))[member.id]

    async def test_an_administrator_touches_no_owner(self, workspace: Workspace, administrator: Person) -> None:
        problem(await set_roles(workspace, administrator, workspace.owner, "member"), 403, "above_own_rights")
        problem(await remove(workspace, administrator, workspace.owner), 403, "above_own_rights")

    async def test_an_administrator_looks_after_all_others(
        self, make: Factory, workspace: Workspace, administrator: Person
    ) -> None:
        person = await make.person()
        ok(await add(workspace, administrator, person, "chat.supervisor"))
        ok(await set_roles(workspace, administrator, person, "administrator", "chat.volunteer"))
        assert (await remove(workspace, administrator, person)).status_code == 204

    async def test_nobody_changes_their_own_roles(self, workspace: Workspace, administrator: Person) -> None:
        for person in (workspace.owner, administrator):
            problem(await set_roles(workspace, person, person, "member"), 403, "above_own_rights")
            problem(await set_roles(workspace, person, person, "owner"), 403, "above_own_rights")

    async def test_a_volunteer_changes_nobody(self, make: Factory, workspace: Workspace) -> None:
        volunteer, other = await make.member(workspace), await make.member(workspace, "member")
        problem(await add(workspace, volunteer, await make.person(), "member"), 403, "forbidden")
        problem(await set_roles(workspace, volunteer, other, "member"), 403, "forbidden")
        problem(await remove(workspace, volunteer, other), 403, "forbidden")
        problem(await set_roles(workspace, volunteer, volunteer, "owner"), 403, "forbidden")

    async def test_everybody_may_leave(self, make: Factory, workspace: Workspace) -> None:
        volunteer = await make.member(workspace)
        assert (await remove(workspace, volunteer, volunteer)).status_code == 204
        assert list(await roles_of(workspace, workspace.owner)) == [workspace.owner.id]

    async def test_the_last_owner_cannot_leave(self, make: Factory, workspace: Workspace) -> None:
        problem(await remove(workspace, workspace.owner, workspace.owner), 409, "last_owner")
        second = await make.member(workspace, "owner")
        assert (await remove(workspace, workspace.owner, workspace.owner)).status_code == 204
        problem(await remove(workspace, second, second), 409, "last_owner")

    async def test_an_owner_can_be_made_less_by_another(self, make: Factory, workspace: Workspace) -> None:
        second = await make.member(workspace, "owner")
        ok(await set_roles(workspace, second, workspace.owner, "member"))
        problem(await remove(workspace, second, second), 409, "last_owner")

    @pytest.mark.parametrize("turn", range(4))
    async def test_of_two_owners_who_leave_at_once_one_stays(
        self, make: Factory, workspace: Workspace, turn: int
    ) -> None:
        del turn
        owners = [workspace.owner, await make.member(workspace, "owner")]
        answers = await asyncio.gather(*(remove(workspace, owner, owner) for owner in owners))
        assert sorted(answer.status_code for answer in answers) == [204, 409]
        stayed = owners[[answer.status_code for answer in answers].index(409)]
        assert await roles_of(workspace, stayed) == {stayed.id: ["owner"]}

    async def test_of_two_owners_who_remove_each_other_at_once_one_stays(
        self, make: Factory, workspace: Workspace
    ) -> None:
        first, second = workspace.owner, await make.member(workspace, "owner")
        answers = await asyncio.gather(
            set_roles(workspace, first, second, "member"), remove(workspace, second, first), return_exceptions=True
        )
        assert [answer for answer in answers if isinstance(answer, BaseException)] == []
        left = [roles for person in (first, second) for roles in [await self.roles_seen_by(workspace, person)] if roles]
        assert any("owner" in roles for found in left for roles in found.values())

    @staticmethod
    async def roles_seen_by(workspace: Workspace, person: Person) -> dict[UUID, list[str]]:
        answer = await person.http.get(f"{workspace.path}/members")
        items: list[dict[str, Any]] = answer.json().get("items", [])
        return {UUID(member["account_id"]): member["roles"] for member in items}

    async def test_a_lost_role_stops_working_within_a_second_elsewhere(
        self, make: Factory, workspace: Workspace, server_factory: ServerFactory
    ) -> None:
        member = await make.member(workspace)
        elsewhere = await server_factory()
        client = elsewhere.client(base_url=elsewhere.url + API, headers=member.headers)
        ok(await client.get(f"{workspace.path}/members"))
        assert (await remove(workspace, workspace.owner, member)).status_code == 204
        async with asyncio.timeout(1.5):
            answer = await client.get(f"{workspace.path}/members")
            while answer.is_success:
                await asyncio.sleep(0.05)
                answer = await client.get(f"{workspace.path}/members")
        problem(answer, 403, "forbidden")
