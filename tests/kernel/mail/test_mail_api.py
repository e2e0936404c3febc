"""What people see of mail: what became of it, what they want of it, and how a workspace says it."""

import asyncio
from dataclasses import replace
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from courtyard.kernel.context import Access, Context
from courtyard.kernel.mail import Kind, Message, Template, send
from courtyard.kernel.mail import mail as mail_part
from courtyard.kernel.mail import mails as mail_mails
from tests.conftest import ServerFactory
from tests.factories import Factory, Person, Workspace, ok, problem, unique
from tests.mailbox import Mailbox
from tests.running import MovableClock, RunningServer

LONG = {"access_token_seconds": 86_400}
INVITATION = "mail/templates/workspaces.invitation"
WORDS = {
    "subject": "{{ inviter }} would like you to help",
    "text": "Hello,\n\n**{{ workspace }}** needs *you* as {{ role }}.\n\n{{ link }}\n",
}


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


def somebody() -> str:
    return f"{unique('invited')}@example.org"


async def invite(workspace: Workspace, email: str | None) -> None:
    new = {"email": email, "roles": ["member"]}
    ok(await workspace.owner.http.post(f"{workspace.path}/invitations", json=new))


async def messages(workspace: Workspace, **filters: str) -> list[dict[str, Any]]:
    found = await workspace.owner.http.get(f"{workspace.path}/mail/messages", params=filters)
    items: list[dict[str, Any]] = ok(found)["items"]
    return items


def token_of(message: EmailMessage) -> str:
    """Return what a mail program finds in the header that it unsubscribes with."""
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    address = str(message["List-Unsubscribe"]).replace(" ", "").strip("<>")
    assert urlsplit(address).path == "/api/v1/mail/unsubscribe"
    (token,) = parse_qs(urlsplit(address).query)["token"]
    return token


class TestWhatBecameOfIt:
    async def test_administrators_see_what_was_sent_to_whom(self, workspace: Workspace, mailbox: Mailbox) -> None:
        one, other = somebody(), somebody()
        for email in (one, other):
            await invite(workspace, email)
        await mailbox.wait_for(one, "workspaces.invitation")
        async with asyncio.timeout(5):
            while len(sent := await messages(workspace, state="sent")) < 2:  # noqa: ASYNC110 - the database
                await asyncio.sleep(0.02)
        assert [mail["recipient"] for mail in sent] == [other, one]
        (mail,) = await messages(workspace, recipient=one.upper())
        assert (mail["template"], mail["kind"], mail["attempts"]) == (
            "workspaces.invitation",
            "workspaces.invitations",
            1,
        )
        assert mail["answer"].endswith(".eml")
        path = f"{workspace.path}/mail/messages/{mail['id']}"
        assert ok(await workspace.owner.http.get(path)) == mail
        assert await messages(workspace, state="failed") == []
        assert await messages(workspace, template="workspaces.ownership_offered") == []

    async def test_pages(self, workspace: Workspace) -> None:
        for _ in range(5):
            await invite(workspace, somebody())
        seen: list[str] = []
        page: dict[str, Any] = {"next": None}
        while True:
            more = {} if page["next"] is None else {"cursor": page["next"]}
            http = workspace.owner.http
            page = ok(await http.get(f"{workspace.path}/mail/messages", params={"limit": "2", **more}))
            seen += [mail["recipient"] for mail in page["items"]]
            if page["next"] is None:
                break
        assert len(seen) == len({*seen}) == 5

    async def test_a_mail_of_another_workspace_is_not_there(self, make: Factory, workspace: Workspace) -> None:
        other = await make.workspace()
        await invite(other, somebody())
        (mail,) = await messages(other)
        assert await messages(workspace) == []
        problem(await workspace.owner.http.get(f"{workspace.path}/mail/messages/{mail['id']}"), 404, "not_found")


