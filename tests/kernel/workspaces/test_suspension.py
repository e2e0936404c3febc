"""Members who are suspended, and those who may do something only with a second factor."""

import asyncio

import httpx2
import pytest

from courtyard.kernel.http import API
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Conversation, Factory, Workspace, ok, problem
from tests.kernel.workspaces.acting import (
    grant,
    make_role,
    member_path,
    own_permissions,
    prove_second_factor,
    remove,
    resume,
    set_roles,
    suspend,
    want_second_factor,
)
from tests.running import RunningServer


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
async def conversation(make: Factory, workspace: Workspace) -> Conversation:
    return await make.conversation(workspace)


class TestSuspension:
    """A suspended member keeps the roles and has what a stranger has."""

    async def test_what_they_had_is_refused_and_said_why(
        self, make: Factory, workspace: Workspace, conversation: Conversation
    ) -> None:
        member = await make.member(workspace)
        suspended = await suspend(workspace, workspace.owner, member)
        assert ok(suspended)["suspended_at"] is not None
        assert (suspended.json()["roles"], suspended.headers["etag"]) == (["chat.volunteer"], '"2"')
        document = problem(await member.http.get(conversation.path), 403, "membership_suspended")
        assert document["permission"] == "chat.conversation.read"
        problem(await member.http.get(workspace.path), 403, "membership_suspended")
        # What they never had is refused as ever, and what everybody has is theirs.
        problem(await member.http.patch(workspace.path, json={"name": "Mine"}), 403, "forbidden")
        assert ok(await member.http.get(workspace.conversations))["items"] == []
        ok(await member.http.post(workspace.conversations, json={}))
        mine = await own_permissions(workspace, member)
        assert (mine["is_member"], mine["permissions"], mine["withheld"]) == (
            True,
            ["chat.conversation.open", "files.file.read", "files.file.upload"],
            "membership_suspended",
        )

    async def test_roles_on_single_things_do_not_count_either(
        self, make: Factory, workspace: Workspace, conversation: Conversation
    ) -> None:
        member, other = await make.member(workspace, "member"), await make.conversation(workspace)
        ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
        ok(await suspend(workspace, workspace.owner, member))
        problem(await member.http.get(conversation.path), 403, "membership_suspended")
        problem(await member.http.get(other.path), 404, "not_found")

    async def test_it_ends_with_all_roles_as_they_were(
        self, make: Factory, workspace: Workspace, conversation: Conversation
    ) -> None:
        member = await make.member(workspace)
        before = ok(await member.http.get(member_path(workspace, member)))
        for _ in range(2):
            ok(await suspend(workspace, workspace.owner, member))
        for _ in range(2):
            assert ok(await resume(workspace, workspace.owner, member)) == {**before, "version": 3}
        ok(await member.http.get(conversation.path))

    async def test_a_version_that_is_gone_is_refused(self, make: Factory, workspace: Workspace) -> None:
        member = await make.member(workspace)
        path, stale = member_path(workspace, member), {"If-Match": '"7"'}
        problem(await workspace.owner.http.post(f"{path}/suspend", headers=stale), 412, "precondition_failed")
        problem(await workspace.owner.http.post(f"{path}/resume", headers=stale), 412, "precondition_failed")

    async def test_nobody_suspends_themselves_or_those_above(self, make: Factory, workspace: Workspace) -> None:
        administrator, supervisor = await make.member(workspace, "administrator"), await make.member(workspace)
        problem(await suspend(workspace, administrator, administrator), 403, "above_own_rights")
        problem(await suspend(workspace, administrator, workspace.owner), 403, "above_own_rights")
        problem(await suspend(workspace, supervisor, administrator), 403, "forbidden")
        problem(await suspend(workspace, workspace.owner, await make.person()), 404, "not_found")
        problem(await resume(workspace, workspace.owner, await make.person()), 404, "not_found")

    async def test_whoever_is_suspended_does_nothing_about_it(self, make: Factory, workspace: Workspace) -> None:
        administrator, member = await make.member(workspace, "administrator"), await make.member(workspace, "member")
        ok(await suspend(workspace, workspace.owner, administrator))
        problem(await resume(workspace, administrator, administrator), 403, "membership_suspended")
        problem(await remove(workspace, administrator, administrator), 403, "membership_suspended")
        problem(await set_roles(workspace, administrator, member, "administrator"), 403, "membership_suspended")

    async def test_the_last_owner_is_not_suspended(self, make: Factory, workspace: Workspace) -> None:
        second = await make.member(workspace, "owner")
        answers = await asyncio.gather(
            suspend(workspace, workspace.owner, second), suspend(workspace, second, workspace.owner)
        )
        assert sorted(answer.status_code for answer in answers) == [200, 403]
        stayed = second if answers[1].status_code == 200 else workspace.owner
        # A suspended owner is none who could look after the workspace.
        problem(await remove(workspace, stayed, stayed), 409, "last_owner")

    async def test_an_owner_who_has_closed_the_account_is_none_who_stays(
        self, make: Factory, workspace: Workspace
    ) -> None:
        second = await make.member(workspace, "owner")
        ok(await second.http.post("/me/deactivate"))
        problem(await remove(workspace, workspace.owner, workspace.owner), 409, "last_owner")
        assert (await remove(workspace, workspace.owner, second)).status_code == 204

    async def test_it_holds_elsewhere_within_a_second_and_sockets_are_cut(
        self, make: Factory, workspace: Workspace, conversation: Conversation, server_factory: ServerFactory
    ) -> None:
        member, elsewhere = await make.member(workspace), Factory(await server_factory())
        client = elsewhere.server.client(base_url=elsewhere.server.url + API, headers=member.headers)
        ok(await client.get(conversation.path))
        listens = await elsewhere.socket(member)
        await listens.ok("subscribe", workspace=workspace.slug, topic="chat.queue")
        ok(await suspend(workspace, workspace.owner, member))
        async with asyncio.timeout(3):
            answer = await client.get(conversation.path)
            while answer.is_success:
                await asyncio.sleep(0.05)
                answer = await client.get(conversation.path)
            await listens.client.wait()
        problem(answer, 403, "membership_suspended")
        again = await elsewhere.socket(member)
        refused = await again.call("subscribe", {"workspace": workspace.slug, "topic": "chat.queue"})
        assert refused["problem"]["code"] == "membership_suspended"
        await elsewhere.close()


