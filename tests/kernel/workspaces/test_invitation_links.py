"""Links by which whoever has them joins."""

import asyncio
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from tests.conftest import ServerFactory
from tests.factories import Factory, Person, Workspace, ok, problem
from tests.running import MovableClock

NOT_OPEN = (400, "invalid_invitation")


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


def path(workspace: Workspace) -> str:
    return f"{workspace.path}/invitation-links"


async def link(workspace: Workspace, *roles: str, by: Person | None = None, **new: Any) -> httpx2.Response:
    return await (by or workspace.owner).http.post(path(workspace), json={"roles": roles or ["member"], **new})


async def join(person: Person, token: str) -> httpx2.Response:
    return await person.http.post("/invitation-links/join", json={"token": token})


async def uses_of(workspace: Workspace) -> list[int]:
    return [each["uses"] for each in ok(await workspace.owner.http.get(path(workspace)))["items"]]


async def test_people_join_by_a_link_as_often_as_it_says(make: Factory, workspace: Workspace) -> None:
    made = ok(await link(workspace, "chat.volunteer", max_uses=2, expires_in_days=3))
    assert made["url"].endswith(made["token"])
    assert made["link"]["uses"] == 0
    preview = ok(await make.nobody.post("/invitation-links/preview", json={"token": made["token"]}))
    assert preview == {
        "workspace": "Workspace",
        "roles": ["chat.volunteer"],
        "expires_at": made["link"]["expires_at"],
    }
    people = [await make.person() for _ in range(3)]
    for person in people[:2]:
        assert ok(await join(person, made["token"]))["id"] == str(workspace.id)
        member = ok(await workspace.owner.http.get(f"{workspace.path}/members/{person.id}"))
        assert member["roles"] == ["chat.volunteer"]
    problem(await join(people[2], made["token"]), *NOT_OPEN)
    problem(await make.nobody.post("/invitation-links/preview", json={"token": made["token"]}), *NOT_OPEN)
    assert await uses_of(workspace) == [2]


@pytest.mark.parametrize("turn", range(3))
async def test_of_many_who_join_at_once_no_more_are_let_in_than_may(
    make: Factory, workspace: Workspace, turn: int
) -> None:
    del turn
    made = ok(await link(workspace, max_uses=2))
    people = [await make.person() for _ in range(5)]
    answers = await asyncio.gather(*(join(person, made["token"]) for person in people))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 400, 400, 400]
    assert await uses_of(workspace) == [2]
    assert len(ok(await workspace.owner.http.get(f"{workspace.path}/members"))["items"]) == 3