class TestWhatIsWanted:
    async def test_a_mail_program_unsubscribes_with_one_click(
        self, server_factory: ServerFactory, clock: MovableClock
    ) -> None:
        server = await server_factory(clock=clock, security=LONG)
        make, mailbox = Factory(server), Mailbox(server.settings.data_path)
        workspace, elsewhere, email = await make.workspace(), await make.workspace(), somebody()
        await invite(workspace, email)
        mail = await mailbox.wait_for(email, "workspaces.invitation")
        token = token_of(mail.message)
        assert mail.links[-1].endswith(f"#/unsubscribe/{token}")
        before = ok(await make.nobody.get("/mail/preference", params={"token": token}))
        assert (before["kind"], before["wanted"]) == ("workspaces.invitations", True)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for _ in range(2):
            answer = await make.nobody.post(
                "/mail/unsubscribe", params={"token": token}, content=b"List-Unsubscribe=One-Click", headers=form
            )
            assert answer.status_code == 204
        assert ok(await make.nobody.get("/mail/preference", params={"token": token}))["wanted"] is False
        clock.move(hours=23)
        await invite(workspace, email)
        (newest, _) = await messages(workspace, recipient=email)
        assert (newest["state"], newest["attempts"]) == ("suppressed", 0)
        assert "turned off" in newest["answer"]
        # Of another workspace nobody has said anything.
        await invite(elsewhere, email)
        assert (await mailbox.wait_for(email, "workspaces.invitation")).message is not mail.message
        ok(await make.nobody.patch("/mail/preference", params={"token": token}, json={"wanted": True}))
        assert ok(await make.nobody.get("/mail/preference", params={"token": token}))["wanted"] is True

    async def test_somebody_with_an_account_says_it_there(self, make: Factory, workspace: Workspace) -> None:
        person = await make.person()
        preferences = f"{workspace.path}/mail/preferences"
        (preference,) = ok(await person.http.get(preferences))
        assert preference == {
            "kind": "workspaces.invitations",
            "description": "Invitations to workspaces.",
            "wanted": True,
        }
        (changed,) = ok(await person.http.patch(preferences, json={"wanted": {"workspaces.invitations": False}}))
        assert changed["wanted"] is False
        await invite(workspace, person.email)
        assert [mail["state"] for mail in await messages(workspace, recipient=str(person.email))] == ["suppressed"]
        faulty = await person.http.patch(preferences, json={"wanted": {"workspaces.weather": False}})
        assert problem(faulty, 400, "unknown_mail_kind")["errors"][0]["pointer"] == "/wanted/workspaces.weather"

    @pytest.mark.parametrize("forged", ["A" * 80, "changed", "cut"])
    async def test_a_link_that_is_not_ours_does_nothing(
        self, make: Factory, workspace: Workspace, mailbox: Mailbox, forged: str
    ) -> None:
        email = somebody()
        await invite(workspace, email)
        token = token_of((await mailbox.wait_for(email, "workspaces.invitation")).message)
        changed = token[:50] + ("A" if token[50] != "A" else "B") + token[51:]
        shown = {"changed": changed, "cut": token[:-8]}.get(forged, forged)
        for answer in (
            await make.nobody.post("/mail/unsubscribe", params={"token": shown}),
            await make.nobody.get("/mail/preference", params={"token": shown}),
            await make.nobody.patch("/mail/preference", params={"token": shown}, json={"wanted": False}),
        ):
            problem(answer, 404, "invalid_stop_link")
        assert ok(await make.nobody.get("/mail/preference", params={"token": token}))["wanted"] is True

    async def test_many_at_once_end_as_the_last_one_says(self, make: Factory, workspace: Workspace) -> None:
        person = await make.person()
        path = f"{workspace.path}/mail/preferences"
        kinds = [{"wanted": {"workspaces.invitations": wanted}} for wanted in (True, False) * 5]
        answers = await asyncio.gather(*(person.http.patch(path, json=kind) for kind in kinds))
        assert {answer.status_code for answer in answers} == {200}
        ((preference,),) = (ok(await person.http.get(path)),)
        assert preference["wanted"] in {True, False}


class TestThrottle:
    async def test_one_person_gets_so_many_of_a_kind_in_an_hour(
        self, server_factory: ServerFactory, clock: MovableClock
    ) -> None:
        noisy = Template(name="mail.test", kind=Kind(name="mail.noise", description="Noise.", per_hour=2))
        server = await server_factory(clock=clock, security=LONG)
        others = [part for part in server.runtime.parts if part.name != "mail"]
        noisy_part = replace(mail_part, mails=(*mail_mails.MAILS, noisy))
        object.__setattr__(server.runtime, "parts", [*others, noisy_part])
        make = Factory(server)
        workspace = await make.workspace()
        for to in ("ada@example.org", "ADA@example.org", "ada@example.org", "bob@example.org"):
            await self.write(server, workspace, noisy, to)
        assert {mail["recipient"] for mail in await messages(workspace)} == {"ada@example.org", "bob@example.org"}
        (held,) = await messages(workspace, state="suppressed")
        assert held["recipient"] == "ada@example.org"
        assert "within an hour" in held["answer"]
        clock.move(minutes=61)
        await self.write(server, workspace, noisy, "ada@example.org")
        assert len(await messages(workspace, state="suppressed")) == 1

    @staticmethod
    async def write(server: RunningServer, workspace: Workspace, template: Template, to: str) -> None:
        access = Access(workspace.id, workspace.slug, frozenset(), frozenset())
        context = Context(server.runtime, None, access, "test")
        await send(context, Message(to=to, template=template, language="en"))
        await context.commit()


