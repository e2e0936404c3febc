"""A workspace from its name to its end."""

import asyncio
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import func, literal, select

from courtyard.kernel.context import Context
from courtyard.kernel.database import AUDIT_MARK, WORKSPACE, MainBase, Prepared, ReadUnit, WorkspaceBase
from courtyard.kernel.trail import AuditEntryRow
from courtyard.kernel.workspaces.service.removal import clean_up, remove_some
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, Person, Workspace, ok, problem, unique
from tests.mailbox import Mailbox
from tests.running import MovableClock, RunningServer, finish
from tests.services import Databases, Kind

LONG = {"access_token_seconds": 86_400}


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


async def delete(workspace: Workspace, person: Person | None = None, **query: str) -> httpx2.Response:
    http = (person or workspace.owner).http
    return await http.delete(workspace.path, params={"confirm": workspace.slug, **query})


async def again(make: Factory, person: Person) -> Person:
    """Let somebody log in once more."""
    credentials = {"email": person.email, "password": PASSWORD}
    return make.signed_in(ok(await make.nobody.post("/sessions", json=credentials)))


class TestSlug:
    async def test_the_old_slug_leads_to_the_workspace_and_is_nobody_elses(
        self, make: Factory, workspace: Workspace
    ) -> None:
        http, new = workspace.owner.http, unique("new")
        changed = await http.patch(workspace.path, json={"slug": new})
        assert (ok(changed)["slug"], changed.headers["etag"]) == (new, '"2"')
        for named in (workspace.slug, new, workspace.id):
            assert ok(await http.get(f"/workspaces/{named}"))["slug"] == new
        other = await make.person()
        answer = await other.http.post("/workspaces", json={"slug": workspace.slug, "name": "Impostor"})
        problem(answer, 409, "slug_taken")
        elsewhere = await make.workspace()
        problem(await elsewhere.owner.http.patch(elsewhere.path, json={"slug": workspace.slug}), 409, "slug_taken")
        assert ok(await http.patch(f"/workspaces/{new}", json={"slug": workspace.slug}))["slug"] == workspace.slug
        problem(await elsewhere.owner.http.patch(elsewhere.path, json={"slug": new}), 409, "slug_taken")

    async def test_a_slug_is_free_when_its_time_is_over(
        self, server_factory: ServerFactory, clock: MovableClock
    ) -> None:
        make = Factory(await server_factory(clock=clock, security=LONG, workspaces={"slug_kept_days": 1}))
        workspace, other = await make.workspace(), await make.person()
        ok(await workspace.owner.http.patch(workspace.path, json={"slug": unique("new")}))
        clock.move(hours=23)
        problem(await other.http.post("/workspaces", json={"slug": workspace.slug, "name": "Early"}), 409, "slug_taken")
        clock.move(hours=2)
        other = await again(make, other)
        assert ok(
            await other.http.get(f"/workspaces/{workspace.id}", headers=(await again(make, workspace.owner)).headers)
        )
        problem(await other.http.get(workspace.path), 404, "not_found")
        made = ok(await other.http.post("/workspaces", json={"slug": workspace.slug, "name": "Next"}))
        assert ok(await other.http.get(workspace.path))["id"] == made["id"]

    async def test_of_many_who_want_a_slug_one_gets_it(self, make: Factory) -> None:
        workspaces = [await make.workspace() for _ in range(3)]
        person, slug = await make.person(), unique("wanted")
        answers = await asyncio.gather(
            *(each.owner.http.patch(each.path, json={"slug": slug}) for each in workspaces),
            person.http.post("/workspaces", json={"slug": slug, "name": "New"}),
        )
        assert sorted(answer.is_success for answer in answers) == [False, False, False, True]
        assert {answer.json()["code"] for answer in answers if not answer.is_success} == {"slug_taken"}

    async def test_who_may_not_edit_changes_no_slug(self, make: Factory, workspace: Workspace) -> None:
        member = await make.member(workspace, "member")
        problem(await member.http.patch(workspace.path, json={"slug": unique("new")}), 403, "forbidden")
        stale = await workspace.owner.http.patch(
            workspace.path, json={"slug": unique("new")}, headers={"If-Match": '"7"'}
        )
        problem(stale, 412, "precondition_failed")


