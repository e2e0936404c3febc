"""The chat over sockets: the same services as over HTTP, with acknowledgements and problems in the place of answers."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from courtyard.applications.chat import application
from tests.factories import Conversation, Factory, Person, Workspace, ok
from tests.sockets import Json, Socket


def problem_of(answer: Json, status: int, code: str) -> dict[str, Any]:
    """Return the problem of an acknowledgement that must have this one."""
    assert set(answer) == {"problem"}, answer
    document: dict[str, Any] = answer["problem"]
    assert (document["status"], document["code"]) == (status, code), document
    assert document["request_id"]
    return document


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
async def volunteer(make: Factory, workspace: Workspace) -> Person:
    return await make.member(workspace)


async def test_a_conversation_from_beginning_to_end(make: Factory, workspace: Workspace, volunteer: Person) -> None:
    place = {"workspace": workspace.slug}
    visiting, helping = await make.socket(await make.visitor()), await make.socket(volunteer)
    await helping.ok("subscribe", **place, topic="chat.queue")
    opened = await visiting.ok("chat.conversation.open", **place, subject="Help", message={"text": "Hello?"})
    assert (opened["state"], opened["message_count"]) == ("waiting", 1)
    (queued,) = await helping.wait_for("event")
    assert queued["name"] == "chat.case.changed"
    about = {**place, "conversation_id": opened["id"]}
    topic = f"chat.conversation:{opened['id']}"
    for socket in (visiting, helping):
        await socket.ok("subscribe", **place, topic=topic, after=0)
    claimed = await helping.ok("chat.conversation.claim", **about)
    assert (claimed["state"], claimed["staff_ids"]) == ("active", [str(volunteer.id)])
    message = await helping.ok("chat.message.send", **about, text="How can I help?")
    assert (message["number"], message["author_id"]) == (3, str(volunteer.id))
    closed = await visiting.ok("chat.conversation.close", **about)
    assert closed["state"] == "closed"
    heard = [event for event in await visiting.wait_for("event", 6) if event["topic"] == topic]
    assert [(event["number"], event["name"]) for event in heard] == [
        (1, "chat.conversation.opened"),
        (2, "chat.message.sent"),
        (3, "chat.conversation.claimed"),
        (4, "chat.message.sent"),
        (5, "chat.message.sent"),
        (6, "chat.conversation.closed"),
    ]
    assert heard[3]["data"]["message"]["action"] == "joined"
    assert heard[4]["data"] == {"message": message}
    assert heard[5]["data"] == {"conversation": closed}
    await helping.wait_for("event", 9)
    in_queue = [event["name"] for event in helping.all("event") if event["topic"] == "chat.queue"]
    assert in_queue == ["chat.case.changed"] * 3
    # What was said over sockets is there over HTTP.
    assert ok(await volunteer.http.get(f"{workspace.conversations}/{opened['id']}")) == closed


async def test_sending_again_is_harmless_also_by_another_way(make: Factory, workspace: Workspace) -> None:
    conversation = await make.conversation(workspace)
    socket = await make.socket(conversation.visitor)
    about = {"workspace": workspace.slug, "conversation_id": str(conversation.id)}
    new = {"text": "hello", "client_message_id": str(uuid4())}
    answers = await asyncio.gather(
        *(socket.ok("chat.message.send", **about, **new) for _ in range(5)),
        *(conversation.visitor.http.post(conversation.messages, json=new) for _ in range(5)),
    )
    sent = [answer if isinstance(answer, dict) else ok(answer) for answer in answers]
    assert all(message == sent[0] for message in sent)
    assert ok(await conversation.visitor.http.get(conversation.path))["message_count"] == 1


async def test_of_many_claims_at_once_one_wins_and_the_others_are_told_who(make: Factory, workspace: Workspace) -> None:
    conversation = await make.conversation(workspace)
    staff = [await make.member(workspace) for _ in range(4)]
    sockets = [await make.socket(person) for person in staff]
    about = {"workspace": workspace.slug, "conversation_id": str(conversation.id)}
    answers = await asyncio.gather(
        *(socket.call("chat.conversation.claim", about) for _ in range(10) for socket in sockets)
    )
    winner = ok(await conversation.visitor.http.get(conversation.path))["staff_ids"]
    for person, answer in zip(staff * 10, answers, strict=True):
        if [str(person.id)] == winner:
            assert answer["data"]["staff_ids"] == winner
        else:
            assert problem_of(answer, 409, "conversation_claimed")["staff_ids"] == winner


async def test_refusals_are_the_same_as_over_http(make: Factory, workspace: Workspace, volunteer: Person) -> None:
    conversation = await make.conversation(workspace)
    about = {"workspace": workspace.slug, "conversation_id": str(conversation.id)}
    helping, stranger = await make.socket(volunteer), await make.socket(await make.visitor())
    problem_of(await helping.call("chat.message.send", {**about, "text": "a"}), 409, "conversation_not_claimed")
    problem_of(await stranger.call("chat.message.send", {**about, "text": "a"}), 404, "not_found")
    await helping.ok("chat.conversation.close", **about)
    problem_of(await helping.call("chat.conversation.claim", about), 409, "conversation_closed")
    problem_of(await helping.call("chat.message.send", {**about, "text": "a"}), 409, "conversation_closed")
    elsewhere = {**about, "workspace": "nothing-here"}
    problem_of(await helping.call("chat.conversation.close", elsewhere), 404, "not_found")


class TestMalformed:
    """What does not fit the schema of an event is refused where it is wrong, and nothing comes of it."""

    @pytest.fixture
    async def conversation(self, make: Factory, workspace: Workspace) -> Conversation:
        return await make.conversation(workspace)

    @pytest.fixture
    async def socket(self, make: Factory, conversation: Conversation) -> Socket:
        return await make.socket(conversation.visitor)

    @pytest.mark.parametrize("event", [handler.event for handler in application.sockets])
    async def test_every_event_wants_its_fields_and_no_others(
        self, socket: Socket, conversation: Conversation, event: str
    ) -> None:
        good = {"workspace": conversation.workspace.slug, "conversation_id": str(conversation.id), "text": "hello"}
        for payload in (
            None,
            7,
            "text",
            [],
            [good],
            {},
            {**good, "surprise": 1},
            {**good, "workspace": None},
            {**good, "workspace": "No Slug"},
            {**good, "workspace": "x" * 64},
            {**good, "workspace": "a\0"},
            {"workspace": conversation.workspace.slug, "conversation_id": "x"},
            {"workspace": conversation.workspace.slug, "conversation_id": 7},
        ):
            document = problem_of(await socket.call(event, payload), 400, "invalid_input")
            assert document.get("errors") or document["detail"], payload

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"text": ""}, "/text"),
            ({"text": "x" * 10_001}, "/text"),
            ({"text": "a\0b"}, "/text"),
            ({"text": 10**400}, "/text"),
            ({"text": ["a"] * 1_000}, "/text"),
            ({"client_message_id": "1"}, "/client_message_id"),
            ({"conversation_id": "0" * 31}, "/conversation_id"),
            ({"workspace": 1.5}, "/workspace"),
        ],
    )
    async def test_a_message_that_is_none(
        self, socket: Socket, conversation: Conversation, change: dict[str, Json], pointer: str
    ) -> None:
        good = {"workspace": conversation.workspace.slug, "conversation_id": str(conversation.id), "text": "hello"}
        document = problem_of(await socket.call("chat.message.send", {**good, **change}), 400, "invalid_input")
        assert [fault["pointer"] for fault in document["errors"]] == [pointer]
        assert ok(await conversation.visitor.http.get(conversation.path))["message_count"] == 0

    async def test_a_subject_that_is_none(self, socket: Socket, workspace: Workspace) -> None:
        for subject in ("", "two\nlines", "x" * 201, "a\0b", "\0", 7):
            payload = {"workspace": workspace.slug, "subject": subject}
            document = problem_of(await socket.call("chat.conversation.open", payload), 400, "invalid_input")
            assert [fault["pointer"] for fault in document["errors"]] == ["/subject"]
        empty = {"workspace": workspace.slug, "message": {"text": ""}}
        document = problem_of(await socket.call("chat.conversation.open", empty), 400, "invalid_input")
        assert [fault["pointer"] for fault in document["errors"]] == ["/message/text"]