class TestOwnWords:
    async def test_a_workspace_says_it_in_words_of_its_own(self, workspace: Workspace, mailbox: Mailbox) -> None:
        http, path = workspace.owner.http, f"{workspace.path}/{INVITATION}/en"
        before = ok(await http.get(path))
        assert before["own"] is None
        assert "[workspace]" in before["preview"]["text"]
        shown = ok(await http.post(f"{path}/preview", json=WORDS))
        assert shown["subject"] == "[inviter] would like you to help"
        assert ok(await http.get(path)) == before
        said = ok(await http.put(path, json=WORDS))
        assert said["own"]["version"] == 1
        assert said["preview"] == shown
        listed = {each["name"]: each["own"] for each in ok(await http.get(f"{workspace.path}/mail/templates"))}
        assert listed["workspaces.invitation"] == ["en"]
        assert not any(name.startswith("accounts.") for name in listed)
        email = somebody()
        await invite(workspace, email)
        mail = await mailbox.wait_for(email, "workspaces.invitation")
        assert mail.subject == "Olga would like you to help"
        assert "**Workspace** needs *you* as member." in mail.text
        assert "needs <em" in mail.html
        assert mail.link in mail.html
        # What stands around it stays: why somebody gets this, and how to get no more.
        assert "because Olga gave this address" in mail.text
        assert mail.links[-1] != mail.link
        assert (await http.delete(path)).status_code == 204
        problem(await http.delete(path), 404, "not_found")
        assert ok(await http.get(path)) == before

    @pytest.mark.parametrize(
        ("words", "pointer"),
        [
            ({**WORDS, "text": "{{ password }}"}, "/text"),
            ({**WORDS, "subject": "{% for x in inviter %}x{% endfor %}"}, "/subject"),
            ({**WORDS, "text": "{{ inviter | datetime }}"}, "/text"),
            ({**WORDS, "text": ""}, "/text"),
            ({**WORDS, "subject": "two\nlines"}, "/subject"),
            ({**WORDS, "text": "x" * 10_001}, "/text"),
        ],
    )
    async def test_what_cannot_be_used_is_refused_before_it_is_kept(
        self, workspace: Workspace, words: dict[str, str], pointer: str
    ) -> None:
        http, path = workspace.owner.http, f"{workspace.path}/{INVITATION}/en"
        for answer in (await http.put(path, json=words), await http.post(f"{path}/preview", json=words)):
            assert problem(answer, 400, "invalid_input")["errors"][0]["pointer"] == pointer
        assert ok(await http.get(path))["own"] is None

    @pytest.mark.parametrize(
        "path", ["accounts.login/en", "workspaces.invitation/sv", "workspaces.nothing/en", "mail.test/en"]
    )
    async def test_mails_of_the_installation_are_not_the_workspaces(self, workspace: Workspace, path: str) -> None:
        http, place = workspace.owner.http, f"{workspace.path}/mail/templates/{path}"
        problem(await http.get(place), 404, "not_found")
        problem(await http.put(place, json=WORDS), 404, "not_found")

    async def test_of_two_who_change_the_same_words_one_is_told(self, make: Factory, workspace: Workspace) -> None:
        path = f"{workspace.path}/{INVITATION}/en"
        ok(await workspace.owner.http.put(path, json=WORDS))
        other = await make.member(workspace, "administrator")

        async def change(person: Person, word: str) -> int:
            words = {**WORDS, "subject": word}
            return (await person.http.put(path, json=words, headers={"If-Match": '"1"'})).status_code

        codes = await asyncio.gather(*(change(one, word) for one, word in ((workspace.owner, "a"), (other, "b"))))
        assert sorted(codes) == [200, 412]
        assert ok(await other.http.get(path))["own"]["version"] == 2


class TestOutbox:
    async def test_whoever_tries_a_server_out_reads_its_mails(self, make: Factory, workspace: Workspace) -> None:
        email = somebody()
        await invite(workspace, email)
        async with asyncio.timeout(5):
            while not (found := ok(await make.nobody.get("/mail/outbox", params={"recipient": email.upper()}))):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        (mail,) = found
        assert (mail["to"], mail["template"]) == (email, "workspaces.invitation")
        assert "/#/invitation/" in mail["text"]
        assert "<html" in mail["html"]
        assert len(ok(await make.nobody.get("/mail/outbox", params={"limit": "1"}))) == 1

    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
    async def test_nobody_else_does(self, make: Factory, header: str) -> None:
        answer = await make.nobody.get("/mail/outbox", headers={header: "198.51.100.7"})
        problem(answer, 404, "not_found")

    async def test_nobody_does_where_mail_is_sent(self, server_factory: ServerFactory) -> None:
        make = Factory(await server_factory(mail={"transport": "smtp"}))
        problem(await make.nobody.get("/mail/outbox"), 404, "not_found")


async def test_mails_of_a_thread_are_told_to_belong_together(server: RunningServer, mailbox: Mailbox) -> None:
    to = [somebody() for _ in range(3)]
    context = Context(server.runtime, None, None, "test")
    for address, thread in zip(to, ("a", "a", "b"), strict=True):
        await send(context, Message(to=address, template=mail_mails.TEST, language="en", thread=thread))
    await context.commit()
    roots = [(await mailbox.wait_for(address)).message["References"] for address in to]
    assert roots[0] == roots[1] != roots[2]
    assert all(root.startswith("<thread.") for root in roots)
