"""Invitations and links in any order, against a model of who may come in."""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from courtyard.kernel.workspaces.service.removal import clean_up
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, Person, Workspace, ok, problem, unique
from tests.mailbox import Mailbox
from tests.running import MovableClock, finish

T = TypeVar("T")
ROLES = st.sampled_from([["member"], ["chat.volunteer"], ["chat.volunteer", "member"]])
PEOPLE = st.integers(0, 2)
# Somebody without an account, until an invitation gives them one.
NEWCOMER = 3


@dataclass
class Invited:
    """What is known of an invitation."""

    id: str
    who: int
    roles: list[str]
    token: str
    stale: list[str] = field(default_factory=list)
    state: str = "pending"


@dataclass
class Linked:
    """What is known of a link."""

    id: str
    token: str
    roles: list[str]
    max_uses: int
    uses: int = 0
    is_open: bool = True

    @property
    def lets_in(self) -> bool:
        """Whether somebody can join by it."""
        return self.is_open and self.uses < self.max_uses


class World:
    """The server, and everybody in it.

    Args:
        make: of the server.
        mailbox: of the server.
        clock: of the server.
        loop: in which the server runs; the machine runs in a thread beside it.
    """

    def __init__(self, make: Factory, mailbox: Mailbox, clock: MovableClock, loop: asyncio.AbstractEventLoop) -> None:
        self.make = make
        self.mailbox = mailbox
        self.clock = clock
        self._loop = loop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the loop of the server, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