async def test_one_who_joins_twice_uses_it_once(make: Factory, workspace: Workspace) -> None:
    made, person = ok(await link(workspace, max_uses=5)), await make.person()
    answers = await asyncio.gather(*(join(person, made["token"]) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    problem(await join(person, made["token"]), 409, "already_member")
    assert await uses_of(workspace) == [1]


async def test_a_link_that_was_taken_back_lets_nobody_in(make: Factory, workspace: Workspace) -> None:
    made, elsewhere = ok(await link(workspace)), await make.workspace()
    address = f"{path(workspace)}/{made['link']['id']}"
    problem(await elsewhere.owner.http.delete(f"{path(elsewhere)}/{made['link']['id']}"), 404, "not_found")
    problem(await elsewhere.owner.http.delete(address), 403, "forbidden")
    assert (await workspace.owner.http.delete(address)).status_code == 204
    problem(await workspace.owner.http.delete(address), 404, "not_found")
    problem(await join(await make.person(), made["token"]), *NOT_OPEN)
    (listed,) = ok(await workspace.owner.http.get(path(workspace)))["items"]
    assert listed["withdrawn_at"] is not None


async def test_a_link_expires(server_factory: ServerFactory, clock: MovableClock) -> None:
    make = Factory(await server_factory(clock=clock))
    workspace = await make.workspace()
    made = ok(await link(workspace, expires_in_days=1))
    clock.move(hours=24, seconds=1)
    problem(await join(await make.person(), made["token"]), *NOT_OPEN)


@pytest.mark.parametrize("role", ["owner", "administrator"])
async def test_what_shapes_the_workspace_is_not_given_by_a_link(workspace: Workspace, role: str) -> None:
    document = problem(await link(workspace, "member", role), 400, "role_not_by_link")
    assert [fault["pointer"] for fault in document["errors"]] == ["/roles"]


async def test_a_role_that_became_mighty_is_no_longer_given(make: Factory, workspace: Workspace) -> None:
    http = workspace.owner.http
    role = {"name": "custom.helper", "description": "Helps", "permissions": ["workspaces.member.read"]}
    ok(await http.post(f"{workspace.path}/roles", json=role))
    made = ok(await link(workspace, "custom.helper", max_uses=2))
    ok(await join(await make.person(), made["token"]))
    more = {"permissions": ["workspaces.member.read", "workspaces.member.edit"]}
    ok(await http.patch(f"{workspace.path}/roles/custom.helper", json=more))
    problem(await join(await make.person(), made["token"]), *NOT_OPEN)
    problem(await link(workspace, "custom.helper"), 400, "role_not_by_link")


async def test_nobody_makes_a_link_above_their_rights(make: Factory, workspace: Workspace) -> None:
    http = workspace.owner.http
    role = {"name": "custom.host", "description": "Hosts", "permissions": ["workspaces.member.edit"]}
    ok(await http.post(f"{workspace.path}/roles", json=role))
    host = await make.member(workspace, "custom.host", "member")
    problem(await link(workspace, "chat.volunteer", by=host), 403, "above_own_rights")
    made = ok(await link(workspace, "member", by=host))
    ok(await http.patch(f"{workspace.path}/members/{host.id}", json={"roles": ["member"]}))
    problem(await join(await make.person(), made["token"]), *NOT_OPEN)
    problem(await link(workspace, by=host), 403, "forbidden")
    problem(await host.http.get(path(workspace)), 403, "forbidden")
    problem(await link(workspace, "nonsense"), 400, "unknown_role")


async def test_visitors_register_first(make: Factory, workspace: Workspace) -> None:
    made = ok(await link(workspace))
    problem(await join(await make.visitor(), made["token"]), 403, "visitors_cannot_join")
    problem(await make.nobody.post("/invitation-links/join", json={"token": made["token"]}), 401, "unauthenticated")
    assert await uses_of(workspace) == [0]


async def test_links_keep_to_the_allowed_domains(make: Factory, workspace: Workspace) -> None:
    made = ok(await link(workspace))
    change = {"sections": {"workspaces": {"invitation_domains": ["help.example"]}}}
    ok(await workspace.owner.http.patch(f"{workspace.path}/settings", json=change))
    problem(await join(await make.person(), made["token"]), 400, "email_not_allowed")
    assert await uses_of(workspace) == [0]


async def test_a_closed_workspace_lets_nobody_in(make: Factory, workspace: Workspace) -> None:
    made, person = ok(await link(workspace)), await make.person()
    ok(await workspace.owner.http.post(f"{workspace.path}/archive"))
    problem(await join(person, made["token"]), *NOT_OPEN)
    ok(await workspace.owner.http.post(f"{workspace.path}/unarchive"))
    ok(await join(person, made["token"]))


@pytest.mark.parametrize(
    "change",
    [
        {"max_uses": 0},
        {"max_uses": 1_001},
        {"expires_in_days": 0},
        {"expires_in_days": 366},
        {"roles": []},
        {"uses": 0},
        {"token": "x" * 43},
    ],
)
async def test_bad_input_is_refused(workspace: Workspace, change: dict[str, Any]) -> None:
    answer = await workspace.owner.http.post(path(workspace), json={"roles": ["member"], **change})
    problem(answer, 400, "invalid_input")


async def test_a_token_is_told_once(make: Factory, workspace: Workspace) -> None:
    with capture_logs() as logs:
        made = ok(await link(workspace, max_uses=3))
        listed = await workspace.owner.http.get(path(workspace))
        joined = await join(await make.person(), made["token"])
    assert made["token"] not in listed.text + joined.text
    assert made["token"] not in str(logs)


async def test_links_come_in_pages(workspace: Workspace) -> None:
    made = [ok(await link(workspace))["link"]["id"] for _ in range(3)]
    first = ok(await workspace.owner.http.get(f"{path(workspace)}?limit=2"))
    rest = ok(await workspace.owner.http.get(f"{path(workspace)}?limit=2&cursor={first['next']}"))
    assert [each["id"] for each in [*first["items"], *rest["items"]]] == made[::-1]
    assert rest["next"] is None


async def test_a_workspace_has_so_many_open_links(server_factory: ServerFactory) -> None:
    make = Factory(await server_factory(workspaces={"open_invitations": 1}))
    workspace = await make.workspace()
    made = ok(await link(workspace))
    problem(await link(workspace), 409, "too_many_invitations")
    assert (await workspace.owner.http.delete(f"{path(workspace)}/{made['link']['id']}")).status_code == 204
    ok(await link(workspace))
