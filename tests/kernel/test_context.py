"""Who may do what: permissions of the workspace and of relations, and the order of the refusals."""

from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar, cast
from uuid import UUID, uuid4

import pytest

from courtyard.kernel.application import Application, Role, declared_roles
from courtyard.kernel.clock import SystemClock
from courtyard.kernel.context import Access, Context, Principal, ReadContext
from courtyard.kernel.errors import Forbidden, NotFound, Unauthenticated
from courtyard.kernel.events import Event
from tests.factories import Factory, ok
from tests.running import RunningServer

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
ME = Principal(uuid4(), uuid4(), "person", MOMENT, MOMENT, ["password"], 0, must_change_password=False)


class Thing:
    read_permission: ClassVar[str] = "thing.read"

    def __init__(self, owner_id: UUID) -> None:
        self.owner_id = owner_id

    def relations_of(self, account_id: UUID) -> frozenset[str]:
        return frozenset({"thing.owner"}) if account_id == self.owner_id else frozenset()


MINE, THEIRS = Thing(ME.account_id), Thing(uuid4())
ROLES = {"thing.owner": frozenset({"thing.read", "thing.change"})}
RUNTIME = cast("Any", SimpleNamespace(clock=SystemClock(), placement=None, roles=ROLES))


def context(principal: Principal | None = ME, *permissions: str) -> ReadContext:
    access = Access(uuid4(), "place", frozenset(), frozenset(permissions))
    return ReadContext(RUNTIME, principal, access, "request")


def test_a_permission_in_the_workspace_is_enough() -> None:
    context(ME, "thing.change").require("thing.change")
    context(ME, "thing.change").require("thing.change", THEIRS)
    # Nobody in particular may have one too, where a workspace is open.
    context(None, "thing.read").require("thing.read")


def test_a_relation_brings_its_own() -> None:
    context().require("thing.change", MINE)
    assert not context().may("thing.change")
    assert not context(None).may("thing.change", MINE)


def test_whoever_is_not_signed_in_is_asked_to() -> None:
    for thing in (None, MINE, THEIRS):
        with pytest.raises(Unauthenticated):
            context(None).require("thing.change", thing)


def test_what_one_may_not_know_of_is_not_there() -> None:
    with pytest.raises(NotFound):
        context().require("thing.change", THEIRS)
    with pytest.raises(NotFound):
        context().require("thing.read", THEIRS)


def test_what_one_may_know_of_is_forbidden() -> None:
    with pytest.raises(Forbidden):
        context(ME, "thing.read").require("thing.change", THEIRS)
    with pytest.raises(Forbidden) as refused:
        context().require("thing.destroy", MINE)
    assert refused.value.extra == {"permission": "thing.destroy"}


def test_without_a_workspace_there_is_none() -> None:
    outside = ReadContext(RUNTIME, ME, None, "request")
    with pytest.raises(RuntimeError):
        _ = outside.workspace
    assert not outside.may("thing.read")
    with pytest.raises(Unauthenticated):
        _ = ReadContext(RUNTIME, None, None, "request").account_id


def test_time_stands_still_in_a_context() -> None:
    one = context()
    assert one.now == one.now
    assert one.now.tzinfo is UTC


def test_roles_of_all_parts_are_added_up() -> None:
    first = Application(
        name="a",
        description="",
        permissions={"a.x": "", "a.y": ""},
        roles={"owner": Role(description="", permissions=frozenset({"a.x"}))},
    )
    second = Application(
        name="b",
        description="",
        permissions={"b.x": ""},
        roles={"owner": Role(description="", permissions=frozenset({"b.x", "a.y"}))},
    )
    (owner,) = declared_roles([first, second]).values()
    assert owner.permissions == {"a.x", "a.y", "b.x"}
    with pytest.raises(ValueError, match=r"unknown permissions: \['b\.x'\]"):
        declared_roles([first, replaced(second)])


def replaced(part: Application) -> Application:
    """Return the part without its permissions."""
    return Application(
        name=part.name, description="", roles={"owner": Role(description="", permissions=frozenset({"b.x"}))}
    )


class Happened(Event, frozen=True):
    name: ClassVar[str] = "sample.thing.happened"
    note: str


async def test_what_follows_a_commit_follows_only_a_commit(server: RunningServer, make: Factory) -> None:
    workspace = await make.workspace()
    done: list[str] = []
    for end in ("rollback", "commit"):
        access = Access(workspace.id, workspace.slug, frozenset(), frozenset())
        changing = Context(server.runtime, ME, access, "request")
        changing.record("sample.topic", Happened(end))
        changing.after_commit(partial(done.append, end))
        await getattr(changing, end)()
    assert done == ["commit"]


async def test_events_are_told_in_the_order_in_which_they_were_recorded(make: Factory) -> None:
    conversation = await make.conversation(message={"text": "first"})
    socket = await make.socket(conversation.visitor)
    subscribed = {"workspace": conversation.workspace.slug, "topic": conversation.topic, "after": 0}
    await socket.ok("subscribe", **subscribed)
    ok(await conversation.visitor.http.post(conversation.messages, json={"text": "second"}))
    events = await socket.wait_for("event", 3)
    assert [event["name"] for event in events] == [
        "chat.conversation.opened",
        "chat.message.sent",
        "chat.message.sent",
    ]
    assert [event["number"] for event in events] == [1, 2, 3]
    assert {event["actor_id"] for event in events} == {str(conversation.visitor.id)}