class TestArchive:
    async def test_everything_can_be_read_and_nothing_changed(self, make: Factory, workspace: Workspace) -> None:
        conversation = await make.conversation(workspace, message={"text": "hello"})
        http, owner = conversation.visitor.http, workspace.owner.http
        archived = ok(await owner.post(f"{workspace.path}/archive"))
        assert datetime.fromisoformat(archived["archived_at"]).tzinfo is not None
        assert ok(await owner.post(f"{workspace.path}/archive")) == archived
        assert ok(await http.get(conversation.path))["state"] == "waiting"
        assert len(ok(await http.get(conversation.messages))["items"]) == 1
        assert ok(await owner.get(f"{workspace.path}/members"))["items"]
        refused = [
            await http.post(conversation.messages, json={"text": "hello"}),
            await http.post(workspace.conversations, json={}),
            await owner.patch(workspace.path, json={"name": "Other"}),
            await owner.patch(f"{workspace.path}/settings", json={"sections": {}}),
            await owner.post(f"{workspace.path}/members", json={"email": "a@example.org", "roles": ["member"]}),
            await owner.post(f"{workspace.path}/invitations", json={"email": "a@example.org", "roles": ["member"]}),
            await owner.delete(f"{workspace.path}/ownership"),
        ]
        for answer in refused:
            problem(answer, 409, "workspace_archived")
        socket = await make.socket(conversation.visitor)
        await socket.ok("subscribe", workspace=workspace.slug, topic=conversation.topic, after=0)
        sent = await socket.call(
            "chat.message.send",
            {"workspace": workspace.slug, "conversation_id": str(conversation.id), "text": "hello"},
        )
        assert sent["problem"]["code"] == "workspace_archived"
        assert ok(await owner.post(f"{workspace.path}/unarchive"))["archived_at"] is None
        ok(await http.post(conversation.messages, json={"text": "hello"}))

    async def test_whoever_may_not_archives_nothing(self, make: Factory, workspace: Workspace) -> None:
        member, administrator = await make.member(workspace, "member"), await make.member(workspace, "administrator")
        for what in ("archive", "unarchive"):
            problem(await member.http.post(f"{workspace.path}/{what}"), 403, "forbidden")
            problem(await (await make.person()).http.post(f"{workspace.path}/{what}"), 403, "forbidden")
        ok(await administrator.http.post(f"{workspace.path}/archive"))

    async def test_members_leave_an_archived_workspace(self, make: Factory, workspace: Workspace) -> None:
        member = await make.member(workspace, "member")
        ok(await workspace.owner.http.post(f"{workspace.path}/archive"))
        assert (await member.http.delete(f"{workspace.path}/members/me")).status_code == 204
        problem(await workspace.owner.http.delete(f"{workspace.path}/members/me"), 409, "last_owner")


