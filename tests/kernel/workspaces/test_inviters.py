"""Those who invite: what they can still give, and in which words it is written."""

import pytest

from tests.factories import Factory, Person, Workspace, ok, problem, unique
from tests.kernel.workspaces.inviting import NOT_OPEN, TEMPLATE, accept, invite, roles_in, token_of
from tests.mailbox import Mailbox
from tests.running import RunningServer


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


class TestInviter:
    """What the inviter could give no more is not given."""

    @pytest.fixture
    async def administrator(self, make: Factory, workspace: Workspace) -> Person:
        return await make.member(workspace, "administrator")

    async def set_roles(self, workspace: Workspace, person: Person, *roles: str) -> None:
        ok(await workspace.owner.http.patch(f"{workspace.path}/members/{person.id}", json={"roles": roles}))

    async def test_one_who_has_lost_all_gives_nothing(
        self, make: Factory, workspace: Workspace, administrator: Person, mailbox: Mailbox
    ) -> None:
        people = [await make.person() for _ in range(3)]
        for person in people:
            ok(await invite(workspace, person.email, "chat.volunteer", by=administrator))
        tokens = [await token_of(mailbox, person.email) for person in people]
        await self.set_roles(workspace, administrator, "chat.volunteer")
        problem(await accept(people[0], tokens[0]), *NOT_OPEN)
        gone = await workspace.owner.http.delete(f"{workspace.path}/members/{administrator.id}")
        assert gone.status_code == 204
        problem(await accept(people[1], tokens[1]), *NOT_OPEN)
        await make.join(workspace, administrator, "administrator")
        ok(await accept(people[2], tokens[2]))

    async def test_one_who_has_lost_some_gives_the_rest(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        second, person = await make.member(workspace, "owner"), await make.person()
        ok(await invite(workspace, person.email, "owner", "member", by=second))
        token = await token_of(mailbox, person.email)
        await self.set_roles(workspace, second, "administrator")
        ok(await accept(person, token))
        assert await roles_in(workspace, person) == ["member"]

    async def test_one_who_is_suspended_or_deactivated_gives_nothing(
        self, make: Factory, workspace: Workspace, administrator: Person, mailbox: Mailbox
    ) -> None:
        person = await make.person()
        ok(await invite(workspace, person.email, by=administrator))
        token = await token_of(mailbox, person.email)
        member = f"{workspace.path}/members/{administrator.id}"
        ok(await workspace.owner.http.post(f"{member}/suspend"))
        problem(await accept(person, token), *NOT_OPEN)
        ok(await workspace.owner.http.post(f"{member}/resume"))
        assert (await administrator.http.post("/me/deactivate")).status_code == 204
        problem(await accept(person, token), *NOT_OPEN)


async def test_an_invitation_is_written_in_the_language_of_the_reader(
    make: Factory, workspace: Workspace, server: RunningServer, mailbox: Mailbox
) -> None:
    del server
    change = {"sections": {"workspaces": {"language": "fi"}}}
    ok(await workspace.owner.http.patch(f"{workspace.path}/settings", json=change))
    stranger, person = f"{unique('a')}@example.org", await make.person()
    ok(await person.http.patch("/me", json={"language": "en"}))
    for email, language in ((stranger, "fi"), (person.email, "en")):
        ok(await invite(workspace, email))
        assert email is not None
        mail = await mailbox.wait_for(email, TEMPLATE)
        assert mail.message["Content-Language"] == language
