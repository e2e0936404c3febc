"""Attempts to get more rights than one was given: through one's own roles, ids of others, and fields that are not one's
to set. What the systems that came before let through (a role in a self-edit, edits across organisations, ids in
bodies) is tried here by everybody who may do anything at all.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest

from courtyard.kernel.workspaces.models import MembershipRow, RoleGrantRow
from tests.factories import Conversation, Factory, Person, Workspace, ok, problem
from tests.kernel.workspaces.acting import grant, inside, make_role, member_path, own_permissions


@dataclass
class Place:
    """A workspace with a member, a role of its own, and a grant on a conversation."""

    workspace: Workspace
    administrator: Person
    member: Person
    role: str
    conversation: Conversation
    grant_id: str

    @property
    def member_path(self) -> str:
        return member_path(self.workspace, self.member)


async def make_place(make: Factory) -> Place:
    workspace = await make.workspace()
    administrator, member = await make.member(workspace, "administrator"), await make.member(workspace, "member")
    role = await make_role(workspace, workspace.owner, "chat.conversation.read")
    conversation = await make.conversation(workspace)
    given = ok(await grant(workspace, workspace.owner, member, role, conversation))
    return Place(workspace, administrator, member, role, conversation, given["id"])


@pytest.fixture
async def here(make: Factory) -> Place:
    return await make_place(make)


@pytest.fixture
async def there(make: Factory) -> Place:
    return await make_place(make)


async def state_of(place: Place) -> list[Any]:
    http, path = place.workspace.owner.http, place.workspace.path
    return [
        ok(await http.get(f"{path}/members")),
        [role for role in ok(await http.get(f"{path}/roles?limit=200"))["items"] if not role["built_in"]],
    ]


@pytest.mark.parametrize("rank", ["member", "chat.volunteer", "chat.supervisor", "administrator", "owner"])
async def test_nobody_promotes_themselves(make: Factory, here: Place, rank: str) -> None:
    climber = await make.member(here.workspace, rank)
    path, before = here.workspace.path, await own_permissions(here.workspace, climber)
    mine = f"{path}/members/{climber.id}"
    scope = {"scope_type": "chat.conversation", "scope_id": str(here.conversation.id)}
    http = climber.http
    for answer in (
        await http.patch(mine, json={"roles": ["owner"]}),
        await http.patch(mine, json={"roles": [rank, "administrator"]}),
        await http.patch(mine, json={"roles": []}),
        await http.post(f"{mine}/grants", json={"role": "administrator"}),
        await http.post(f"{mine}/grants", json={"role": "chat.volunteer", **scope}),
        await http.post(f"{mine}/suspend"),
        await http.post(f"{mine}/resume"),
        await http.post(f"{path}/members", json={"email": climber.email, "roles": ["owner"]}),
    ):
        assert answer.status_code in {403, 409}, answer.text
    # Nor as part of what everybody may change about themselves.
    problem(await http.patch("/me", json={"roles": ["owner"]}), 400, "invalid_input")
    problem(await http.patch("/me", json={"kind": "service"}), 400, "invalid_input")
    assert await own_permissions(here.workspace, climber) == before


@pytest.mark.parametrize("who", ["owner", "administrator"])
async def test_ids_of_another_workspace_lead_nowhere(here: Place, there: Place, who: str) -> None:
    http = (here.workspace.owner if who == "owner" else here.administrator).http
    home, before = here.workspace.path, await state_of(there)
    theirs = f"{home}/members/{there.member.id}"
    elsewhere = {"scope_type": "chat.conversation", "scope_id": str(there.conversation.id)}
    for answer in (
        await http.get(theirs),
        await http.patch(theirs, json={"roles": ["administrator"]}),
        await http.delete(theirs),
        await http.post(f"{theirs}/suspend"),
        await http.post(f"{theirs}/resume"),
        await http.get(f"{theirs}/permissions"),
        await http.get(f"{theirs}/grants"),
        await http.post(f"{theirs}/grants", json={"role": "chat.volunteer"}),
        await http.delete(f"{theirs}/grants/{there.grant_id}"),
        # The grant of another workspace under a member of one's own.
        await http.delete(f"{here.member_path}/grants/{there.grant_id}"),
        await http.get(f"{home}/roles/{there.role}"),
        await http.patch(f"{home}/roles/{there.role}", json={"permissions": []}),
        await http.delete(f"{home}/roles/{there.role}"),
    ):
        problem(answer, 404, "not_found")
    given = {"role": "chat.volunteer", **elsewhere}
    problem(await http.post(f"{here.member_path}/grants", json=given), 400, "unknown_scope")
    problem(await http.patch(here.member_path, json={"roles": [there.role]}), 400, "unknown_role")
    problem(await http.post(f"{here.member_path}/grants", json={"role": there.role}), 400, "unknown_role")
    question = {"account": str(there.member.id), "permission": "chat.message.send"}
    said = ok(await http.get(f"{home}/why", params=question))
    assert [reason["code"] for reason in said["reasons"]] == ["not_a_member"]
    said = ok(await http.get(f"{home}/why", params={**question, **elsewhere}))
    assert [reason["code"] for reason in said["reasons"]] == ["unknown_thing"]
    assert await state_of(there) == before


async def test_somebody_of_another_workspace_gets_in_nowhere(here: Place, there: Place) -> None:
    before = await state_of(here)
    http, path = there.workspace.owner.http, here.workspace.path
    for answer in (
        await http.get(f"{path}/members"),
        await http.post(f"{path}/members", json={"email": there.member.email, "roles": ["owner"]}),
        await http.patch(here.member_path, json={"roles": ["owner"]}),
        await http.post(f"{here.member_path}/suspend"),
        await http.post(f"{here.member_path}/grants", json={"role": "member"}),
        await http.delete(f"{here.member_path}/grants/{here.grant_id}"),
        await http.post(f"{path}/roles", json={"name": "custom.x", "description": "x", "permissions": []}),
        await http.patch(f"{path}/roles/{here.role}", json={"permissions": []}),
        await http.delete(f"{path}/roles/{here.role}"),
        await http.get(f"{path}/why", params={"account": str(there.member.id), "permission": "chat.message.send"}),
    ):
        problem(answer, 403, "forbidden")
    assert await state_of(here) == before


async def test_a_grant_of_one_member_is_not_taken_under_the_name_of_another(make: Factory, here: Place) -> None:
    other = await make.member(here.workspace, "member")
    path = f"{member_path(here.workspace, other)}/grants/{here.grant_id}"
    problem(await here.workspace.owner.http.delete(path), 404, "not_found")


READ_ONLY_OF_MEMBERS: list[dict[str, Any]] = [
    {"account_id": str(uuid4())},
    {"version": 7},
    {"suspended_at": None},
    {"grants": []},
    {"email": "other@example.org"},
    {"created_at": "2020-01-01T00:00:00Z"},
    {"workspace_id": str(uuid4())},
]


@pytest.mark.parametrize("extra", READ_ONLY_OF_MEMBERS)
async def test_fields_of_members_that_nobody_sets(here: Place, extra: dict[str, Any]) -> None:
    http, before = here.workspace.owner.http, await state_of(here)
    problem(await http.patch(here.member_path, json={"roles": ["administrator"], **extra}), 400, "invalid_input")
    assert await state_of(here) == before


@pytest.mark.parametrize(
    "extra",
    [
        {"id": str(uuid4())},
        {"account_id": str(uuid4())},
        {"granted_by": str(uuid4())},
        {"created_at": "2020-01-01T00:00:00Z"},
        {"workspace_id": str(uuid4())},
    ],
)
async def test_fields_of_grants_that_nobody_sets(here: Place, extra: dict[str, Any]) -> None:
    http, before = here.workspace.owner.http, await state_of(here)
    new = {"role": "chat.volunteer", **extra}
    problem(await http.post(f"{here.member_path}/grants", json=new), 400, "invalid_input")
    assert await state_of(here) == before


@pytest.mark.parametrize(
    "extra", [{"name": "custom.other"}, {"built_in": True}, {"version": 7}, {"workspace_id": str(uuid4())}]
)
async def test_fields_of_roles_that_nobody_changes(here: Place, extra: dict[str, Any]) -> None:
    http, before = here.workspace.owner.http, await state_of(here)
    path = f"{here.workspace.path}/roles/{here.role}"
    problem(await http.patch(path, json={"description": "Other", **extra}), 400, "invalid_input")
    assert await state_of(here) == before


async def test_rows_of_a_visitor_would_count_for_nothing(make: Factory, here: Place) -> None:
    """No service makes them; should they ever be there, a visitor is a stranger all the same."""
    visitor = await make.visitor()
    async with inside(make.server) as context:
        mine = {"workspace_id": here.workspace.id, "account_id": visitor.id}
        await context.db.insert(MembershipRow, **mine, version=1, created_at=context.now, suspended_at=None)
        await context.db.insert(
            RoleGrantRow,
            **mine,
            id=uuid4(),
            role="administrator",
            scope_type="",
            scope_id=UUID(int=0),
            granted_by=None,
            created_at=context.now,
            expires_at=None,
        )
        context.after_commit(make.server.runtime.identity.forget)
    problem(await visitor.http.get(here.workspace.path), 403, "forbidden")
    assert (await own_permissions(here.workspace, visitor))["roles"] == ["everybody"]
