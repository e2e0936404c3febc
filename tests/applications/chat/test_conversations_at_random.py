"""Visitors and staff do whatever comes to mind, also two at once; the server is always what a simple model says.

The model is other code than that of the server: what each action comes to, worked out on plain values. Of two actions
at once the server must have done one after the other, in either order.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import httpx2
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.factories import Factory, Person, Workspace, ok
from tests.security.test_roles_at_random import Wait

T = TypeVar("T")

VISITORS = 3
# By their place in the list of people, behind the visitors: two volunteers, a supervisor, the owner.
RANKS = {3: 1, 4: 1, 5: 2, 6: 4}
STAFF = tuple(RANKS)
SUPERVISES = 2
SECONDS = 60
LISTS = ("mine", "waiting", "unhandled", "flagged", "handled", "recent")


@dataclass(frozen=True)
class Talk:
    """What the model knows of a conversation."""

    visitor: int
    staff: tuple[int, ...] = ()
    closed: bool = False
    messages: int = 0
    waits: bool = True
    severity: int | None = None

    @property
    def state(self) -> str:
        return "closed" if self.closed else "active" if self.staff else "waiting"

    def with_staff(self, staff: Sequence[int], done: int) -> "Talk":
        return replace(self, staff=tuple(staff), messages=self.messages + done, waits=self.waits or not staff)


@dataclass(frozen=True)
class World:
    """All conversations, and how many of the staff may be in one."""

    talks: tuple[Talk, ...] = ()
    capacity: int = 2

    def change(self, number: int, talk: Talk) -> "World":
        return replace(self, talks=(*self.talks[:number], talk, *self.talks[number + 1 :]))

    def has_open(self, visitor: int) -> bool:
        return any(talk.visitor == visitor and not talk.closed for talk in self.talks)


@dataclass(frozen=True)
class Action:
    """What somebody does.

    Attributes:
        name: what.
        by: who.
        talk: in which conversation.
        people: to whom of the staff.
        severity: of a flag.
    """

    name: str
    by: int
    talk: int = 0
    people: tuple[int, ...] = ()
    severity: int = 1


class Refused(Exception):
    """What the server should answer with."""

    def __init__(self, code: str) -> None:
        self.code = code


def outcome(world: World, action: Action) -> tuple[World, str]:
    """Return what becomes of the world, and the code of the answer."""
    if action.name == "open":
        if world.has_open(action.by):
            return world, "conversation_open"
        return replace(world, talks=(*world.talks, Talk(action.by))), "ok"
    try:
        talk = RULES[action.name](world, world.talks[action.talk], action)
    except Refused as refused:
        return world, refused.code
    return world.change(action.talk, talk), "ok"


def lasting(talk: Talk) -> None:
    if talk.closed:
        raise Refused("conversation_closed")


def claimed(talk: Talk) -> None:
    lasting(talk)
    if not talk.staff:
        raise Refused("conversation_not_claimed")


def inside(talk: Talk, who: int) -> None:
    claimed(talk)
    if who not in talk.staff:
        raise Refused("not_in_conversation")


def supervising(who: int) -> None:
    if RANKS[who] < SUPERVISES:
        raise Refused("forbidden")


def handling(talk: Talk, who: int) -> None:
    if RANKS[who] < SUPERVISES and who not in talk.staff:
        raise Refused("not_in_conversation")
    lasting(talk)


def room(world: World, staff: Sequence[int]) -> None:
    if len(staff) > world.capacity:
        raise Refused("conversation_full")


def claim(_: World, talk: Talk, action: Action) -> Talk:
    lasting(talk)
    if action.by in talk.staff:
        return talk
    if talk.staff:
        raise Refused("conversation_claimed")
    return talk.with_staff([action.by], 1)


def join(world: World, talk: Talk, action: Action) -> Talk:
    claimed(talk)
    if action.by in talk.staff:
        return talk
    room(world, [*talk.staff, action.by])
    return talk.with_staff([*talk.staff, action.by], 1)


def leave(_: World, talk: Talk, action: Action) -> Talk:
    inside(talk, action.by)
    return talk.with_staff([each for each in talk.staff if each != action.by], 1)


def add(world: World, talk: Talk, action: Action) -> Talk:
    supervising(action.by)
    lasting(talk)
    who = action.people[0]
    if who in talk.staff:
        return talk
    room(world, [*talk.staff, who])
    return talk.with_staff([*talk.staff, who], 1)


def remove(_: World, talk: Talk, action: Action) -> Talk:
    supervising(action.by)
    lasting(talk)
    who = action.people[0]
    if who not in talk.staff:
        return talk
    if RANKS[who] > RANKS[action.by]:
        raise Refused("outranked")
    return talk.with_staff([each for each in talk.staff if each != who], 1)


def replace_all(world: World, talk: Talk, action: Action) -> Talk:
    supervising(action.by)
    lasting(talk)
    leaving = [each for each in talk.staff if each not in action.people]
    coming = [each for each in action.people if each not in talk.staff]
    if not leaving and not coming:
        return talk
    if any(RANKS[each] > RANKS[action.by] for each in leaving):
        raise Refused("outranked")
    staff = [*(each for each in talk.staff if each in action.people), *coming]
    room(world, staff)
    return talk.with_staff(staff, len(leaving) + len(coming))


def take_over(_: World, talk: Talk, action: Action) -> Talk:
    supervising(action.by)
    claimed(talk)
    others = [each for each in talk.staff if each != action.by]
    if not others:
        return talk
    if any(RANKS[each] >= RANKS[action.by] for each in others):
        raise Refused("outranked")
    return talk.with_staff([action.by], 1)


def hand_over(_: World, talk: Talk, action: Action) -> Talk:
    inside(talk, action.by)
    who = action.people[0]
    if who == action.by:
        raise Refused("not_staff")
    staff = [each for each in talk.staff if each != action.by]
    return talk.with_staff(staff if who in staff else [*staff, who], 1)


def close(_: World, talk: Talk, __: Action) -> Talk:
    return talk if talk.closed else replace(talk, closed=True, waits=False)


def reopen(world: World, talk: Talk, _: Action) -> Talk:
    if not talk.closed:
        return talk
    if world.has_open(talk.visitor):
        raise Refused("conversation_open")
    return replace(talk, closed=False, waits=not talk.staff)


def write(_: World, talk: Talk, action: Action) -> Talk:
    lasting(talk)
    if action.by != talk.visitor:
        inside(talk, action.by)
    return replace(talk, messages=talk.messages + 1, waits=action.by == talk.visitor)


def flag(_: World, talk: Talk, action: Action) -> Talk:
    handling(talk, action.by)
    return replace(talk, severity=action.severity)


def unflag(_: World, talk: Talk, action: Action) -> Talk:
    supervising(action.by)
    return replace(talk, severity=None)


def handled(_: World, talk: Talk, action: Action) -> Talk:
    handling(talk, action.by)
    claimed(talk)
    return replace(talk, waits=False)


Rule: TypeAlias = Callable[[World, Talk, Action], Talk]
RULES: dict[str, Rule] = {
    "claim": claim,
    "join": join,
    "leave": leave,
    "add": add,
    "remove": remove,
    "replace": replace_all,
    "take-over": take_over,
    "hand-over": hand_over,
    "close": close,
    "reopen": reopen,
    "write": write,
    "flag": flag,
    "unflag": unflag,
    "handled": handled,
}
OF_STAFF = sorted(RULES.keys() - {"write", "close", "reopen"})


@dataclass
class Stage:
    """The server, and who acts there."""

    workspace: Workspace
    people: list[Person]
    talks: list[str] = field(default_factory=list)

    async def ask(self, action: Action) -> httpx2.Response:
        """Do something on the server."""
        http = self.people[action.by].http
        if action.name == "open":
            return await http.post(self.workspace.conversations, json={})
        ids = [str(self.people[who].id) for who in action.people]
        first = {"account_id": ids[0]} if ids else {}
        method, path, body = {
            "add": ("POST", "staff", first),
            "remove": ("DELETE", f"staff/{first.get('account_id')}", None),
            "replace": ("PUT", "staff", {"account_ids": ids}),
            "hand-over": ("POST", "hand-over", first),
            "write": ("POST", "messages", {"text": "hello"}),
            "flag": ("PUT", "flag", {"severity": action.severity}),
        }.get(action.name, ("POST", action.name, None))
        talk = f"{self.workspace.conversations}/{self.talks[action.talk]}"
        return await http.request(method, f"{talk}/{path}", json=body)

    async def compare(self, world: World, reader: int) -> None:
        """Compare everything with the model, lists as somebody of the staff sees them."""
        http = self.people[reader].http
        for talk, talk_id in zip(world.talks, self.talks, strict=True):
            path = f"{self.workspace.conversations}/{talk_id}"
            case = ok(await http.get(f"{path}/case"))
            staff = [str(self.people[who].id) for who in talk.staff]
            found = (case["state"], case["staff_ids"], case["message_count"], case["flag_severity"])
            assert found == (talk.state, staff, talk.messages, talk.severity)
            assert (case["waiting_since"] is not None) == talk.waits
            messages = ok(await http.get(f"{path}/messages?limit=200"))["items"]
            assert [message["number"] for message in messages] == list(range(talk.messages, 0, -1))
        belongs: dict[str, Callable[[Talk], bool]] = {
            "mine": lambda talk: not talk.closed and reader in talk.staff,
            "waiting": lambda talk: talk.state == "waiting",
            "unhandled": lambda talk: talk.waits,
            "flagged": lambda talk: talk.severity is not None,
            "handled": lambda talk: not talk.waits,
            "recent": lambda _: True,
        }
        for name in LISTS:
            answer = ok(await http.get(f"{self.workspace.path}/chat/cases?list={name}&limit=200"))
            wanted = {talk_id for talk, talk_id in zip(world.talks, self.talks, strict=True) if belongs[name](talk)}
            listed = [line["case"]["id"] for line in answer["items"]]
            assert (len(listed), set(listed)) == (len(wanted), wanted), name


def code_of(answer: httpx2.Response) -> str:
    assert answer.status_code < 500, answer.text
    return "ok" if answer.is_success else str(answer.json()["code"])


def machine(make: Factory, people: list[Person], wait: Wait) -> Any:  # noqa: ANN401, C901 - Hypothesis wants a class, whose rules are the methods
    """Return the state machine on a server."""
    visitor, staff = st.sampled_from(range(VISITORS)), st.sampled_from(STAFF)
    some = st.lists(staff, min_size=1, max_size=3, unique=True).map(tuple)
    talk = st.integers(0, 100)
    of_staff = st.builds(Action, st.sampled_from(OF_STAFF), staff, talk=talk, people=some, severity=st.integers(1, 3))
    of_anybody = st.builds(
        Action, st.sampled_from(["write", "close", "reopen"]), st.sampled_from(range(len(people))), talk=talk
    )
    action = st.one_of(of_staff, of_staff, of_anybody, st.builds(Action, st.just("open"), visitor))

    class Conversations(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            owner = people[STAFF[-1]]
            workspace = wait(make.workspace(owner=owner))
            for who, role in zip(STAFF, ("chat.volunteer", "chat.volunteer", "chat.supervisor"), strict=False):
                wait(make.join(workspace, people[who], role))
            self.stage, self.world = Stage(workspace, people), World()
            self.set_capacity(2)
            self.act(*(Action("open", who) for who in range(VISITORS)))

        def act(self, *actions: Action) -> None:
            """Do these at once, and find an order in which the model does the same."""
            actions = tuple(self.fitting(each) for each in actions)

            async def ask() -> list[httpx2.Response]:
                return await asyncio.gather(*(self.stage.ask(each) for each in actions))

            answers = wait(ask())
            codes = [code_of(answer) for answer in answers]
            if all(each.name == "open" for each in actions):
                for each, answer in zip(actions, answers, strict=True):
                    self.world, expected = outcome(self.world, each)
                    assert code_of(answer) == expected
                    self.stage.talks += [answer.json()["id"]] if answer.is_success else []
            else:
                self.world = self.explained(actions, codes)
            wait(self.stage.compare(self.world, STAFF[len(self.world.talks) % len(STAFF)]))

        def fitting(self, action: Action) -> Action:
            """Return the action with a conversation that there is, and with its visitor in place of another one."""
            if action.name == "open":
                return action
            number = action.talk % len(self.world.talks)
            by = action.by if action.by in RANKS else self.world.talks[number].visitor
            return replace(action, talk=number, by=by)

        def explained(self, actions: Sequence[Action], codes: Sequence[str]) -> World:
            orders = [range(len(actions)), range(len(actions) - 1, -1, -1)]
            ends = []
            for order in orders:
                world, found = self.world, {}
                for number in order:
                    world, found[number] = outcome(world, actions[number])
                if [found[number] for number in range(len(actions))] == [*codes]:
                    ends.append(world)
            assert ends, (actions, codes, self.world)
            # Both orders may end in the same answers and different worlds.
            for end in ends[1:]:
                if end != ends[0] and not self.holds(ends[0]):
                    return end
            return ends[0]

        def holds(self, world: World) -> bool:
            try:
                wait(self.stage.compare(world, STAFF[-1]))
            except AssertionError:
                return False
            return True

        @rule(each=action)
        def one(self, each: Action) -> None:
            self.act(each)

        @rule(first=of_staff, second=of_staff)
        def two_at_once(self, first: Action, second: Action) -> None:
            # In the same conversation, where they are in each other's way.
            self.act(first, replace(second, talk=first.talk))

        @rule(capacity=st.integers(1, 4))
        def set_capacity(self, capacity: int) -> None:
            sections = {"chat": {"capacity": capacity}}
            owner = people[STAFF[-1]].http
            ok(wait(owner.patch(f"{self.stage.workspace.path}/settings", json={"sections": sections})))
            self.world = replace(self.world, capacity=capacity)

    return Conversations


async def test_the_server_does_what_the_model_does(make: Factory) -> None:
    people = [
        *[await make.visitor(f"Visitor {number}") for number in range(VISITORS)],
        *[await make.person(f"Staff {number}") for number in range(len(STAFF))],
    ]
    loop = asyncio.get_running_loop()

    def wait(work: Coroutine[Any, Any, T], /) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(SECONDS)

    quick = settings(
        max_examples=12,
        stateful_step_count=25,
        deadline=None,
        database=None,
        # What a failure is made smaller from has changed the database.
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    await asyncio.to_thread(run_state_machine_as_test, machine(make, people, wait), settings=quick)
