"""Every change of a conversation is told: who listens knows what they would read anew."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from courtyard.applications.chat import application
from courtyard.applications.chat.events import (
    ConversationClaimedBy,
    ConversationEnded,
    ConversationOpened,
    MessageSent,
)
from tests.factories import Conversation, Factory, Person, Workspace, ok
from tests.sockets import Json
from tests.telling import Apply, declared, told


def replace_conversation(state: Json, data: Json) -> None:
    state["conversation"] = data["conversation"]


def add_message(state: Json, data: Json) -> None:
    conversation, message = state["conversation"], data["message"]
    # The first message of a conversation that was opened with one is counted already when it is opened.
    if message["number"] > conversation["message_count"]:
        conversation["message_count"] = message["number"]
        conversation["version"] += 1
    state["messages"].append(message)


# What a client that shows a conversation does with each event.
IN_CONVERSATION: dict[Any, Apply] = {
    ConversationOpened: replace_conversation,
    ConversationClaimedBy: replace_conversation,
    ConversationEnded: replace_conversation,
    MessageSent: add_message,
}


def place(state: Json, data: Json) -> None:
    state[data["conversation"]["id"]] = standing(data["conversation"])


def standing(conversation: Json) -> Json:
    """Return what the queue shows: everything but what each message changes, which is told in the conversation."""
    return {name: value for name, value in conversation.items() if name not in {"message_count", "version"}}


IN_QUEUE: dict[Any, Apply] = {ConversationOpened: place, ConversationClaimedBy: place, ConversationEnded: place}

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


ACTIONS: dict[Action, int] = {
    claim: 1,
    claim_twice: 1,
    write: 1,
    write_twice_under_one_id: 1,
    close: 1,
    everything: 5,
    what_is_refused: 1,
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
        return {"conversation": ok(await person.http.get(conversation.path)), "messages": messages[::-1]}

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


async def test_in_the_queue(make: Factory, workspace: Workspace) -> None:
    owner = workspace.owner
    waiting = await make.conversation(workspace)

    async def read() -> Json:
        items = ok(await owner.http.get(workspace.conversations, params={"limit": 200}))["items"]
        return {item["id"]: standing(item) for item in items}

    async with told(make, owner, workspace.slug, "chat.queue", read, IN_QUEUE) as heard:
        other = await make.conversation(workspace, subject="Rain", message={"text": "It pours"})
        await everything(make, waiting)
        await close(make, other)
        await close(make, await elsewhere(make))
    assert len(heard) == 4


async def elsewhere(make: Factory) -> Conversation:
    """Return a conversation in another workspace, of which nothing may be told here."""
    return await make.conversation()


def test_every_declared_event_has_its_effect() -> None:
    assert set(IN_CONVERSATION) == declared(application)


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
        "chat.conversation.closed",
    ]