class TestDeletion:
    async def test_a_deleted_workspace_is_closed_until_an_owner_restores_it(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        owner, administrator = workspace.owner, await make.member(workspace, "administrator")
        visitor = (await make.conversation(workspace)).visitor
        assert (await delete(workspace)).status_code == 204
        assert owner.email is not None
        mail = await mailbox.wait_for(owner.email, "workspaces.workspace_will_be_deleted")
        assert "Workspace" in mail.text
        for person in (owner, administrator):
            document = problem(await person.http.get(workspace.path), 410, "workspace_deleted")
            in_days = datetime.fromisoformat(document["deletes_at"]) - datetime.now().astimezone()
            assert timedelta(days=13, hours=23) < in_days < timedelta(days=14)
            problem(await person.http.get(f"{workspace.path}/members"), 410, "workspace_deleted")
            problem(await person.http.post(f"{workspace.path}/archive"), 410, "workspace_deleted")
            problem(await delete(workspace, person), 410, "workspace_deleted")
        for stranger in (visitor, await make.person()):
            problem(await stranger.http.get(workspace.conversations), 404, "not_found")
            problem(await stranger.http.post(workspace.conversations, json={}), 404, "not_found")
            problem(await stranger.http.post(f"{workspace.path}/restore"), 403, "forbidden")
        (listed,) = ok(await owner.http.get("/workspaces"))["items"]
        assert listed["deletes_at"] is not None
        problem(await administrator.http.post(f"{workspace.path}/restore"), 403, "forbidden")
        assert ok(await owner.http.post(f"{workspace.path}/restore"))["deletes_at"] is None
        assert ok(await administrator.http.get(workspace.path))["slug"] == workspace.slug
        problem(await owner.http.post(f"{workspace.path}/restore"), 404, "not_found")

    async def test_the_slug_has_to_be_typed(self, make: Factory, workspace: Workspace) -> None:
        other = await make.workspace(owner=workspace.owner)
        problem(await delete(workspace, confirm=other.slug), 400, "not_confirmed")
        problem(await delete(workspace, confirm=str(workspace.id)), 400, "not_confirmed")
        problem(await workspace.owner.http.delete(workspace.path), 400, "invalid_input")
        assert ok(await workspace.owner.http.get(workspace.path))["deletes_at"] is None

    async def test_only_an_owner_deletes(self, make: Factory, workspace: Workspace) -> None:
        for role in ("administrator", "member"):
            problem(await delete(workspace, await make.member(workspace, role)), 403, "forbidden")
        problem(await delete(workspace, await make.person()), 403, "forbidden")
        elsewhere = await make.workspace()
        problem(await delete(workspace, elsewhere.owner), 403, "forbidden")

    async def test_an_old_proof_is_not_enough(self, server_factory: ServerFactory, clock: MovableClock) -> None:
        make = Factory(await server_factory(clock=clock, security=LONG))
        workspace = await make.workspace()
        clock.move(minutes=16)
        problem(await delete(workspace), 403, "step_up_needed")
        ok(await workspace.owner.http.post("/sessions/current/proof", json={"by": "password", "password": PASSWORD}))
        assert (await delete(workspace)).status_code == 204

    async def test_the_sockets_of_members_are_cut(self, make: Factory, workspace: Workspace) -> None:
        member = await make.member(workspace)
        socket = await make.socket(member)
        await socket.ok("subscribe", workspace=workspace.slug, topic="chat.queue")
        assert (await delete(workspace)).status_code == 204
        async with asyncio.timeout(5):
            is_there = True
            while is_there:
                await asyncio.sleep(0.02)
                is_there = socket.client.connected
        connected = await make.socket(member)
        answer = await connected.call("subscribe", {"workspace": workspace.slug, "topic": "chat.queue"})
        assert answer["problem"]["code"] == "workspace_deleted"

    async def test_of_two_who_delete_at_once_both_are_told_the_same(self, workspace: Workspace) -> None:
        answers = await asyncio.gather(*(delete(workspace) for _ in range(3)))
        assert {answer.status_code for answer in answers} <= {204, 410}
        assert 204 in {answer.status_code for answer in answers}


def rows_of() -> dict[str, Prepared[int]]:
    return {
        table.name: Prepared(select(func.count()).select_from(table).where(table.c.workspace_id == WORKSPACE), int)
        for table in WorkspaceBase.metadata.sorted_tables
    }


async def count_rows(server: RunningServer, workspace_id: UUID) -> dict[str, int]:
    """Return how many rows a workspace has in each table of its side that has any."""
    unit = ReadUnit(server.runtime.placement, workspace_id)
    parts = [part for part in server.runtime.parts if not part.outlives_workspaces]
    declared = {model.__tablename__ for part in parts for model in part.models}
    statements = rows_of()
    counted = {name: await unit.one(statements[name]) for name in statements if name in declared}
    return {name: count for name, count in counted.items() if count}


async def audited_rows(server: RunningServer, workspace_id: UUID) -> set[tuple[str, str]]:
    """Return the rows of a workspace of which the audit log has to tell: table, and key within the workspace."""
    rows = set()
    for table in MainBase.metadata.sorted_tables:
        audited = table.info.get(AUDIT_MARK)
        if audited is None or (table.name != "workspace" and "workspace_id" not in table.c):
            continue
        whose = table.c.id if table.name == "workspace" else table.c.workspace_id
        key = [table.c[name] for name in audited.object_key]
        statement = Prepared(select(literal(table.name), *key).where(whose == workspace_id), tuple)
        found = await server.runtime.placement.main.fetch(statement, {})
        rows |= {(name, ",".join(map(str, row))) for name, *row in found}
    return rows


async def told_deleted(server: RunningServer) -> set[tuple[str, str]]:
    statement = Prepared(
        select(AuditEntryRow.object_type, AuditEntryRow.object_id).where(AuditEntryRow.action == "deleted"),
        tuple,
        across_workspaces=True,
    )
    return {(kind, key) for kind, key in await server.runtime.placement.main.fetch(statement, {})}


async def step(server: RunningServer, workspace_id: UUID, *, crash: bool = False) -> bool:
    """Take one step of the removal; `crash` before its commit."""
    context = Context(server.runtime, None, None, "test")
    try:
        is_more = await remove_some(context, workspace_id)
        if not crash:
            await context.commit()
    finally:
        await context.rollback()
    return is_more


class TestRemoval:
    @pytest.fixture
    async def server(self, server_factory: ServerFactory, clock: MovableClock) -> RunningServer:
        # It does nothing by itself.
        return await server_factory(
            clock=clock, security=LONG, workspaces={"removal_batch": 3}, tasks={"runner": "worker"}
        )

    @pytest.fixture
    def make(self, server: RunningServer) -> Factory:
        return Factory(server)

    async def filled(self, make: Factory) -> Workspace:
        workspace = await make.workspace()
        for _ in range(4):
            conversation = await make.conversation(workspace, message={"text": "hello"})
            ok(await conversation.visitor.http.post(conversation.messages, json={"text": "once more"}))
        for _ in range(3):
            await make.member(workspace, "member")
        http = workspace.owner.http
        ok(await http.post(f"{workspace.path}/services", json={"name": "Bot", "roles": ["member"]}))
        for word in ("a", "b"):
            new = {"email": f"{unique(word)}@example.org", "roles": ["member"]}
            ok(await http.post(f"{workspace.path}/invitations", json=new))
        ok(await http.post(f"{workspace.path}/invitation-links", json={"roles": ["member"]}))
        ok(
            await http.post(
                f"{workspace.path}/roles", json={"name": "custom.guide", "description": "Guides.", "permissions": []}
            )
        )
        heir = await make.member(workspace, "administrator")
        ok(await http.post(f"{workspace.path}/ownership", json={"account_id": str(heir.id)}))
        return workspace

    async def test_everything_goes_when_the_time_is_over(
        self, server: RunningServer, make: Factory, clock: MovableClock
    ) -> None:
        workspace, kept = await self.filled(make), await self.filled(make)
        before = await count_rows(server, kept.id)
        assert {"chat_conversation", "chat_message", "event", "event_topic", "mail"} <= before.keys()
        assert (await delete(workspace)).status_code == 204
        clock.move(days=13)
        await finish(server.runtime, clean_up)
        assert await count_rows(server, workspace.id) != {}
        clock.move(days=1, seconds=1)
        owner = await again(make, workspace.owner)
        problem(await owner.http.post(f"{workspace.path}/restore"), 404, "not_found")
        await finish(server.runtime, clean_up)
        assert await count_rows(server, workspace.id) == {}
        problem(await owner.http.get(workspace.path), 404, "not_found")
        assert ok(await owner.http.get("/workspaces"))["items"] == []
        assert ok(await owner.http.get("/me/invitations"))["items"] == []
        ok(await owner.http.post("/workspaces", json={"slug": workspace.slug, "name": "Next"}))
        after = await count_rows(server, kept.id)
        # Mail is delivered meanwhile, so only its number stays.
        assert after == before

    async def test_what_goes_with_it_is_told_of_row_by_row(self, server: RunningServer, make: Factory) -> None:
        workspace = await self.filled(make)
        there = await audited_rows(server, workspace.id)
        await self.end(server, workspace)
        await finish(server.runtime, clean_up)
        left = await audited_rows(server, workspace.id)
        # The account of a service stays, without a name, for what it wrote elsewhere.
        assert {kind for kind, _ in left} == {"account"}
        assert {kind for kind, _ in there - left} == {
            "custom_role", "invitation", "invitation_link", "membership", "ownership_offer", "role_grant",
            "workspace", "workspace_service",
        }  # fmt: skip
        assert there - left <= await told_deleted(server)

    async def test_a_removal_that_is_killed_goes_on_where_it_was(self, server: RunningServer, make: Factory) -> None:
        workspace = await self.filled(make)
        assert not await step(server, workspace.id)
        assert await count_rows(server, workspace.id) != {}
        await self.end(server, workspace)
        seen, steps = [], 0
        while await step(server, workspace.id):
            steps += 1
            assert steps < 200
            rows = sum((await count_rows(server, workspace.id)).values())
            await step(server, workspace.id, crash=True)
            assert sum((await count_rows(server, workspace.id)).values()) == rows
            seen.append(rows)
        assert seen == sorted(seen, reverse=True)
        assert max(first - second for first, second in pairwise(seen)) <= 3
        assert not await step(server, workspace.id)
        problem(await workspace.owner.http.get(workspace.path), 404, "not_found")

    async def test_two_processes_remove_together(
        self, server: RunningServer, make: Factory, server_factory: ServerFactory, clock: MovableClock
    ) -> None:
        workspace = await self.filled(make)
        other = await server_factory(clock=clock, workspaces={"removal_batch": 3}, tasks={"runner": "worker"})
        await self.end(server, workspace)
        await asyncio.gather(*(finish(each.runtime, clean_up) for each in (server, other, server)))
        assert await count_rows(server, workspace.id) == {}
        problem(await workspace.owner.http.get(workspace.path), 404, "not_found")

    async def test_the_server_looks_by_itself(
        self, server_factory: ServerFactory, clock: MovableClock, databases: Databases, database_kind: Kind
    ) -> None:
        # A schedule is of all servers on a database, and the clocks of others are elsewhere.
        database = await databases.new(database_kind)
        server = await server_factory(
            clock=clock, database=database, workspaces={"deletion_grace_days": 0}, tasks={"sweep_seconds": 0.02}
        )
        make = Factory(server)
        workspace = await make.workspace()
        assert (await delete(workspace)).status_code == 204
        clock.move(seconds=61)
        async with asyncio.timeout(10):
            answer = await workspace.owner.http.get(workspace.path)
            while answer.status_code != 404:
                await asyncio.sleep(0.05)
                answer = await workspace.owner.http.get(workspace.path)

    @staticmethod
    async def end(server: RunningServer, workspace: Workspace) -> None:
        from courtyard.kernel.workspaces.service.workspaces import close_workspace  # noqa: PLC0415

        context = Context(server.runtime, None, None, "test")
        try:
            await close_workspace(context, workspace.id, at_once=True)
            await context.commit()
        finally:
            await context.rollback()


class TestForgetting:
    """What becomes of workspaces when somebody deletes the account."""

    async def test_whoever_goes_leaves_every_workspace(self, make: Factory) -> None:
        first, second = await make.workspace(), await make.workspace()
        person = await make.member(first, "administrator")
        await make.join(second, person, "member")
        assert (await person.http.delete("/me")).status_code == 204
        for workspace in (first, second):
            members: list[dict[str, Any]] = ok(await workspace.owner.http.get(f"{workspace.path}/members"))["items"]
            assert [member["account_id"] for member in members] == [str(workspace.owner.id)]

    async def test_the_only_owner_of_others_cannot_go(self, make: Factory) -> None:
        workspace = await make.workspace()
        member = await make.member(workspace, "administrator")
        problem(await workspace.owner.http.delete("/me"), 409, "last_owner")
        assert ok(await workspace.owner.http.get("/me"))["email"] == workspace.owner.email
        assert (await member.http.delete(f"{workspace.path}/members/me")).status_code == 204
        assert (await workspace.owner.http.delete("/me")).status_code == 204

    async def test_the_last_member_takes_the_workspace_along(self, make: Factory) -> None:
        workspace = await make.workspace()
        ok(await workspace.owner.http.post(f"{workspace.path}/services", json={"name": "Bot", "roles": ["member"]}))
        assert (await workspace.owner.http.delete("/me")).status_code == 204
        problem(await (await make.person()).http.get(workspace.path), 404, "not_found")

    async def test_one_of_two_owners_can_go(self, make: Factory) -> None:
        workspace = await make.workspace()
        second = await make.member(workspace, "owner")
        assert (await workspace.owner.http.delete("/me")).status_code == 204
        assert len(ok(await second.http.get(f"{workspace.path}/members"))["items"]) == 1
        assert ok(await second.http.get(workspace.path))["deletes_at"] is None

    async def test_of_two_owners_who_go_at_once_one_stays(self, make: Factory) -> None:
        workspace = await make.workspace()
        second = await make.member(workspace, "owner")
        await make.member(workspace, "member")
        answers = await asyncio.gather(*(owner.http.delete("/me") for owner in (workspace.owner, second)))
        assert sorted(answer.status_code for answer in answers) == [204, 409]

    async def test_invitations_to_the_address_are_over(self, make: Factory) -> None:
        workspace, person = await make.workspace(), await make.person()
        path = f"{workspace.path}/invitations"
        made = ok(await workspace.owner.http.post(path, json={"email": person.email, "roles": ["member"]}))
        assert (await person.http.delete("/me")).status_code == 204
        assert ok(await workspace.owner.http.get(f"{path}/{made['id']}"))["state"] == "declined"
