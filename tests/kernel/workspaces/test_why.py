"""Why somebody may do something, or may not."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from courtyard.cli import app
from tests.conftest import ServerFactory
from tests.factories import Conversation, Factory, Person, Workspace, ok, problem
from tests.kernel.workspaces.acting import (
    grant,
    make_role,
    member_path,
    own_permissions,
    prove_second_factor,
    suspend,
    want_second_factor,
)
from tests.running import MovableClock, RunningServer

EVERYBODYS = ["chat.conversation.open", "files.file.read", "files.file.upload"]
SEND = "chat.message.send"
Run: TypeAlias = Callable[..., Awaitable[Result]]


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
async def conversation(make: Factory, workspace: Workspace) -> Conversation:
    return await make.conversation(workspace)


async def why(
    workspace: Workspace, person: Person, permission: str, on: Conversation | None = None, by: Person | None = None
) -> tuple[bool, list[dict[str, Any]]]:
    """Return whether, and the reasons with what they say."""
    question = {"account": str(person.id), "permission": permission}
    if on is not None:
        question |= {"scope_type": "chat.conversation", "scope_id": str(on.id)}
    answer = ok(await (by or workspace.owner).http.get(f"{workspace.path}/why", params=question))
    reasons = [{key: value for key, value in each.items() if value is not None} for each in answer["reasons"]]
    return answer["allowed"], reasons


def codes(reasons: list[dict[str, Any]]) -> list[str]:
    return [reason["code"] for reason in reasons]


async def test_a_role_says_who_gave_it_and_when(make: Factory, workspace: Workspace) -> None:
    volunteer = await make.member(workspace)
    allowed, (reason,) = await why(workspace, volunteer, SEND)
    assert allowed
    assert reason.pop("since")
    assert reason.pop("grant_id")
    assert reason == {
        "code": "granted",
        "role": "chat.volunteer",
        "granted_by": str(workspace.owner.id),
        "granted_by_name": workspace.owner.name,
    }


async def test_on_a_thing_its_own_roles_and_relations_count(
    make: Factory, workspace: Workspace, conversation: Conversation
) -> None:
    member = await make.member(workspace, "member")
    ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
    allowed, (reason,) = await why(workspace, member, SEND, conversation)
    assert (allowed, reason["code"], reason["scope_id"]) == (True, "granted", str(conversation.id))
    assert await why(workspace, member, SEND) == (False, [{"code": "no_role"}])
    assert await why(workspace, member, SEND, await make.conversation(workspace)) == (False, [{"code": "no_role"}])
    visitor = await why(workspace, conversation.visitor, SEND, conversation)
    assert visitor == (True, [{"code": "relation", "role": "chat.visitor"}])


async def test_whoever_is_no_member_has_what_everybody_has(make: Factory, workspace: Workspace) -> None:
    stranger = await make.person()
    assert await why(workspace, stranger, SEND) == (False, [{"code": "not_a_member"}])
    allowed, reasons = await why(workspace, stranger, "chat.conversation.open")
    assert (allowed, reasons) == (True, [{"code": "everybody", "role": "everybody"}])
    # The same is said of somebody who does not exist.
    ghost = Person(uuid4(), "", None, {}, stranger.http)
    assert await why(workspace, ghost, SEND) == (False, [{"code": "not_a_member"}])


async def test_a_suspension_and_a_closed_account_are_reasons_against(make: Factory, workspace: Workspace) -> None:
    volunteer = await make.member(workspace)
    ok(await suspend(workspace, workspace.owner, volunteer))
    allowed, reasons = await why(workspace, volunteer, SEND)
    assert (allowed, codes(reasons)) == (False, ["granted", "suspended"])
    gone = await make.member(workspace)
    await gone.http.post("/me/deactivate")
    allowed, reasons = await why(workspace, gone, SEND)
    assert (allowed, codes(reasons)) == (False, ["disabled"])


async def test_a_role_that_has_ended_is_told(server_factory: ServerFactory, clock: MovableClock) -> None:
    make = Factory(await server_factory(clock=clock))
    workspace = await make.workspace()
    member = await make.member(workspace, "member")
    end = clock.now() + timedelta(minutes=5)
    ok(await grant(workspace, workspace.owner, member, "chat.volunteer", None, end))
    allowed, (reason,) = await why(workspace, member, SEND)
    assert (allowed, reason["code"]) == (True, "granted")
    clock.move(minutes=6)
    allowed, (reason,) = await why(workspace, member, SEND)
    assert (allowed, reason["code"], reason["expires_at"][:19]) == (False, "expired", end.isoformat()[:19])


async def test_a_second_factor_is_a_condition(make: Factory, server: RunningServer, workspace: Workspace) -> None:
    volunteer = await make.member(workspace)
    await want_second_factor(server, workspace, "staff")
    await prove_second_factor(server, workspace.owner)
    allowed, reasons = await why(workspace, volunteer, SEND)
    assert (allowed, codes(reasons)) == (True, ["granted", "second_factor_required"])
    assert codes((await why(workspace, workspace.owner, SEND))[1]) == ["granted"]
    shown = ok(await workspace.owner.http.get(f"{member_path(workspace, volunteer)}/permissions"))
    assert shown["requires_second_factor"] is True


@pytest.mark.parametrize("permission", ["chat.nonsense.read", "owner.is_this"])
async def test_permissions_and_things_that_there_are_not(make: Factory, workspace: Workspace, permission: str) -> None:
    assert await why(workspace, workspace.owner, permission) == (False, [{"code": "unknown_permission"}])
    elsewhere = await make.conversation()
    allowed, reasons = await why(workspace, workspace.owner, SEND, elsewhere)
    assert (allowed, codes(reasons)) == (False, ["unknown_thing"])


async def test_half_a_thing_is_refused(workspace: Workspace) -> None:
    for half in ({"scope_type": "chat.conversation"}, {"scope_id": str(uuid4())}):
        question = {"account": str(workspace.owner.id), "permission": SEND, **half}
        problem(await workspace.owner.http.get(f"{workspace.path}/why", params=question), 400, "unknown_scope")


async def test_all_that_a_member_may_do_with_what_it_comes_from(
    make: Factory, workspace: Workspace, conversation: Conversation
) -> None:
    role = await make_role(workspace, workspace.owner, SEND)
    member = await make.member(workspace, "member", role)
    ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
    path = f"{member_path(workspace, member)}/permissions"
    shown = ok(await member.http.get(path))
    through = {each["permission"]: [one["role"] for one in each["through"]] for each in shown["permissions"]}
    assert through[SEND] == [role, "chat.volunteer"]
    assert through["chat.queue.read"] == ["chat.volunteer"]
    assert through["workspaces.member.read"] == ["member", "chat.volunteer"]
    assert through["chat.conversation.open"] == ["everybody"]
    assert "workspaces.member.edit" not in through
    ok(await suspend(workspace, workspace.owner, member))
    shown = ok(await workspace.owner.http.get(path))
    assert shown["suspended_at"] is not None
    # What everybody has.
    assert [each["permission"] for each in shown["permissions"]] == EVERYBODYS
    stranger = await make.person()
    problem(await workspace.owner.http.get(f"{member_path(workspace, stranger)}/permissions"), 404, "not_found")


async def test_what_is_shown_to_oneself_is_what_every_request_is_measured_by(
    make: Factory, workspace: Workspace, conversation: Conversation
) -> None:
    member = await make.member(workspace, "member")
    ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
    mine = await own_permissions(workspace, member)
    access = await make.server.runtime.identity.access(
        make.server.runtime,
        await make.server.runtime.identity.authenticate(make.server.runtime, member.token),
        workspace.slug,
    )
    assert (mine["roles"], mine["permissions"]) == (sorted(access.roles), sorted(access.permissions))
    (there,) = mine["scoped"]
    assert (there["scope_type"], there["scope_id"]) == ("chat.conversation", str(conversation.id))
    assert frozenset(there["permissions"]) == access.scoped["chat.conversation", conversation.id]
    assert (mine["is_member"], mine["withheld"]) == (True, None)
    stranger = await own_permissions(workspace, await make.person())
    assert (stranger["is_member"], stranger["roles"]) == (False, ["everybody"])


class TestCommand:
    """`courtyard why` for whoever runs the server."""

    @pytest.fixture
    def run(self, server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COURTYARD_DATA_DIR", str(server.settings.data_dir))
        monkeypatch.setenv("COURTYARD_DATABASE__URL", server.settings.database_url)

        async def invoke(*arguments: str) -> Result:
            return await asyncio.to_thread(CliRunner().invoke, app, ["why", *arguments])

        return invoke

    async def test_it_says_yes_and_why(
        self, make: Factory, workspace: Workspace, conversation: Conversation, run: Run
    ) -> None:
        member = await make.member(workspace, "member")
        ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
        thing = f"chat.conversation:{conversation.id}"
        done = await run(str(member.email), SEND, "--workspace", workspace.slug, "--thing", thing)
        first, second = done.output.splitlines()
        assert (done.exit_code, first) == (0, f"{member.email} may {SEND} in {workspace.slug}")
        assert second.startswith(f"  granted: role chat.volunteer, on {thing}, given by {workspace.owner.name}, since ")

    async def test_it_says_no_and_why(self, make: Factory, workspace: Workspace, run: Run) -> None:
        member = await make.member(workspace, "member")
        done = await run(str(member.email), SEND, "--workspace", workspace.slug)
        assert (done.exit_code, done.output) == (
            1,
            f"{member.email} may not {SEND} in {workspace.slug}\n  no role\n",
        )

    async def test_what_there_is_not_is_an_error_in_one_line(self, workspace: Workspace, run: Run) -> None:
        email = str(workspace.owner.email)
        for arguments, said in (
            (("nobody@nowhere.example", SEND, "--workspace", workspace.slug), "nobody has the address"),
            ((email, SEND, "--workspace", "no-such-place"), "there is no workspace no-such-place"),
            ((email, SEND, "--workspace", workspace.slug, "--thing", "chat"), "--thing is KIND:ID"),
        ):
            done = await run(*arguments)
            assert said in str(done.exception)
