"""Every change of a conversation is told: who listens knows what they would read anew."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from courtyard.applications.chat import application
from courtyard.applications.chat.events import (
    BookmarkChanged,
    CaseChanged,
    ConversationClaimedBy,
    ConversationEnded,
    ConversationOpened,
    ConversationReopened,
    ConversationStaffed,
    MessageSeen,
    MessageSent,
    NoteWritten,
)
from tests.factories import Conversation, Factory, Person, Workspace, ok
from tests.sockets import Json
from tests.telling import Apply, declared, told


def replace_conversation(state: Json, data: Json) -> None:
    state["conversation"] = data["conversation"]


def add_message(state: Json, data: Json) -> None:
    conversation, message = state["conversation"], data["message"]
    # What somebody did is counted already in the conversation that came with it; so is what it was opened with.
    if message["number"] > conversation["message_count"]:
        conversation["message_count"] = message["number"]
        conversation["version"] += 1
    state["messages"].append(message)


def move_seen(state: Json, data: Json) -> None:
    state["seen"][data["seen"]["account_id"]] = data["seen"]["number"]


# What a client that shows a conversation does with each event.
IN_CONVERSATION: dict[Any, Apply] = {
    ConversationOpened: replace_conversation,
    ConversationClaimedBy: replace_conversation,
    ConversationStaffed: replace_conversation,
    ConversationEnded: replace_conversation,
    ConversationReopened: replace_conversation,
    MessageSent: add_message,
    MessageSeen: move_seen,
}


def place(state: Json, data: Json) -> None:
    state["cases"][data["case"]["id"]] = standing(data["case"])


# What each message changes is told in the conversation.
BY_MESSAGES = {"message_count", "conversation_version", "active_at", "waiting_since"}


def standing(case: Json) -> Json:
    """Return what the queue keeps right."""
    return {name: value for name, value in case.items() if name not in BY_MESSAGES}


def note(state: Json, data: Json) -> None:
    state["notes"].append(data["note"])


# What a client that shows lists to staff does.
IN_QUEUE: dict[Any, Apply] = {CaseChanged: place, NoteWritten: note}


def mark(state: Json, data: Json) -> None:
    state["bookmarks"][data["bookmark"]["conversation_id"]] = data["bookmark"]["is_bookmarked"]


def move_own(state: Json, data: Json) -> None:
    state["seen"][data["seen"]["conversation_id"]] = data["seen"]["number"]


# What is told to nobody but themselves.
OF_PERSON: dict[Any, Apply] = {BookmarkChanged: mark, MessageSeen: move_own}

Action = Callable[[Factory, Conversation], Awaitable[object]]


async def claim(make: Factory, conversation: Conversation) -> None:
    volunteer = await make.member(conversation.workspace)
    ok(await volunteer.http.post(f"{conversation.path}/claim"))


async def claim_twice(make: Factory, conversation: Conversation) -> None:
    owner = conversation.workspace.owner
    del make
    for _ in range(2):
        ok(await owner.http.post(f"{conversation.path}/claim"))


async def write(make: Factory, conversation: Conversation) -> None:
    del make
    ok(await conversation.visitor.http.post(conversation.messages, json={"text": "hello"}))


async def write_twice_under_one_id(make: Factory, conversation: Conversation) -> None:
    del make
    for _ in range(2):
        new = {"text": "hello", "client_message_id": str(conversation.id)}
        ok(await conversation.visitor.http.post(conversation.messages, json=new))


async def close(make: Factory, conversation: Conversation) -> None:
    del make
    ok(await conversation.visitor.http.post(f"{conversation.path}/close"))


async def change_staff(make: Factory, conversation: Conversation) -> None:
    """One after the other: claimed, joined, added, removed, replaced, handed over, taken over, left."""
    workspace, path = conversation.workspace, conversation.path
    vera, hilla, otto = [await make.member(workspace) for _ in range(3)]
    owner = workspace.owner.http
    ok(await vera.http.post(f"{path}/claim"))
    ok(await hilla.http.post(f"{path}/join"))
    ok(await owner.post(f"{path}/staff", json={"account_id": str(otto.id)}))
    assert (await owner.delete(f"{path}/staff/{vera.id}")).status_code == 204
    ok(await owner.put(f"{path}/staff", json={"account_ids": [str(vera.id), str(hilla.id)]}))
    ok(await hilla.http.post(f"{path}/hand-over", json={"account_id": str(otto.id), "note": "Speaks French."}))
    ok(await owner.post(f"{path}/take-over"))
    ok(await owner.post(f"{path}/leave"))


async def look_after(make: Factory, conversation: Conversation) -> None:
    """What the visitor is not told."""
    workspace, path = conversation.workspace, conversation.path
    del make
    owner = workspace.owner.http
    for severity in (1, 3):
        ok(await owner.put(f"{path}/flag", json={"severity": severity, "reason": "Sounds lost."}))
    ok(await owner.put(f"{path}/tags", json={"tags": ["housing", "debt", "housing"]}))
    ok(await owner.post(f"{path}/notes", json={"text": "Called before."}))
    ok(await owner.post(f"{path}/unflag"))


async def answer_and_handle(make: Factory, conversation: Conversation) -> None:
    owner = conversation.workspace.owner.http
    await claim_twice(make, conversation)
    ok(await owner.post(conversation.messages, json={"text": "How can I help?"}))
    await write(make, conversation)
    for _ in range(2):
        ok(await owner.post(f"{conversation.path}/handled"))


async def reopen(make: Factory, conversation: Conversation) -> None:
    await claim(make, conversation)
    await close(make, conversation)
    for _ in range(2):
        ok(await conversation.visitor.http.post(f"{conversation.path}/reopen"))
    await write(make, conversation)


async def read_on(make: Factory, conversation: Conversation) -> None:
    """The visitor and whoever is in it are told; who looks on is not."""
    onlooker = await make.member(conversation.workspace)
    for person, number in ((conversation.visitor, 1), (onlooker, 1), (conversation.visitor, 1)):
        ok(await person.http.put(f"{conversation.path}/seen", json={"number": number}))


async def everything(make: Factory, conversation: Conversation) -> None:
    for action in (write, claim_twice, write, write_twice_under_one_id, close, close):
        await action(make, conversation)


async def what_is_refused(make: Factory, conversation: Conversation) -> None:
    await claim(make, conversation)
    other = await make.member(conversation.workspace)
    assert (await other.http.post(f"{conversation.path}/claim")).status_code == 409
    stranger = await make.visitor()
    assert (await stranger.http.post(conversation.messages, json={"text": "x"})).status_code == 404
    assert (await conversation.visitor.http.post(conversation.messages, json={"text": ""})).status_code == 400


# With how many events in the conversation: what somebody does there is a message too.
ACTIONS: dict[Action, int] = {
    claim: 2,
    claim_twice: 2,
    write: 1,
    write_twice_under_one_id: 1,
    close: 1,
    change_staff: 17,
    look_after: 0,
    answer_and_handle: 4,
    reopen: 5,
    read_on: 1,
    everything: 6,
    what_is_refused: 2,
}


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.mark.parametrize("who", ["visitor", "staff"])
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_in_a_conversation(who: str, action: Action, make: Factory, workspace: Workspace) -> None:
    conversation = await make.conversation(workspace, message={"text": "first"})
    person = conversation.visitor if who == "visitor" else workspace.owner

    async def read() -> Json:
        messages = ok(await person.http.get(conversation.messages, params={"limit": 200}))["items"]
        seen = {each["account_id"]: each["number"] for each in ok(await person.http.get(f"{conversation.path}/seen"))}
        return {
            "conversation": ok(await person.http.get(conversation.path)),
            "messages": messages[::-1],
            "seen": seen,
        }

    async with told(make, person, workspace.slug, conversation.topic, read, IN_CONVERSATION) as heard:
        await action(make, conversation)
    assert len(heard) == ACTIONS[action]


@pytest.mark.parametrize("new", [{}, {"subject": "Rain"}, {"subject": "Rain", "message": {"text": "It pours"}}])
async def test_from_nothing(new: Json, make: Factory, workspace: Workspace) -> None:
    """Who hears a conversation from its first number needs to read nothing."""
    visitor = await make.visitor()
    conversation = await make.conversation(workspace, visitor=visitor, **new)
    socket = await make.socket(visitor)
    answer = await socket.ok("subscribe", workspace=workspace.slug, topic=conversation.topic, after=0)
    state: Json = {"conversation": None, "messages": []}
    applied = {event.name: apply for event, apply in IN_CONVERSATION.items()}
    for event in await socket.wait_for("event", answer["number"]):
        applied[event["name"]](state, event["data"])
    assert state["conversation"] == ok(await visitor.http.get(conversation.path))
    assert state["messages"] == ok(await visitor.http.get(conversation.messages))["items"]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_in_the_queue(action: Action, make: Factory, workspace: Workspace) -> None:
    owner = workspace.owner
    waiting = await make.conversation(workspace, message={"text": "first"})

    async def read() -> Json:
        items = ok(await owner.http.get(workspace.conversations, params={"limit": 200}))["items"]
        paths = [f"{workspace.conversations}/{item['id']}" for item in items]
        return {
            "cases": {path[-36:]: standing(ok(await owner.http.get(f"{path}/case"))) for path in paths},
            "notes": [note for path in paths for note in ok(await owner.http.get(f"{path}/notes"))["items"]],
        }

    async with told(make, owner, workspace.slug, "chat.queue", read, IN_QUEUE):
        await action(make, waiting)
        other = await make.conversation(workspace, subject="Rain", message={"text": "It pours"})
        await close(make, other)
        await close(make, await elsewhere(make))


async def test_what_nobody_else_is_told(make: Factory, workspace: Workspace) -> None:
    vera, other = await make.member(workspace), await make.member(workspace)
    here = await make.conversation(workspace, message={"text": "one"})
    ok(await here.visitor.http.post(here.messages, json={"text": "two"}))
    state: Json = {"bookmarks": {}, "seen": {}}

    async def read() -> Json:
        return state

    topic = f"chat.person:{vera.id}"
    async with told(make, vera, workspace.slug, topic, read, OF_PERSON) as heard:
        for person in (vera, other):
            ok(await person.http.put(f"{here.path}/bookmark"))
            ok(await person.http.put(f"{here.path}/bookmark"))
            for number, furthest in ((1, 1), (2, 2), (1, 2)):
                assert ok(await person.http.put(f"{here.path}/seen", json={"number": number}))["number"] == furthest
        assert (await vera.http.delete(f"{here.path}/bookmark")).status_code == 204
    assert state == {"bookmarks": {str(here.id): False}, "seen": {str(here.id): 2}}
    assert len(heard) == 4
    socket = await make.socket(other)
    refused = await socket.call("subscribe", {"workspace": workspace.slug, "topic": topic})
    assert refused["problem"]["code"] == "not_found"


async def elsewhere(make: Factory) -> Conversation:
    """Return a conversation in another workspace, of which nothing may be told here."""
    return await make.conversation()


def test_every_declared_event_has_its_effect() -> None:
    assert {*IN_CONVERSATION, *IN_QUEUE, *OF_PERSON} == declared(application)


async def test_over_the_socket_as_over_http(make: Factory, workspace: Workspace) -> None:
    visitor: Person = await make.visitor()
    socket = await make.socket(visitor)
    opened = await socket.ok("chat.conversation.open", workspace=workspace.slug)
    conversation = Conversation(opened["id"], workspace, visitor)
    named = {"workspace": workspace.slug, "conversation_id": opened["id"]}

    async def read() -> Json:
        messages = ok(await visitor.http.get(conversation.messages))["items"]
        return {"conversation": ok(await visitor.http.get(conversation.path)), "messages": messages[::-1]}

    async with told(make, visitor, workspace.slug, conversation.topic, read, IN_CONVERSATION) as heard:
        staff = await make.socket(workspace.owner)
        await staff.ok("chat.conversation.claim", **named)
        await staff.ok("chat.message.send", **named, text="hello", client_message_id=str(uuid4()))
        await socket.ok("chat.conversation.close", **named)
    assert [event["name"] for event in heard] == [
        "chat.conversation.claimed",
        "chat.message.sent",
        "chat.message.sent",
        "chat.conversation.closed",
    ]
