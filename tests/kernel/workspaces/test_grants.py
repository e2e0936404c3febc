"""Roles that are given one by one: on one thing, and for a time."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from courtyard.kernel.database import UniqueViolation
from courtyard.kernel.http import API
from courtyard.kernel.workspaces.errors import RoleNotForAccount, UnknownRole
from courtyard.kernel.workspaces.models import RoleGrantRow
from courtyard.kernel.workspaces.service import members as service
from tests.conftest import ServerFactory
from tests.factories import Conversation, Factory, Person, Workspace, ok, problem
from tests.kernel.workspaces.acting import (
    grant,
    inside,
    make_role,
    member_path,
    own_permissions,
    remove,
    set_roles,
    version_of,
)
from tests.running import MovableClock


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
async def conversation(make: Factory, workspace: Workspace) -> Conversation:
    return await make.conversation(workspace)


async def grants_of(workspace: Workspace, person: Person, query: str = "") -> list[dict[str, Any]]:
    answer = ok(await workspace.owner.http.get(f"{member_path(workspace, person)}/grants{query}"))
    items: list[dict[str, Any]] = answer["items"]
    return items


async def test_a_role_on_one_thing_is_listed_with_the_member(
    make: Factory, workspace: Workspace, conversation: Conversation
) -> None:
    member = await make.member(workspace, "member")
    answer = await grant(workspace, workspace.owner, member, "chat.volunteer", conversation)
    assert answer.status_code == 201
    given = answer.json()
    assert UUID(given.pop("id")).version == 7
    assert datetime.fromisoformat(given.pop("created_at")).tzinfo is not None
    assert given == {
        "account_id": str(member.id),
        "role": "chat.volunteer",
        "scope_type": "chat.conversation",
        "scope_id": str(conversation.id),
        "granted_by": str(workspace.owner.id),
        "expires_at": None,
    }
    shown = ok(await member.http.get(member_path(workspace, member)))
    assert (shown["roles"], shown["grants"], shown["version"]) == (["member"], [answer.json()], 2)
    assert [each["role"] for each in await grants_of(workspace, member)] == ["member", "chat.volunteer"]
    assert (await own_permissions(workspace, member))["scoped"][0]["scope_id"] == str(conversation.id)


async def test_grants_come_in_pages(make: Factory, workspace: Workspace) -> None:
    member = await make.member(workspace, "member")
    for _ in range(3):
        ok(await grant(workspace, workspace.owner, member, "chat.volunteer", await make.conversation(workspace)))
    path = f"{member_path(workspace, member)}/grants"
    first = ok(await member.http.get(f"{path}?limit=3"))
    rest = ok(await member.http.get(f"{path}?limit=3&cursor={first['next']}"))
    assert [*first["items"], *rest["items"]] == await grants_of(workspace, member)
    assert (len(first["items"]), rest["next"]) == (3, None)


async def test_the_same_role_there_is_given_once_however_many_ask(
    make: Factory, workspace: Workspace, conversation: Conversation
) -> None:
    member = await make.member(workspace, "member")
    answers = await asyncio.gather(
        *(grant(workspace, workspace.owner, member, "chat.volunteer", conversation) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"already_granted"}
    assert await version_of(workspace, member) == 2


async def test_taking_it_away_takes_effect_at_once(
    make: Factory, workspace: Workspace, conversation: Conversation
) -> None:
    member = await make.member(workspace, "member")
    given = ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
    ok(await member.http.get(conversation.path))
    path = f"{member_path(workspace, member)}/grants/{given['id']}"
    assert (await workspace.owner.http.delete(path)).status_code == 204
    problem(await member.http.get(conversation.path), 404, "not_found")
    problem(await workspace.owner.http.delete(path), 404, "not_found")
    assert await version_of(workspace, member) == 3


async def test_with_the_membership_all_grants_are_gone(
    make: Factory, workspace: Workspace, conversation: Conversation
) -> None:
    member = await make.member(workspace, "member")
    ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
    assert (await remove(workspace, workspace.owner, member)).status_code == 204
    problem(await member.http.get(conversation.path), 404, "not_found")
    await make.join(workspace, member, "member")
    problem(await member.http.get(conversation.path), 404, "not_found")


async def test_only_members_are_given_roles(make: Factory, workspace: Workspace, conversation: Conversation) -> None:
    for person in (await make.person(), await make.visitor()):
        problem(await grant(workspace, workspace.owner, person, "chat.volunteer", conversation), 404, "not_found")


@pytest.mark.parametrize("role", ["nonsense", "chat.visitor", "everybody", "custom.nothing"])
async def test_a_role_that_there_is_not_is_refused(make: Factory, workspace: Workspace, role: str) -> None:
    member = await make.member(workspace, "member")
    document = problem(await grant(workspace, workspace.owner, member, role), 400, "unknown_role")
    assert [fault["pointer"] for fault in document["errors"]] == ["/role"]


async def test_a_thing_that_there_is_not_here_is_refused(make: Factory, workspace: Workspace) -> None:
    member, elsewhere = await make.member(workspace, "member"), await make.conversation()
    path = f"{member_path(workspace, member)}/grants"
    wrong: list[tuple[dict[str, str], str]] = [
        ({"scope_type": "chat.conversation", "scope_id": str(uuid4())}, "/scope_id"),
        ({"scope_type": "chat.conversation", "scope_id": str(elsewhere.id)}, "/scope_id"),
        ({"scope_type": "chat.nonsense", "scope_id": str(uuid4())}, "/scope_type"),
        ({"scope_type": "chat.conversation"}, "/scope_id"),
        ({"scope_id": str(uuid4())}, "/scope_type"),
    ]
    for scope, pointer in wrong:
        answer = await workspace.owner.http.post(path, json={"role": "chat.volunteer", **scope})
        assert [fault["pointer"] for fault in problem(answer, 400, "unknown_scope")["errors"]] == [pointer]


async def test_ownership_is_whole_and_for_good(make: Factory, workspace: Workspace, conversation: Conversation) -> None:
    member = await make.member(workspace, "member")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for on, until in ((conversation, None), (None, tomorrow)):
        problem(await grant(workspace, workspace.owner, member, "owner", on, until), 400, "ownership_is_whole")


async def test_the_ownership_of_the_last_owner_cannot_be_taken(make: Factory, workspace: Workspace) -> None:
    second = await make.member(workspace, "owner")
    (mine,), (theirs,) = await grants_of(workspace, workspace.owner), await grants_of(workspace, second)
    http = workspace.owner.http
    own = f"{member_path(workspace, workspace.owner)}/grants/{mine['id']}"
    problem(await http.delete(own), 403, "above_own_rights")
    assert (await http.delete(f"{member_path(workspace, second)}/grants/{theirs['id']}")).status_code == 204
    problem(await second.http.delete(own), 403, "forbidden")


async def test_a_member_has_so_many_roles_and_no_more(
    make: Factory, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_GRANTS", 2)
    member = await make.member(workspace, "member")
    ok(await grant(workspace, workspace.owner, member, "chat.volunteer", await make.conversation(workspace)))
    more = await grant(workspace, workspace.owner, member, "chat.volunteer", await make.conversation(workspace))
    problem(more, 409, "too_many_grants")
    problem(await set_roles(workspace, workspace.owner, member, "member", "administrator"), 409, "too_many_grants")
    assert len(await grants_of(workspace, member)) == 2


async def test_somebody_without_a_role_in_all_of_it_has_one_on_a_thing(
    make: Factory, workspace: Workspace, conversation: Conversation
) -> None:
    member = await make.member(workspace, "member")
    ok(await set_roles(workspace, workspace.owner, member))
    problem(await member.http.get(workspace.path), 403, "forbidden")
    ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
    ok(await member.http.get(conversation.path))
    problem(await member.http.get(workspace.path), 403, "forbidden")


class TestForATime:
    """A role ends to the moment, on a connection too."""

    @pytest.fixture
    async def moved(self, server_factory: ServerFactory, clock: MovableClock) -> Factory:
        return Factory(await server_factory(clock=clock))

    async def test_it_counts_until_its_end_and_not_from_then_on(self, moved: Factory, clock: MovableClock) -> None:
        workspace = await moved.workspace()
        member, conversation = await moved.member(workspace, "member"), await moved.conversation(workspace)
        end = clock.now() + timedelta(minutes=5)
        given = ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation, end))
        assert datetime.fromisoformat(given["expires_at"]) == end
        stopped = StoppedClock(end - timedelta(microseconds=1))
        clock.now = stopped.now  # type: ignore[method-assign]
        ok(await member.http.get(conversation.path))
        stopped.moment = end
        problem(await member.http.get(conversation.path), 404, "not_found")
        assert ok(await member.http.get(member_path(workspace, member)))["grants"] == []
        assert [each["role"] for each in await grants_of(workspace, member)] == ["member"]
        stopped.moment += timedelta(seconds=1)
        # And it can be given anew.
        ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
        ok(await member.http.get(conversation.path))

    async def test_a_role_in_all_of_the_workspace_ends_too(self, moved: Factory, clock: MovableClock) -> None:
        workspace = await moved.workspace()
        member = await moved.member(workspace, "member")
        end = clock.now() + timedelta(minutes=5)
        ok(await grant(workspace, workspace.owner, member, "administrator", None, end))
        assert ok(await member.http.get(member_path(workspace, member)))["roles"] == ["administrator", "member"]
        ok(await member.http.patch(workspace.path, json={"name": "Mine"}))
        clock.move(minutes=6)
        problem(await member.http.patch(workspace.path, json={"name": "Mine"}), 403, "forbidden")

    async def test_a_socket_that_listens_by_it_is_cut_at_its_end(self, moved: Factory, clock: MovableClock) -> None:
        workspace = await moved.workspace()
        member, conversation = await moved.member(workspace, "member"), await moved.conversation(workspace)
        end = clock.now() + timedelta(minutes=5)
        ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation, end))
        listens = await moved.socket(member)
        await listens.ok("subscribe", workspace=workspace.slug, topic=conversation.topic)
        clock.move(minutes=6)
        await asyncio.wait_for(listens.client.wait(), 5)
        again = await moved.socket(member)
        answer = await again.call("subscribe", {"workspace": workspace.slug, "topic": conversation.topic})
        assert answer["problem"]["code"] == "not_found"
        await moved.close()

    @pytest.mark.parametrize("days", [-1, 0, 4_000])
    async def test_it_ends_neither_in_the_past_nor_in_the_far_future(self, make: Factory, days: int) -> None:
        workspace = await make.workspace()
        member = await make.member(workspace, "member")
        end = datetime.now(UTC) + timedelta(days=days)
        document = problem(
            await grant(workspace, workspace.owner, member, "chat.volunteer", None, end), 400, "expiry_out_of_range"
        )
        assert [fault["pointer"] for fault in document["errors"]] == ["/expires_at"]

    @pytest.mark.parametrize("end", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2030-01-01T00:00:00"])
    async def test_moments_that_no_database_has_are_refused(self, make: Factory, end: str) -> None:
        workspace = await make.workspace()
        member = await make.member(workspace, "member")
        new = {"role": "chat.volunteer", "expires_at": end}
        answer = await workspace.owner.http.post(f"{member_path(workspace, member)}/grants", json=new)
        assert answer.status_code == 400


class StoppedClock:
    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


class TestRightsOnOneThing:
    """Whoever looks after one thing gives and takes roles there, and nowhere else."""

    @pytest.fixture
    async def keeper(self, make: Factory, workspace: Workspace, conversation: Conversation) -> Person:
        keeper = await make.member(workspace, "member", name="Kim")
        role = await make_role(
            workspace, workspace.owner, "workspaces.member.edit", "chat.conversation.read", "chat.message.send"
        )
        ok(await grant(workspace, workspace.owner, keeper, role, conversation))
        return keeper

    async def test_what_they_have_there_they_give_there(
        self, make: Factory, workspace: Workspace, conversation: Conversation, keeper: Person
    ) -> None:
        member = await make.member(workspace, "member")
        less = await make_role(workspace, workspace.owner, "chat.conversation.read")
        given = ok(await grant(workspace, keeper, member, less, conversation))
        ok(await member.http.get(conversation.path))
        path = f"{member_path(workspace, member)}/grants/{given['id']}"
        assert (await keeper.http.delete(path)).status_code == 204
        problem(await member.http.get(conversation.path), 404, "not_found")

    async def test_what_they_do_not_have_there_they_do_not_give(
        self, make: Factory, workspace: Workspace, conversation: Conversation, keeper: Person
    ) -> None:
        member = await make.member(workspace, "member")
        problem(await grant(workspace, keeper, member, "chat.volunteer", conversation), 403, "above_own_rights")

    async def test_elsewhere_they_give_nothing(self, make: Factory, workspace: Workspace, keeper: Person) -> None:
        member, other = await make.member(workspace, "member"), await make.conversation(workspace)
        less = await make_role(workspace, workspace.owner, "chat.conversation.read")
        for on in (other, None):
            problem(await grant(workspace, keeper, member, less, on), 403, "forbidden")
        problem(await set_roles(workspace, keeper, member, less), 403, "forbidden")
        problem(await remove(workspace, keeper, member), 403, "forbidden")
        given = ok(await grant(workspace, workspace.owner, member, less, other))
        path = f"{member_path(workspace, member)}/grants/{given['id']}"
        problem(await keeper.http.delete(path), 403, "forbidden")
        ok(await member.http.get(other.path))

    async def test_whoever_has_more_there_they_do_not_touch(
        self, make: Factory, workspace: Workspace, conversation: Conversation, keeper: Person
    ) -> None:
        less = await make_role(workspace, workspace.owner, "chat.conversation.read")
        volunteer = await make.member(workspace)
        problem(await grant(workspace, keeper, volunteer, less, conversation), 403, "above_own_rights")
        member = await make.member(workspace, "member")
        given = ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
        path = f"{member_path(workspace, member)}/grants/{given['id']}"
        problem(await keeper.http.delete(path), 403, "above_own_rights")

    async def test_their_own_they_do_not_touch(
        self, workspace: Workspace, conversation: Conversation, keeper: Person
    ) -> None:
        (mine,) = [each for each in await grants_of(workspace, keeper) if each["scope_id"] is not None]
        less = await make_role(workspace, workspace.owner, "chat.conversation.read")
        problem(await grant(workspace, keeper, keeper, less, conversation), 403, "above_own_rights")
        own = f"{member_path(workspace, keeper)}/grants/{mine['id']}"
        problem(await keeper.http.delete(own), 403, "above_own_rights")


class TestJoining:
    """What invitations and founding call."""

    async def test_whoever_is_there_is_given_the_roles_beside_the_old(
        self, make: Factory, workspace: Workspace, conversation: Conversation
    ) -> None:
        person = await make.person()
        access = await make.server.runtime.identity.access(make.server.runtime, None, workspace.slug)
        for roles, scope, joined in (
            (["member"], None, True),
            (["member", "chat.volunteer"], None, False),
            (["chat.volunteer"], ("chat.conversation", conversation.id), False),
            (["chat.volunteer"], ("chat.conversation", conversation.id), False),
        ):
            async with inside(make.server) as context:
                context.access = access
                by = workspace.owner.id
                assert await service.join(context, person.id, roles, scope=scope, granted_by=by) is joined
        member = ok(await person.http.get(member_path(workspace, person)))
        assert (member["roles"], len(member["grants"]), member["version"]) == (["chat.volunteer", "member"], 1, 3)

    async def test_visitors_and_unknown_roles_are_refused(self, make: Factory, workspace: Workspace) -> None:
        visitor, person = await make.visitor(), await make.person()
        for account_id, role, error in (
            (visitor.id, "member", RoleNotForAccount),
            (person.id, "custom.gone", UnknownRole),
        ):
            with pytest.raises(error):
                async with inside(make.server) as context:
                    await service.join(context, account_id, [role], granted_by=None, workspace_id=workspace.id)
        problem(await visitor.http.get(workspace.path), 403, "forbidden")


async def test_the_database_refuses_the_same_role_twice_everywhere(make: Factory, workspace: Workspace) -> None:
    (owned,) = await grants_of(workspace, workspace.owner)
    with pytest.raises(UniqueViolation):
        async with inside(make.server) as context:
            await context.db.insert(
                RoleGrantRow,
                id=uuid4(),
                workspace_id=workspace.id,
                account_id=workspace.owner.id,
                role=owned["role"],
                scope_type="",
                scope_id=UUID(int=0),
                granted_by=None,
                created_at=context.now,
                expires_at=None,
            )


async def test_a_grant_is_known_elsewhere_within_a_second(
    make: Factory, workspace: Workspace, conversation: Conversation, server_factory: ServerFactory
) -> None:
    member, elsewhere = await make.member(workspace, "member"), await server_factory()
    client = elsewhere.client(base_url=elsewhere.url + API, headers=member.headers)
    problem(await client.get(conversation.path), 404, "not_found")
    ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
    async with asyncio.timeout(1.5):
        answer = await client.get(conversation.path)
        while not answer.is_success:
            await asyncio.sleep(0.05)
            answer = await client.get(conversation.path)


async def test_an_api_key_has_of_a_role_on_a_thing_what_it_is_cut_down_to(
    make: Factory, workspace: Workspace, conversation: Conversation
) -> None:
    member = await make.member(workspace, "member")
    ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
    new = {"name": "Reader", "scopes": ["chat.conversation.read"]}
    key = ok(await member.http.post("/me/api-keys", json=new))["key"]
    reader = make.server.client(base_url=make.server.url + API, headers={"Authorization": f"Bearer {key}"})
    ok(await reader.get(conversation.path))
    problem(await reader.post(f"{conversation.path}/claim"), 403, "forbidden")
    mine = ok(await reader.get(f"{workspace.path}/me/permissions"))
    assert (mine["permissions"], mine["scoped"][0]["permissions"]) == ([], ["chat.conversation.read"])
    # Nor does it give what it has not itself, whatever its owner has.
    new = {"name": "Giver", "scopes": ["workspaces.member.edit", "workspaces.member.read"]}
    key = ok(await workspace.owner.http.post("/me/api-keys", json=new))["key"]
    giver = make.server.client(base_url=make.server.url + API, headers={"Authorization": f"Bearer {key}"})
    raised = await giver.patch(member_path(workspace, member), json={"roles": ["owner"]})
    problem(raised, 403, "above_own_rights")