class Machine(RuleBasedStateMachine):
    """Does anything, and compares the server with the model after each step."""

    world: ClassVar[World]
    invitations = Bundle("invitations")
    links = Bundle("links")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Invited] = []
        self.all_links: list[Linked] = []
        self.members: dict[int, set[str]] = {}
        self.emails = [f"{unique('model')}@example.org" for _ in range(4)]
        self.world.run(self.begin())

    async def begin(self) -> None:
        self.workspace: Workspace = await self.world.make.workspace()
        self.owner = self.workspace.owner.http
        people = [await self.world.make.person(email=email) for email in self.emails[:3]]
        self.people: dict[int, Person] = dict(enumerate(people))

    async def log_in_again(self) -> None:
        async def again(email: str | None) -> Person:
            credentials = {"email": email, "password": PASSWORD}
            return self.world.make.signed_in(ok(await self.world.make.nobody.post("/sessions", json=credentials)))

        self.owner = (await again(self.workspace.owner.email)).http
        self.people = {who: await again(person.email) for who, person in self.people.items()}

    async def token(self, who: int) -> str:
        mail = await self.world.mailbox.wait_for(self.emails[who], "workspaces.invitation")
        return mail.link.rpartition("/")[2]

    def post(self, http: httpx2.AsyncClient, path: str, **body: Any) -> httpx2.Response:
        return self.world.run(http.post(path, json=body))

    def accepted(self, invited: Invited) -> None:
        invited.state = "accepted"
        self.members.setdefault(invited.who, set()).update(invited.roles)

    # ------------------------------------------------------------------------------------ invitations

    @rule(target=invitations, who=st.integers(0, 3), roles=ROLES)
    def invite(self, who: int, roles: list[str]) -> Any:  # noqa: ANN401 - what Hypothesis makes of it
        self.world.clock.move(minutes=2)
        path, new = f"{self.workspace.path}/invitations", {"email": self.emails[who], "roles": roles}
        answer = self.post(self.owner, path, **new, expires_in_days=1)
        if who in self.members:
            problem(answer, 409, "already_member")
            return multiple()
        made, token = ok(answer), self.world.run(self.token(who))
        assert made["roles"] == roles
        known = [each for each in self.all if each.who == who and each.state == "pending"]
        assert [each.id for each in known] == [made["id"]] or not known
        if known:
            known[0].stale.append(known[0].token)
            known[0].token, known[0].roles = token, roles
            return multiple()
        self.all.append(Invited(made["id"], who, roles, token))
        return self.all[-1]

    @rule(invited=invitations)
    def resend(self, invited: Invited) -> None:
        self.world.clock.move(minutes=2)
        answer = self.post(self.owner, f"{self.workspace.path}/invitations/{invited.id}/resend")
        if invited.state != "pending":
            problem(answer, 409, "invitation_settled")
            return
        ok(answer)
        invited.stale.append(invited.token)
        invited.token = self.world.run(self.token(invited.who))

    @rule(invited=invitations)
    def withdraw(self, invited: Invited) -> None:
        answer = self.world.run(self.owner.delete(f"{self.workspace.path}/invitations/{invited.id}"))
        if invited.state != "pending":
            problem(answer, 409, "invitation_settled")
            return
        ok(answer)
        invited.state = "withdrawn"

    @rule(invited=invitations)
    def decline(self, invited: Invited) -> None:
        answer = self.post(self.world.make.nobody, "/invitations/decline", token=invited.token)
        if invited.state != "pending":
            problem(answer, 400, "invalid_invitation")
            return
        ok(answer)
        invited.state = "declined"

    @rule(invited=invitations, who=PEOPLE)
    def accept(self, invited: Invited, who: int) -> None:
        answer = self.post(self.people[who].http, "/invitations/accept", token=invited.token)
        if invited.state != "pending":
            problem(answer, 400, "invalid_invitation")
        elif who != invited.who:
            problem(answer, 403, "invitation_for_another_address")
        else:
            ok(answer)
            self.accepted(invited)

    @rule(invited=invitations, who=PEOPLE)
    def accept_without_the_mail(self, invited: Invited, who: int) -> None:
        answer = self.post(self.people[who].http, f"/me/invitations/{invited.id}/accept")
        if invited.state != "pending" or who != invited.who:
            problem(answer, 404, "not_found")
        else:
            ok(answer)
            self.accepted(invited)

    @rule(invited=invitations)
    def accept_with_an_old_mail(self, invited: Invited) -> None:
        for token in invited.stale:
            person = self.people.get(invited.who, self.people[0])
            problem(self.post(person.http, "/invitations/accept", token=token), 400, "invalid_invitation")
            problem(self.post(self.world.make.nobody, "/invitations/preview", token=token), 400, "invalid_invitation")

    @rule(invited=invitations)
    def register(self, invited: Invited) -> None:
        new = {"token": invited.token, "name": "New", "password": PASSWORD}
        answer = self.post(self.world.make.nobody, "/invitations/register", **new)
        if invited.state != "pending":
            problem(answer, 400, "invalid_invitation")
        elif invited.who in self.people:
            problem(answer, 401, "unauthenticated")
        else:
            account = ok(answer)["account"]
            login = {"email": account["email"], "password": PASSWORD}
            self.people[NEWCOMER] = self.world.make.signed_in(
                ok(self.post(self.world.make.nobody, "/sessions", **login))
            )
            self.accepted(invited)

    @rule(invited=invitations, seed=st.integers(0, 5))
    def everything_at_once(self, invited: Invited, seed: int) -> None:
        """Two accept, one withdraws, one declines: one of them counts."""
        if invited.who not in self.people:
            return
        person, token = self.people[invited.who].http, {"token": invited.token}
        withdrawal = f"{self.workspace.path}/invitations/{invited.id}"

        async def together() -> dict[str, bool]:
            calls = {
                "accepted": lambda: person.post("/invitations/accept", json=token),
                "accepted without the mail": lambda: person.post(f"/me/invitations/{invited.id}/accept"),
                "declined": lambda: self.world.make.nobody.post("/invitations/decline", json=token),
                "withdrawn": lambda: self.owner.delete(withdrawal),
            }
            names = list(calls)
            random.Random(seed).shuffle(names)
            answers = await asyncio.gather(*(calls[name]() for name in names))
            return dict(zip(names, (answer.is_success for answer in answers), strict=True))

        done = [name for name, success in self.world.run(together()).items() if success]
        assert len(done) == (invited.state == "pending")
        if done and done[0].startswith("accepted"):
            self.accepted(invited)
        elif done:
            invited.state = done[0]

    # ------------------------------------------------------------------------------------------ links

    @rule(target=links, roles=ROLES, max_uses=st.integers(1, 2))
    def make_link(self, roles: list[str], max_uses: int) -> Linked:
        path = f"{self.workspace.path}/invitation-links"
        made = ok(self.post(self.owner, path, roles=roles, max_uses=max_uses, expires_in_days=1))
        self.all_links.append(Linked(made["link"]["id"], made["token"], roles, max_uses))
        return self.all_links[-1]

    @rule(link=links, who=PEOPLE)
    def join(self, link: Linked, who: int) -> None:
        answer = self.post(self.people[who].http, "/invitation-links/join", token=link.token)
        if not link.lets_in:
            problem(answer, 400, "invalid_invitation")
        elif who in self.members:
            problem(answer, 409, "already_member")
        else:
            ok(answer)
            link.uses += 1
            self.members[who] = set(link.roles)

    @rule(link=links)
    def join_all_at_once(self, link: Linked) -> None:
        strangers = [who for who in self.people if who not in self.members]

        async def together() -> list[bool]:
            calls = (
                self.people[who].http.post("/invitation-links/join", json={"token": link.token}) for who in strangers
            )
            return [answer.is_success for answer in await asyncio.gather(*calls)]

        joined = [who for who, success in zip(strangers, self.world.run(together()), strict=True) if success]
        room = link.max_uses - link.uses if link.is_open else 0
        assert len(joined) == min(room, len(strangers))
        link.uses += len(joined)
        for who in joined:
            self.members[who] = set(link.roles)

    @rule(link=consumes(links))
    def withdraw_link(self, link: Linked) -> None:
        ok(self.world.run(self.owner.delete(f"{self.workspace.path}/invitation-links/{link.id}")))
        link.is_open = False
        problem(
            self.post(self.world.make.nobody, "/invitation-links/preview", token=link.token), 400, "invalid_invitation"
        )

    # ------------------------------------------------------------------------------------------- time

    @rule()
    def a_day_goes_by(self) -> None:
        self.world.clock.move(hours=25)
        for invited in self.all:
            if invited.state == "pending":
                invited.state = "expired"
        for link in self.all_links:
            link.is_open = False
        self.world.run(self.log_in_again())

    @rule()
    def what_is_over_is_cleaned_up(self) -> None:
        self.world.run(finish(self.world.make.server.runtime, clean_up))

    @rule(who=PEOPLE)
    def leave(self, who: int) -> None:
        answer = self.world.run(self.people[who].http.delete(f"{self.workspace.path}/members/me"))
        if self.members.pop(who, None) is None:
            problem(answer, 404, "not_found")
        else:
            ok(answer)

    # ------------------------------------------------------------------------------------------ truth

    @invariant()
    def the_server_says_the_same(self) -> None:
        async def look() -> tuple[Any, Any, Any]:
            pages = [
                await self.owner.get(f"{self.workspace.path}/{what}?limit=200")
                for what in ("invitations", "invitation-links", "members")
            ]
            invitations, links, members = [ok(page)["items"] for page in pages]
            return invitations, links, members

        invitations, links, members = self.world.run(look())
        assert {each["id"]: each["state"] for each in invitations} == {each.id: each.state for each in self.all}
        assert {each["id"]: each["uses"] for each in links} == {each.id: each.uses for each in self.all_links}
        by_id = {str(person.id): who for who, person in self.people.items()}
        found = {by_id[each["account_id"]]: set(each["roles"]) for each in members if each["account_id"] in by_id}
        assert found == self.members


async def test_whoever_comes_in_was_let_in(server_factory: ServerFactory, clock: MovableClock) -> None:
    server = await server_factory(
        clock=clock,
        security={"access_token_seconds": 86_400},
        workspaces={"invitation_mails_per_day": 100},
    )
    world = World(Factory(server), Mailbox(server.settings.data_path), clock, asyncio.get_running_loop())
    bounds = settings(
        max_examples=5,
        stateful_step_count=20,
        deadline=None,
        database=None,
        # A failure is told as it is: to make it smaller takes many minutes.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    bound = type("BoundMachine", (Machine,), {"world": world})
    await asyncio.to_thread(run_state_machine_as_test, bound, settings=bounds)


pytestmark = pytest.mark.slow