class TestSecondFactor:
    """A workspace, or a role of it, wants a second factor: without one there is nothing but what everybody has."""

    @pytest.mark.parametrize(
        ("of", "refused"),
        [
            ("nobody", set()),
            ("staff", {"chat.volunteer", "owner"}),
            ("everybody", {"member", "chat.volunteer", "owner"}),
        ],
    )
    async def test_of_whom_it_is_wanted(
        self, make: Factory, server: RunningServer, workspace: Workspace, of: str, refused: set[str]
    ) -> None:
        people = {role: await make.member(workspace, role) for role in ("member", "chat.volunteer", "owner")}
        stranger = await make.person()
        await want_second_factor(server, workspace, of)
        for role, person in people.items():
            answer = await person.http.get(workspace.path)
            if role in refused:
                problem(answer, 403, "second_factor_required")
                assert (await own_permissions(workspace, person))["withheld"] == "second_factor_required"
                await prove_second_factor(server, person)
            ok(await person.http.get(workspace.path))
        problem(await stranger.http.get(workspace.path), 403, "forbidden")
        ok(await stranger.http.post(workspace.conversations, json={}))

    async def test_a_role_of_the_workspaces_own_may_want_it(
        self, make: Factory, server: RunningServer, workspace: Workspace, conversation: Conversation
    ) -> None:
        role = await make_role(workspace, workspace.owner, "chat.conversation.read", require_second_factor=True)
        member = await make.member(workspace, "member")
        ok(await member.http.get(workspace.path))
        ok(await grant(workspace, workspace.owner, member, role, conversation))
        problem(await member.http.get(workspace.path), 403, "second_factor_required")
        problem(await member.http.get(conversation.path), 403, "second_factor_required")
        problem(await member.http.patch(workspace.path, json={"name": "Mine"}), 403, "forbidden")
        await prove_second_factor(server, member)
        ok(await member.http.get(workspace.path))
        ok(await member.http.get(conversation.path))

    async def test_each_login_counts_by_itself(
        self, make: Factory, server: RunningServer, workspace: Workspace
    ) -> None:
        owner = workspace.owner
        await want_second_factor(server, workspace, "everybody")
        await prove_second_factor(server, owner)
        other = make.signed_in(
            ok(await make.nobody.post("/sessions", json={"email": owner.email, "password": PASSWORD}))
        )
        for _ in range(2):
            ok(await owner.http.get(workspace.path))
            problem(await other.http.get(workspace.path), 403, "second_factor_required")

    async def test_without_it_nothing_is_given_or_taken(
        self, make: Factory, server: RunningServer, workspace: Workspace
    ) -> None:
        owner, member = workspace.owner, await make.member(workspace, "member")
        second = await make.member(workspace, "owner")
        await want_second_factor(server, workspace, "staff")
        changes: list[httpx2.Response] = [
            await set_roles(workspace, owner, member, "administrator"),
            await suspend(workspace, owner, member),
            await remove(workspace, owner, member),
            await remove(workspace, second, second),
            await owner.http.post(
                f"{workspace.path}/roles", json={"name": "custom.x", "description": "x", "permissions": []}
            ),
        ]
        for answer in changes:
            problem(answer, 403, "second_factor_required")

    async def test_a_socket_is_told_too(self, make: Factory, server: RunningServer, workspace: Workspace) -> None:
        member = await make.member(workspace)
        await want_second_factor(server, workspace, "staff")
        socket = await make.socket(member)
        answer = await socket.call("subscribe", {"workspace": workspace.slug, "topic": "chat.queue"})
        assert answer["problem"]["code"] == "second_factor_required"
