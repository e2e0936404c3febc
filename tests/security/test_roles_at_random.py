"""People of all ranks give and take roles at random; whatever they do, nobody gets what the giver had not.

What somebody may do is worked out here from the rows alone, by other code than that of the server.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

import httpx2
import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from courtyard.kernel.database import Prepared, ReadUnit
from courtyard.kernel.workspaces.models import CustomRoleRow, MembershipRow, RoleGrantRow
from tests.factories import Factory, Person, Workspace, ok

T = TypeVar("T")
Scope: TypeAlias = UUID | None
# By account: whether it owns the workspace, and its permissions in all of it (None) and on each thing.
Rights: TypeAlias = Mapping[UUID, tuple[bool, Mapping[Scope, frozenset[str]]]]

BUILT_IN = ["owner", "administrator", "member", "chat.volunteer"]
PERMISSIONS = [
    "workspaces.workspace.edit",
    "workspaces.member.read",
    "workspaces.member.edit",
    "workspaces.role.edit",
    "chat.conversation.read",
    "chat.queue.read",
]
# Between those who may do everything and those who may do nothing about roles.
_PLAIN = ["workspaces.workspace.read", "workspaces.member.read"]
RANKS = {
    "custom.keeper": [*_PLAIN, "workspaces.member.edit", "chat.conversation.read"],
    "custom.smith": [*_PLAIN, "workspaces.role.edit", "workspaces.member.edit", "chat.queue.read"],
    "custom.plain": _PLAIN,
}
PEOPLE = 6
SECONDS = 60


class Wait(Protocol):
    """Runs something in the loop of the tests and returns what comes of it."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class Member(msgspec.Struct, frozen=True):
    account_id: UUID
    suspended: Any


class Given(msgspec.Struct, frozen=True):
    id: UUID
    account_id: UUID
    role: str
    scope_type: str
    scope_id: UUID


class Custom(msgspec.Struct, frozen=True):
    name: str
    permissions: Any


class Table:
    """The rows of one workspace."""

    def __init__(self, make: Factory, workspace: Workspace) -> None:
        here = workspace.id
        self._unit = ReadUnit(make.server.runtime.placement)
        self._roles = make.server.runtime.roles
        self._members = Prepared(
            select(MembershipRow.account_id, MembershipRow.suspended_at.label("suspended")).where(
                MembershipRow.workspace_id == here
            ),
            Member,
        )
        self._given = Prepared(
            select(*(getattr(RoleGrantRow, name) for name in Given.__struct_fields__)).where(
                RoleGrantRow.workspace_id == here
            ),
            Given,
        )
        self._custom = Prepared(
            select(CustomRoleRow.name, CustomRoleRow.permissions).where(CustomRoleRow.workspace_id == here), Custom
        )

    async def grants(self) -> list[Given]:
        return await self._unit.all(self._given)

    async def roles(self) -> dict[str, frozenset[str]]:
        """Return what is in the roles that the workspace has made."""
        return {role.name: frozenset(role.permissions) for role in await self._unit.all(self._custom)}

    async def rights(self, things: list[UUID]) -> Rights:
        """Return what everybody may do; nothing for whoever is suspended."""
        own = await self.roles()
        given = await self.grants()
        found = {}
        for member in await self._unit.all(self._members):
            roles = [each for each in given if each.account_id == member.account_id and member.suspended is None]
            by_scope = {
                thing: frozenset[str]().union(
                    *(
                        self._roles.get(each.role) or own.get(each.role, frozenset())
                        for each in roles
                        if each.scope_type == "" or each.scope_id == thing
                    )
                )
                for thing in (None, *things)
            }
            found[member.account_id] = (any(each.role == "owner" for each in roles), by_scope)
        return found


NOTHING: tuple[bool, Mapping[Scope, frozenset[str]]] = (False, {})


