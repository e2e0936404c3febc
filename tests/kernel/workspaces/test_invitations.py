"""Invitations by mail: who is let in, by what, and with which roles."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from courtyard.kernel.workspaces.service.removal import clean_up
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, Workspace, ok, problem, unique
from tests.kernel.workspaces.inviting import NOT_OPEN, TEMPLATE, accept, invite, path, register, roles_in, token_of
from tests.mailbox import Mailbox
from tests.running import MovableClock, finish

# So that a test may write several mails to one address at once.
LONG = {"access_token_seconds": 86_400}


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


class TestInviting:
    async def test_an_invitation_is_mailed_and_accepted(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        person = await make.person()
        answer = await invite(workspace, person.email, "member", "chat.volunteer", message="Come and help")
        assert answer.status_code == 201
        made = answer.json()
        assert {key: made[key] for key in ("email", "roles", "state", "message", "inviter_id", "settled_at")} == {
            "email": person.email,
            "roles": ["chat.volunteer", "member"],
            "state": "pending",
            "message": "Come and help",
            "inviter_id": str(workspace.owner.id),
            "settled_at": None,
        }
        assert person.email is not None
        mail = await mailbox.wait_for(person.email, TEMPLATE)
        assert "Olga" in mail.subject
        assert "chat.volunteer, member" in " ".join(mail.text.replace("\u2060", "").split())
        assert "Come and help" in mail.text
        assert "Come and help" in mail.html
        assert "7 days" in mail.text
        token = mail.link.rpartition("/")[2]
        preview = ok(await make.nobody.post("/invitations/preview", json={"token": token}))
        assert preview == {
            "workspace": "Workspace",
            "inviter": "Olga",
            "roles": ["chat.volunteer", "member"],
            "message": "Come and help",
            "expires_at": made["expires_at"],
        }
        joined = ok(await accept(person, token))
        assert joined["id"] == str(workspace.id)
        assert await roles_in(workspace, person) == ["chat.volunteer", "member"]
        settled = ok(await workspace.owner.http.get(f"{path(workspace)}/{made['id']}"))
        assert settled["state"] == "accepted"
        assert settled["settled_at"] is not None
        problem(await accept(person, token), *NOT_OPEN)

    async def test_whether_there_is_an_account_is_not_said(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        person, stranger = await make.person(), f"{unique('new')}@example.org"
        answers = [ok(await invite(workspace, email)) for email in (person.email, stranger)]
        varying = {"id", "email", "created_at", "mailed_at", "expires_at"}
        assert len({str({key: each[key] for key in sorted(each.keys() - varying)}) for each in answers}) == 1
        tokens = [await token_of(mailbox, email) for email in (person.email, stranger)]
        previews = [ok(await make.nobody.post("/invitations/preview", json={"token": token})) for token in tokens]
        assert {key: value for key, value in previews[0].items() if key != "expires_at"} == {
            key: value for key, value in previews[1].items() if key != "expires_at"
        }

    async def test_addresses_are_compared_in_lower_case(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        person = await make.person()
        assert person.email is not None
        assert ok(await invite(workspace, f"{person.email.upper()}"))["email"] == person.email
        ok(await accept(person, await token_of(mailbox, person.email)))

    @pytest.mark.parametrize(
        "change",
        [
            {"email": "nothing"},
            {"roles": []},
            {"roles": ["member"] * 21},
            {"expires_in_days": 0},
            {"expires_in_days": 31},
            {"message": ""},
            {"message": "x" * 101},
            {"message": "a\nb"},
            {"state": "accepted"},
            {"inviter_id": "01932c07-209f-7e2c-9c8b-4f3d1a4f6a10"},
            {"token": "x" * 43},
        ],
    )
    async def test_bad_input_is_refused(self, workspace: Workspace, change: dict[str, Any]) -> None:
        new = {"email": "a@example.org", "roles": ["member"], **change}
        problem(await workspace.owner.http.post(path(workspace), json=new), 400, "invalid_input")

    async def test_roles_that_cannot_be_given_are_refused(self, make: Factory, workspace: Workspace) -> None:
        administrator = await make.member(workspace, "administrator")
        problem(await invite(workspace, "a@example.org", "nonsense"), 400, "unknown_role")
        problem(await invite(workspace, "a@example.org", "everybody"), 400, "unknown_role")
        problem(await invite(workspace, "a@example.org", "owner", by=administrator), 403, "above_own_rights")
        assert (await invite(workspace, f"{unique('a')}@example.org", "administrator", by=administrator)).is_success

    async def test_a_scope_has_two_halves_and_is_there(self, workspace: Workspace) -> None:
        new = {"email": "a@example.org", "roles": ["member"]}
        thing = "01932c07-209f-7e2c-9c8b-4f3d1a4f6a10"
        for scope in ({"scope_id": thing}, {"scope_type": "chat.nothing"}, {"scope_type": "x.y", "scope_id": thing}):
            answer = await workspace.owner.http.post(path(workspace), json={**new, **scope})
            problem(answer, 400, "unknown_scope")

    async def test_a_member_is_not_invited(self, make: Factory, workspace: Workspace) -> None:
        member = await make.member(workspace)
        problem(await invite(workspace, member.email), 409, "already_member")
        problem(await invite(workspace, workspace.owner.email), 409, "already_member")

    async def test_who_may_not_edit_members_invites_nobody(self, make: Factory, workspace: Workspace) -> None:
        made = ok(await invite(workspace, f"{unique('a')}@example.org"))
        for person in (await make.member(workspace, "chat.supervisor"), await make.person()):
            problem(await invite(workspace, "a@example.org", by=person), 403, "forbidden")
            problem(await person.http.get(path(workspace)), 403, "forbidden")
            problem(await person.http.get(f"{path(workspace)}/{made['id']}"), 403, "forbidden")
            problem(await person.http.post(f"{path(workspace)}/{made['id']}/resend"), 403, "forbidden")
            problem(await person.http.delete(f"{path(workspace)}/{made['id']}"), 403, "forbidden")

    async def test_only_addresses_of_allowed_domains_are_invited(self, workspace: Workspace) -> None:
        change = {"sections": {"workspaces": {"invitation_domains": ["example.org", "help.example"]}}}
        ok(await workspace.owner.http.patch(f"{workspace.path}/settings", json=change))
        for email in ("a@evil.example", "a@sub.example.org", "a@example.org.evil.example", "a@notexample.org"):
            document = problem(await invite(workspace, email), 400, "email_not_allowed")
            assert [fault["pointer"] for fault in document["errors"]] == ["/email"]
        ok(await invite(workspace, f"{unique('a')}@HELP.example"))

    async def test_a_workspace_has_so_many_open_invitations(self, server_factory: ServerFactory) -> None:
        make = Factory(await server_factory(workspaces={"open_invitations": 2}))
        workspace = await make.workspace()
        made = [ok(await invite(workspace, f"{unique('a')}@example.org")) for _ in range(2)]
        problem(await invite(workspace, f"{unique('a')}@example.org"), 409, "too_many_invitations")
        assert (await workspace.owner.http.delete(f"{path(workspace)}/{made[0]['id']}")).status_code == 204
        ok(await invite(workspace, f"{unique('a')}@example.org"))


class TestOnceMore:
    async def test_a_second_invitation_changes_the_first(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        person = await make.person()
        first = ok(await invite(workspace, person.email, "member"))
        second = ok(await invite(workspace, person.email, "chat.volunteer", expires_in_days=30))
        assert second["id"] == first["id"]
        assert second["roles"] == ["chat.volunteer"]
        # The last mail is too fresh for another one, and its link is good.
        assert second["mailed_at"] == first["mailed_at"]
        ok(await accept(person, await token_of(mailbox, person.email)))
        assert await roles_in(workspace, person) == ["chat.volunteer"]

    async def test_of_many_invitations_at_once_one_is_open(self, workspace: Workspace, mailbox: Mailbox) -> None:
        email = f"{unique('a')}@example.org"
        answers = await asyncio.gather(*(invite(workspace, email) for _ in range(4)))
        assert len({ok(answer)["id"] for answer in answers}) == 1
        listed = ok(await workspace.owner.http.get(path(workspace)))["items"]
        assert [each["email"] for each in listed] == [email]
        await token_of(mailbox, email)
        assert mailbox.waiting(email) == []

    async def test_a_new_mail_makes_the_old_link_worthless(
        self, server_factory: ServerFactory, clock: MovableClock
    ) -> None:
        server = await server_factory(clock=clock, security=LONG)
        make, mailbox = Factory(server), Mailbox(server.settings.data_path)
        workspace, person = await make.workspace(), await make.person()
        made = ok(await invite(workspace, person.email))
        resend = f"{path(workspace)}/{made['id']}/resend"
        old = await token_of(mailbox, person.email)
        document = problem(await workspace.owner.http.post(resend), 429, "invitations_slowed")
        assert document
        clock.move(seconds=61)
        again = ok(await workspace.owner.http.post(resend))
        assert again["mailed_at"] > made["mailed_at"]
        assert again["expires_at"] == made["expires_at"]
        new = await token_of(mailbox, person.email)
        problem(await accept(person, old), *NOT_OPEN)
        ok(await accept(person, new))
        problem(await workspace.owner.http.post(resend), 409, "invitation_settled")

    async def test_nobody_is_flooded(self, server_factory: ServerFactory, clock: MovableClock) -> None:
        make = Factory(await server_factory(clock=clock, security=LONG, workspaces={"invitation_mails_per_day": 3}))
        workspace, email = await make.workspace(), f"{unique('a')}@example.org"
        http = workspace.owner.http
        for _ in range(3):
            made = ok(await invite(workspace, email))
            # To withdraw and to invite again starts no new count.
            assert (await http.delete(f"{path(workspace)}/{made['id']}")).status_code == 204
            too_fresh = await invite(workspace, email)
            problem(too_fresh, 429, "invitations_slowed")
            assert 0 < int(too_fresh.headers["retry-after"]) <= 86_400
            clock.move(seconds=61)
        enough = await invite(workspace, email)
        problem(enough, 429, "invitations_slowed")
        assert 80_000 < int(enough.headers["retry-after"]) <= 86_400
        clock.move(hours=23)
        problem(await invite(workspace, email), 429, "invitations_slowed")
        clock.move(hours=1)
        login = {"email": workspace.owner.email, "password": PASSWORD}
        workspace.owner = make.signed_in(ok(await make.nobody.post("/sessions", json=login)))
        ok(await invite(workspace, email))

    async def test_resending_asks_for_the_rights_to_give(self, make: Factory, workspace: Workspace) -> None:
        administrator = await make.member(workspace, "administrator")
        made = ok(await invite(workspace, f"{unique('a')}@example.org", "owner"))
        answer = await administrator.http.post(f"{path(workspace)}/{made['id']}/resend")
        problem(answer, 403, "above_own_rights")


class TestLists:
    async def test_invitations_come_in_pages_and_by_state(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        http, person = workspace.owner.http, await make.person()
        made = [ok(await invite(workspace, f"{unique('a')}@example.org"))["id"] for _ in range(3)]
        made.append(ok(await invite(workspace, person.email))["id"])
        found: list[str] = []
        cursor = ""
        while True:
            answer = ok(await http.get(f"{path(workspace)}?limit=2{cursor}"))
            found += [item["id"] for item in answer["items"]]
            if answer["next"] is None:
                break
            cursor = f"&cursor={answer['next']}"
        assert found == made[::-1]
        ok(await accept(person, await token_of(mailbox, person.email)))
        assert (await http.delete(f"{path(workspace)}/{made[0]}")).status_code == 204
        states = {"pending": made[2:0:-1], "accepted": [made[3]], "withdrawn": [made[0]], "declined": [], "expired": []}
        for state, ids in states.items():
            listed = ok(await http.get(f"{path(workspace)}?state={state}"))["items"]
            assert [item["id"] for item in listed] == ids, state
            assert {item["state"] for item in listed} <= {state}
        problem(await http.get(f"{path(workspace)}?state=nothing"), 400, "invalid_input")

    async def test_invitations_of_another_workspace_are_not_there(self, make: Factory, workspace: Workspace) -> None:
        elsewhere = await make.workspace()
        made = ok(await invite(elsewhere, f"{unique('a')}@example.org"))
        own = workspace.owner.http
        problem(await own.get(f"{path(workspace)}/{made['id']}"), 404, "not_found")
        problem(await own.post(f"{path(workspace)}/{made['id']}/resend"), 404, "not_found")
        problem(await own.delete(f"{path(workspace)}/{made['id']}"), 404, "not_found")
        assert ok(await own.get(path(workspace)))["items"] == []
        assert ok(await elsewhere.owner.http.get(f"{path(elsewhere)}/{made['id']}"))["state"] == "pending"

    async def test_tokens_are_told_nowhere_but_in_the_mail(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        person = await make.person()
        with capture_logs() as logs:
            made = await invite(workspace, person.email)
            token = await token_of(mailbox, person.email)
            answers = [
                made,
                await workspace.owner.http.get(path(workspace)),
                await workspace.owner.http.get(f"{path(workspace)}/{made.json()['id']}"),
                await person.http.get("/me/invitations"),
                await make.nobody.post("/invitations/preview", json={"token": token}),
                await accept(person, token),
                await accept(person, token),
            ]
        assert not [answer for answer in answers if token in answer.text]
        assert token not in str(logs)


class TestWithdrawing:
    async def test_a_withdrawn_invitation_lets_nobody_in(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        person = await make.person()
        made = ok(await invite(workspace, person.email))
        token = await token_of(mailbox, person.email)
        assert (await workspace.owner.http.delete(f"{path(workspace)}/{made['id']}")).status_code == 204
        problem(await accept(person, token), *NOT_OPEN)
        problem(await make.nobody.post("/invitations/preview", json={"token": token}), *NOT_OPEN)
        problem(await make.nobody.post("/invitations/decline", json={"token": token}), *NOT_OPEN)
        problem(await register(make.nobody, token), *NOT_OPEN)
        assert ok(await person.http.get("/me/invitations"))["items"] == []
        problem(await person.http.post(f"/me/invitations/{made['id']}/accept"), 404, "not_found")
        problem(await workspace.owner.http.delete(f"{path(workspace)}/{made['id']}"), 409, "invitation_settled")
        assert await roles_in(workspace, person) == []

    @pytest.mark.parametrize("turn", range(3))
    async def test_of_withdrawing_and_accepting_at_once_one_counts(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox, turn: int
    ) -> None:
        del turn
        person = await make.person()
        made = ok(await invite(workspace, person.email))
        token = await token_of(mailbox, person.email)
        withdrawn, accepted = await asyncio.gather(
            workspace.owner.http.delete(f"{path(workspace)}/{made['id']}"), accept(person, token)
        )
        state = ok(await workspace.owner.http.get(f"{path(workspace)}/{made['id']}"))["state"]
        assert (withdrawn.status_code, accepted.status_code, state, await roles_in(workspace, person)) in [
            (204, 400, "withdrawn", []),
            (409, 200, "accepted", ["member"]),
        ]


class TestAccepting:
    async def test_only_the_address_that_was_invited_is_let_in(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        person, other, visitor = await make.person(), await make.person(), await make.visitor()
        made = ok(await invite(workspace, person.email))
        token = await token_of(mailbox, person.email)
        for wrong in (other, visitor):
            document = problem(await accept(wrong, token), 403, "invitation_for_another_address")
            assert str(person.email) not in str(document)
            problem(await wrong.http.post(f"/me/invitations/{made['id']}/accept"), 404, "not_found")
            problem(await wrong.http.post(f"/me/invitations/{made['id']}/decline"), 404, "not_found")
            assert ok(await wrong.http.get("/me/invitations"))["items"] == []
        problem(await make.nobody.post("/invitations/accept", json={"token": token}), 401, "unauthenticated")
        ok(await accept(person, token))

    async def test_one_accepts_without_the_mail(self, make: Factory, workspace: Workspace) -> None:
        person, elsewhere = await make.person(), await make.workspace()
        ids = [ok(await invite(each, person.email))["id"] for each in (workspace, elsewhere)]
        listed = ok(await person.http.get("/me/invitations?limit=1"))
        assert [each["id"] for each in listed["items"]] == ids[:1]
        assert (listed["items"][0]["workspace"], listed["items"][0]["inviter"]) == ("Workspace", "Olga")
        rest = ok(await person.http.get(f"/me/invitations?cursor={listed['next']}"))
        assert [each["id"] for each in rest["items"]] == ids[1:]
        assert ok(await person.http.post(f"/me/invitations/{ids[0]}/accept"))["id"] == str(workspace.id)
        assert (await person.http.post(f"/me/invitations/{ids[1]}/decline")).status_code == 204
        assert ok(await person.http.get("/me/invitations"))["items"] == []
        problem(await person.http.post(f"/me/invitations/{ids[0]}/accept"), 404, "not_found")
        assert await roles_in(workspace, person) == ["member"]
        assert await roles_in(elsewhere, person) == []

    async def test_an_invitation_is_declined_by_whoever_has_the_mail(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        email = f"{unique('a')}@example.org"
        made = ok(await invite(workspace, email))
        token = await token_of(mailbox, email)
        assert (await make.nobody.post("/invitations/decline", json={"token": token})).status_code == 204
        assert ok(await workspace.owner.http.get(f"{path(workspace)}/{made['id']}"))["state"] == "declined"
        problem(await make.nobody.post("/invitations/decline", json={"token": token}), *NOT_OPEN)

    async def test_of_many_who_accept_at_once_one_does(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        person = await make.person()
        made = ok(await invite(workspace, person.email))
        token = await token_of(mailbox, person.email)
        answers = await asyncio.gather(
            accept(person, token),
            accept(person, token),
            person.http.post(f"/me/invitations/{made['id']}/accept"),
            person.http.post(f"/me/invitations/{made['id']}/accept"),
        )
        assert sorted(answer.is_success for answer in answers) == [False, False, False, True]
        assert await roles_in(workspace, person) == ["member"]

    async def test_a_member_meanwhile_is_given_the_roles_too(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        person = await make.person()
        ok(await invite(workspace, person.email, "chat.volunteer"))
        await make.join(workspace, person, "member")
        ok(await accept(person, await token_of(mailbox, person.email)))
        assert await roles_in(workspace, person) == ["chat.volunteer", "member"]

    @pytest.mark.parametrize("how", ["archived", "deleted"])
    async def test_a_closed_workspace_lets_nobody_in(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox, how: str
    ) -> None:
        person, owner = await make.person(), workspace.owner.http
        made = ok(await invite(workspace, person.email))
        token = await token_of(mailbox, person.email)
        if how == "archived":
            ok(await owner.post(f"{workspace.path}/archive"))
        else:
            assert (await owner.delete(workspace.path, params={"confirm": workspace.slug})).status_code == 204
        problem(await accept(person, token), *NOT_OPEN)
        problem(await make.nobody.post("/invitations/preview", json={"token": token}), *NOT_OPEN)
        problem(await person.http.post(f"/me/invitations/{made['id']}/accept"), 404, "not_found")
        ok(await owner.post(f"{workspace.path}/{'unarchive' if how == 'archived' else 'restore'}"))
        ok(await accept(person, token))

    async def test_an_expired_invitation_lets_nobody_in(
        self, server_factory: ServerFactory, clock: MovableClock
    ) -> None:
        server = await server_factory(clock=clock, security=LONG)
        make, mailbox = Factory(server), Mailbox(server.settings.data_path)
        workspace, email = await make.workspace(), f"{unique('a')}@example.org"
        made = ok(await invite(workspace, email, expires_in_days=1))
        token = await token_of(mailbox, email)
        clock.move(hours=23, minutes=59)
        ok(await make.nobody.post("/invitations/preview", json={"token": token}))
        clock.move(minutes=2)
        person = await make.person(email=email)
        problem(await accept(person, token), *NOT_OPEN)
        problem(await person.http.post(f"/me/invitations/{made['id']}/accept"), 404, "not_found")
        problem(await make.nobody.post("/invitations/decline", json={"token": token}), *NOT_OPEN)
        owner = make.signed_in(
            ok(await make.nobody.post("/sessions", json={"email": workspace.owner.email, "password": PASSWORD}))
        )
        for cleaned in (False, True):
            assert ok(await owner.http.get(f"{path(workspace)}/{made['id']}"))["state"] == "expired"
            assert [each["id"] for each in ok(await owner.http.get(f"{path(workspace)}?state=expired"))["items"]] == [
                made["id"]
            ]
            assert ok(await owner.http.get(f"{path(workspace)}?state=pending"))["items"] == []
            problem(await owner.http.post(f"{path(workspace)}/{made['id']}/resend"), 409, "invitation_settled")
            problem(await owner.http.delete(f"{path(workspace)}/{made['id']}"), 409, "invitation_settled")
            if not cleaned:
                await finish(server.runtime, clean_up)
        fresh = ok(await invite(workspace, email, by=owner))
        assert fresh["id"] != made["id"]
        ok(await accept(person, await token_of(mailbox, email)))
        clock.move(days=91)
        await finish(server.runtime, clean_up)
        owner = make.signed_in(
            ok(await make.nobody.post("/sessions", json={"email": workspace.owner.email, "password": PASSWORD}))
        )
        # Who was invited is forgotten in the end.
        assert ok(await owner.http.get(path(workspace)))["items"] == []

    async def test_a_full_workspace_lets_nobody_in(self, server_factory: ServerFactory) -> None:
        server = await server_factory(limits={"quotas": {"workspaces.members": 2}})
        make, mailbox = Factory(server), Mailbox(server.settings.data_path)
        workspace, person = await make.workspace(), await make.person()
        other = await make.member(workspace, "member")
        made = ok(await invite(workspace, person.email))
        token = await token_of(mailbox, person.email)
        problem(await accept(person, token), 409, "quota_exceeded")
        link = ok(await workspace.owner.http.post(f"{workspace.path}/invitation-links", json={"roles": ["member"]}))
        answer = await person.http.post("/invitation-links/join", json={"token": link["token"]})
        problem(answer, 409, "quota_exceeded")
        # Nothing was used up by that.
        assert ok(await workspace.owner.http.get(f"{path(workspace)}/{made['id']}"))["state"] == "pending"
        (listed,) = ok(await workspace.owner.http.get(f"{workspace.path}/invitation-links"))["items"]
        assert listed["uses"] == 0
        assert (await other.http.delete("/me")).status_code == 204
        ok(await accept(person, token))

    @pytest.mark.parametrize("token", ["x" * 43, "A" * 20])
    async def test_a_made_up_token_is_worth_nothing(self, make: Factory, token: str) -> None:
        person = await make.person()
        problem(await accept(person, token), *NOT_OPEN)
        problem(await register(make.nobody, token), *NOT_OPEN)
        for what in ("preview", "decline"):
            problem(await make.nobody.post(f"/invitations/{what}", json={"token": token}), *NOT_OPEN)


class TestRegistering:
    async def test_a_new_account_joins_at_once(self, make: Factory, workspace: Workspace, mailbox: Mailbox) -> None:
        email = f"{unique('new')}@example.org"
        ok(await invite(workspace, email, "chat.volunteer"))
        token = await token_of(mailbox, email)
        made = ok(await register(make.nobody, token, name="Grace", language="fi"))
        assert (made["account"]["email"], made["account"]["name"], made["account"]["language"]) == (
            email,
            "Grace",
            "fi",
        )
        assert made["workspace"]["id"] == str(workspace.id)
        person = make.signed_in(ok(await make.nobody.post("/sessions", json={"email": email, "password": PASSWORD})))
        assert await roles_in(workspace, person) == ["chat.volunteer"]
        problem(await register(make.nobody, token), *NOT_OPEN)

    async def test_whoever_has_an_account_logs_in(self, make: Factory, workspace: Workspace, mailbox: Mailbox) -> None:
        person = await make.person()
        ok(await invite(workspace, person.email))
        token = await token_of(mailbox, person.email)
        problem(await register(make.nobody, token), 401, "unauthenticated")
        problem(await make.nobody.post("/invitations/accept", json={"token": token}), 401, "unauthenticated")
        ok(await accept(person, token))

    async def test_a_weak_password_keeps_the_invitation_open(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        email = f"{unique('new')}@example.org"
        ok(await invite(workspace, email))
        token = await token_of(mailbox, email)
        problem(await register(make.nobody, token, password="password12"), 400, "weak_password")
        problem(await register(make.nobody, token, email="other@example.org"), 400, "invalid_input")
        ok(await register(make.nobody, token))

    async def test_of_many_who_register_at_once_one_does(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox
    ) -> None:
        email = f"{unique('new')}@example.org"
        ok(await invite(workspace, email))
        token = await token_of(mailbox, email)
        answers = await asyncio.gather(*(register(make.nobody, token) for _ in range(3)))
        assert sorted(answer.is_success for answer in answers) == [False, False, True]
        assert {answer.status_code for answer in answers} <= {201, 400, 401}

    async def test_an_invitation_opens_a_closed_house(self, make: Factory, server_factory: ServerFactory) -> None:
        server = await server_factory(accounts={"registration": "closed"})
        make, mailbox = Factory(server), Mailbox(server.settings.data_path)
        workspace, email = await make.workspace(), f"{unique('new')}@example.org"
        ok(await invite(workspace, email))
        ok(await register(make.nobody, await token_of(mailbox, email)))