def machine(make: Factory, people: list[Person], wait: Wait) -> Any:  # noqa: ANN401, C901 - Hypothesis wants a class, whose rules are the methods
    """Return the state machine on a server."""
    everybody, someone = make.server.runtime.roles["everybody"], st.sampled_from(people)
    # Of those in the middle most is asked: who has everything cannot go too far.
    actor = st.sampled_from([*people, *people[2:4] * 3])
    number = st.integers(0, 7)
    permissions = st.lists(st.sampled_from(PERMISSIONS), unique=True, max_size=4)

    class Roles(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.workspace: Workspace = wait(make.workspace(owner=people[0]))
            self.table = Table(make, self.workspace)
            self.things = [wait(make.conversation(self.workspace, visitor=people[number])).id for number in (1, 2)]
            self.custom: list[str] = []
            for name, these in RANKS.items():
                new = {"name": name, "description": "Made", "permissions": these}
                ok(wait(people[0].http.post(f"{self.workspace.path}/roles", json=new)))
                self.custom.append(name)
            for person, role in zip(people[1:], ("administrator", *RANKS, "chat.volunteer"), strict=True):
                wait(make.join(self.workspace, person, role))

        def act(self, *requests: tuple[Person, str, str, Any]) -> list[httpx2.Response]:
            """Send requests at once, and look at what has become of everybody."""
            before, defined = wait(self.table.rights(self.things)), wait(self.table.roles())

            async def send() -> list[httpx2.Response]:
                return await asyncio.gather(
                    *(
                        by.http.request(method, self.workspace.path + path, json=body)
                        for by, method, path, body in requests
                    )
                )

            answers = wait(send())
            after = wait(self.table.rights(self.things))
            assert all(answer.status_code < 500 for answer in answers), [answer.text for answer in answers]
            if not any(answer.is_success for answer in answers):
                assert after == before, [answer.text for answer in answers]
            self.compare(before, after, [request[0].id for request in requests])
            redefined = set(wait(self.table.roles()).items()) ^ set(defined.items())
            own = frozenset[str]().union(*(before.get(request[0].id, NOTHING)[1].get(None, ()) for request in requests))
            assert all(these <= own | everybody for _, these in redefined), "made of what they had not"
            return answers

        def compare(self, before: Rights, after: Rights, actors: list[UUID]) -> None:
            for account_id in before.keys() | after.keys():
                was_owner, had = before.get(account_id, NOTHING)
                is_owner, has = after.get(account_id, NOTHING)
                for scope, now in has.items():
                    gained = now - had.get(scope, frozenset()) - everybody
                    could_give = frozenset[str]().union(
                        *(before.get(actor, NOTHING)[1].get(scope, frozenset()) for actor in actors)
                    )
                    assert gained <= could_give, (account_id, scope, gained - could_give)
                assert is_owner <= (was_owner or any(before.get(actor, NOTHING)[0] for actor in actors))
                if actors == [account_id]:
                    assert account_id not in after or (is_owner, has) == (was_owner, had), "changed themselves"
                elif len(actors) == 1 and (is_owner, has) != (was_owner, had):
                    theirs = before.get(actors[0], NOTHING)
                    on_things = [scope for scope in had if has.get(scope, frozenset()) != had[scope]]
                    for scope in on_things:
                        assert had[scope] <= theirs[1].get(scope, frozenset()) | everybody, "touched somebody above"
                    assert was_owner == is_owner or theirs[0], "touched an owner"

        def role(self, choice: int) -> str:
            names = [*BUILT_IN, *self.custom]
            return names[choice % len(names)]

        @invariant()
        def there_is_an_owner(self) -> None:
            assert any(is_owner for is_owner, _ in wait(self.table.rights(self.things)).values())

        @rule(by=actor, of=someone, choices=st.lists(number, max_size=2, unique=True))
        def set_roles(self, by: Person, of: Person, choices: list[int]) -> None:
            roles = sorted({self.role(choice) for choice in choices})
            self.act((by, "PATCH", f"/members/{of.id}", {"roles": roles}))

        @rule(by=actor, of=someone, choice=number)
        def add(self, by: Person, of: Person, choice: int) -> None:
            self.act((by, "POST", "/members", {"email": of.email, "roles": [self.role(choice)]}))

        @rule(by=actor, to=someone, choice=number, thing=st.sampled_from([None, 0, 1]))
        def give(self, by: Person, to: Person, choice: int, thing: int | None) -> None:
            new = {"role": self.role(choice)}
            if thing is not None:
                new |= {"scope_type": "chat.conversation", "scope_id": str(self.things[thing])}
            self.act((by, "POST", f"/members/{to.id}/grants", new))

        @rule(by=actor, choice=number)
        def take(self, by: Person, choice: int) -> None:
            grants = wait(self.table.grants())
            grant = grants[choice % len(grants)]
            self.act((by, "DELETE", f"/members/{grant.account_id}/grants/{grant.id}", None))

        @rule(by=actor, of=permissions)
        def make_role(self, by: Person, of: list[str]) -> None:
            name = f"custom.role_{len(self.custom)}"
            (made,) = self.act((by, "POST", "/roles", {"name": name, "description": "Made", "permissions": of}))
            self.custom += [name] if made.is_success else []

        @rule(by=actor, choice=number, of=permissions)
        def change_role(self, by: Person, choice: int, of: list[str]) -> None:
            self.act((by, "PATCH", f"/roles/{self.role(choice)}", {"permissions": of}))

        @rule(by=actor, choice=number)
        def delete_role(self, by: Person, choice: int) -> None:
            self.act((by, "DELETE", f"/roles/{self.role(choice)}", None))

        @rule(by=actor, of=someone, how=st.sampled_from(["suspend", "resume"]))
        def suspend_or_resume(self, by: Person, of: Person, how: str) -> None:
            self.act((by, "POST", f"/members/{of.id}/{how}", None))

        @rule(by=actor, of=someone)
        def remove(self, by: Person, of: Person) -> None:
            self.act((by, "DELETE", f"/members/{of.id}", None))

        @rule(first=actor, second=someone, choice=number)
        def two_at_once(self, first: Person, second: Person, choice: int) -> None:
            role = self.role(choice)
            self.act(
                (first, "PATCH", f"/members/{second.id}", {"roles": [role]}),
                (second, "DELETE", f"/members/{first.id}", None),
            )

    return Roles


async def test_whatever_people_do_nobody_gets_what_the_giver_had_not(make: Factory) -> None:
    people = [await make.person(f"Person {number}") for number in range(PEOPLE)]
    loop = asyncio.get_running_loop()

    def wait(work: Coroutine[Any, Any, T], /) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(SECONDS)

    quick = settings(
        max_examples=20,
        stateful_step_count=30,
        deadline=None,
        database=None,
        # What a failure is made smaller from has changed the database.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, machine(make, people, wait), settings=quick)
    answered = ok(await people[0].http.get("/workspaces?limit=200"))
    assert answered["items"]
