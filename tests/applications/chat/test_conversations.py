"""Conversations over HTTP: from opening to closing, alone and many at once."""

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from tests.factories import Conversation, Factory, Person, Workspace, ok, problem


async def send(conversation: Conversation, by: Person, text: str = "hello", **more: Any) -> httpx2.Response:
    return await by.http.post(conversation.messages, json={"text": text, **more})


async def history(conversation: Conversation, by: Person | None = None) -> list[dict[str, Any]]:
    """Return all messages, oldest first."""
    reader = by or conversation.visitor
    items: list[dict[str, Any]] = ok(await reader.http.get(f"{conversation.messages}?limit=200"))["items"]
    return items[::-1]


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
async def volunteer(make: Factory, workspace: Workspace) -> Person:
    return await make.member(workspace, name="Vera")


@pytest.fixture
async def visitor(make: Factory) -> Person:
    return await make.visitor("Viktor")


@pytest.fixture
async def conversation(make: Factory, workspace: Workspace, visitor: Person) -> Conversation:
    return await make.conversation(workspace, visitor=visitor)


async def test_a_conversation_from_beginning_to_end(workspace: Workspace, visitor: Person, volunteer: Person) -> None:
    answer = await visitor.http.post(workspace.conversations, json={"subject": "Help", "message": {"text": "Hello?"}})
    assert answer.status_code == 201
    opened = answer.json()
    assert {name: opened[name] for name in ("state", "subject", "visitor_id", "staff_ids", "message_count")} == {
        "state": "waiting",
        "subject": "Help",
        "visitor_id": str(visitor.id),
        "staff_ids": [],
        "message_count": 1,
    }
    path = f"{workspace.conversations}/{opened['id']}"
    assert ok(await visitor.http.get(path)) == opened
    assert ok(await volunteer.http.get(f"{workspace.conversations}?state=waiting"))["items"] == [opened]

    claimed = ok(await volunteer.http.post(f"{path}/claim"))
    assert (claimed["state"], claimed["staff_ids"]) == ("active", [str(volunteer.id)])
    assert datetime.fromisoformat(claimed["claimed_at"]) >= datetime.fromisoformat(claimed["created_at"])

    answered = ok(await volunteer.http.post(f"{path}/messages", json={"text": "How can I help?"}))
    assert (answered["number"], answered["author_id"], answered["conversation_id"]) == (
        3,
        str(volunteer.id),
        opened["id"],
    )
    ok(await visitor.http.post(f"{path}/messages", json={"text": "Thanks."}))

    closed = ok(await volunteer.http.post(f"{path}/close"))
    assert (closed["state"], closed["message_count"], closed["staff_ids"]) == ("closed", 4, [str(volunteer.id)])
    assert closed["closed_at"] is not None
    problem(await visitor.http.post(f"{path}/messages", json={"text": "One more"}), 409, "conversation_closed")
    messages = ok(await visitor.http.get(f"{path}/messages"))
    assert [(message["number"], message["text"], message["action"]) for message in messages["items"]] == [
        (4, "Thanks.", None),
        (3, "How can I help?", None),
        (2, "", "joined"),
        (1, "Hello?", None),
    ]
    assert messages["next"] is None
    assert ok(await volunteer.http.get(f"{workspace.conversations}?state=closed"))["items"] == [closed]
    assert ok(await volunteer.http.get(f"{workspace.conversations}?state=waiting"))["items"] == []


async def test_a_registered_person_can_be_a_visitor(make: Factory, workspace: Workspace) -> None:
    person = await make.person()
    conversation = await make.conversation(workspace, visitor=person)
    ok(await send(conversation, person))


async def test_staff_can_open_one_for_themselves(workspace: Workspace, volunteer: Person, make: Factory) -> None:
    conversation = await make.conversation(workspace, visitor=volunteer)
    ok(await send(conversation, volunteer))


async def test_the_queue_can_be_walked_by_pages_longest_waiting_first(
    make: Factory, workspace: Workspace, volunteer: Person
) -> None:
    opened = [str((await make.conversation(workspace)).id) for _ in range(7)]
    found: list[str] = []
    cursor = ""
    while True:
        answer = ok(await volunteer.http.get(f"{workspace.conversations}?state=waiting&limit=3{cursor}"))
        found += [item["id"] for item in answer["items"]]
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    assert found == opened


async def test_messages_can_be_walked_by_pages_newest_first(conversation: Conversation) -> None:
    for number in range(7):
        ok(await send(conversation, conversation.visitor, f"message {number + 1}"))
    found: list[int] = []
    cursor, sizes = "", []
    while True:
        answer = ok(await conversation.visitor.http.get(f"{conversation.messages}?limit=3{cursor}"))
        found += [item["number"] for item in answer["items"]]
        sizes.append(len(answer["items"]))
        # What comes meanwhile does not move the pages behind.
        ok(await send(conversation, conversation.visitor, "meanwhile"))
        if answer["next"] is None:
            break
        cursor = f"&cursor={answer['next']}"
    assert (found, sizes) == ([7, 6, 5, 4, 3, 2, 1], [3, 3, 1])


async def test_a_cursor_of_another_list_is_refused(
    make: Factory, workspace: Workspace, conversation: Conversation, volunteer: Person
) -> None:
    await make.conversation(workspace)
    for _ in range(2):
        ok(await send(conversation, conversation.visitor))
    of_queue = ok(await volunteer.http.get(f"{workspace.conversations}?limit=1"))["next"]
    of_messages = ok(await volunteer.http.get(f"{conversation.messages}?limit=1"))["next"]
    for path, cursor in ((conversation.messages, of_queue), (workspace.conversations, of_messages)):
        document = problem(await volunteer.http.get(f"{path}?cursor={cursor}"), 400, "invalid_input")
        assert [fault["parameter"] for fault in document["errors"]] == ["cursor"]


async def test_a_state_that_there_is_not_is_refused(workspace: Workspace, volunteer: Person) -> None:
    document = problem(await volunteer.http.get(f"{workspace.conversations}?state=lost"), 400, "invalid_input")
    assert [fault["parameter"] for fault in document["errors"]] == ["state"]


async def test_twenty_senders_at_once_leave_no_gap(
    make: Factory, workspace: Workspace, conversation: Conversation, volunteer: Person
) -> None:
    ok(await workspace.owner.http.patch(f"{workspace.path}/settings", json={"sections": {"chat": {"capacity": 20}}}))
    ok(await volunteer.http.post(f"{conversation.path}/claim"))
    colleagues = [await make.member(workspace) for _ in range(18)]
    for colleague in colleagues:
        ok(await colleague.http.post(f"{conversation.path}/join"))
    senders = [conversation.visitor, volunteer, *colleagues]
    answers = await asyncio.gather(
        *(send(conversation, sender, f"{sender.id} {turn}") for turn in range(3) for sender in senders)
    )
    sent = sorted((message["number"], message["text"]) for message in map(ok, answers))
    # Behind what the nineteen did.
    assert [number for number, _ in sent] == list(range(20, 80))
    stored = [message for message in await history(conversation) if message["action"] is None]
    assert [(message["number"], message["text"]) for message in stored] == sent
    assert ok(await volunteer.http.get(conversation.path))["message_count"] == 79


async def test_sending_again_is_harmless(conversation: Conversation) -> None:
    client_message_id = str(uuid4())
    first, again = [
        ok(await send(conversation, conversation.visitor, client_message_id=client_message_id)) for _ in range(2)
    ]
    assert first == again
    assert first["client_message_id"] == client_message_id
    assert len(await history(conversation)) == 1


async def test_sending_ten_times_at_once_is_sending_once(conversation: Conversation) -> None:
    client_message_id = str(uuid4())
    answers = await asyncio.gather(
        *(send(conversation, conversation.visitor, client_message_id=client_message_id) for _ in range(10))
    )
    assert len({answer.text for answer in answers if ok(answer)}) == 1
    assert len(await history(conversation)) == 1


async def test_two_authors_may_call_their_messages_the_same(conversation: Conversation, volunteer: Person) -> None:
    ok(await volunteer.http.post(f"{conversation.path}/claim"))
    client_message_id = str(uuid4())
    sent = [
        ok(await send(conversation, author, client_message_id=client_message_id))
        for author in (conversation.visitor, volunteer)
    ]
    assert [message["number"] for message in sent] == [2, 3]


async def test_one_name_can_be_used_in_two_conversations(make: Factory, conversation: Conversation) -> None:
    other = await make.conversation(conversation.workspace)
    client_message_id = str(uuid4())
    for one in (conversation, other):
        assert ok(await send(one, one.visitor, client_message_id=client_message_id))["number"] == 1


async def test_a_message_that_was_sent_is_found_even_after_the_end(conversation: Conversation) -> None:
    client_message_id = str(uuid4())
    sent = ok(await send(conversation, conversation.visitor, client_message_id=client_message_id))
    ok(await conversation.visitor.http.post(f"{conversation.path}/close"))
    assert ok(await send(conversation, conversation.visitor, client_message_id=client_message_id)) == sent


@pytest.mark.parametrize("rivals", [1, 8])
async def test_of_two_hundred_claims_at_once_one_wins_and_the_others_are_told_who(
    make: Factory, workspace: Workspace, conversation: Conversation, rivals: int
) -> None:
    staff = [await make.member(workspace) for _ in range(rivals)]
    claims = [staff[number % rivals] for number in range(200)]
    answers = await asyncio.gather(*(person.http.post(f"{conversation.path}/claim") for person in claims))
    claimed = ok(await conversation.visitor.http.get(conversation.path))
    assert claimed["state"] == "active"
    (winner,) = map(UUID, claimed["staff_ids"])
    assert winner in {person.id for person in staff}
    for person, answer in zip(claims, answers, strict=True):
        if person.id == winner:
            assert ok(answer) == claimed
        else:
            assert problem(answer, 409, "conversation_claimed")["staff_ids"] == [str(winner)]
    # The first claim counts, and no other leaves a trace.
    assert claimed["version"] == 2


async def test_a_closed_conversation_is_not_claimed(conversation: Conversation, volunteer: Person) -> None:
    ok(await conversation.visitor.http.post(f"{conversation.path}/close"))
    problem(await volunteer.http.post(f"{conversation.path}/claim"), 409, "conversation_closed")


async def test_closing_again_changes_nothing(conversation: Conversation, volunteer: Person) -> None:
    answers = await asyncio.gather(
        *(person.http.post(f"{conversation.path}/close") for person in (conversation.visitor, volunteer) * 3)
    )
    assert len({answer.text for answer in answers if ok(answer)}) == 1
    assert answers[0].json()["version"] == 2


async def test_staff_claim_before_they_answer(conversation: Conversation, volunteer: Person) -> None:
    problem(await send(conversation, volunteer), 409, "conversation_not_claimed")
    ok(await volunteer.http.post(f"{conversation.path}/claim"))
    ok(await send(conversation, volunteer))


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"text": ""}, "/text"),
        ({"text": "x" * 10_001}, "/text"),
        ({"text": "a\0b"}, "/text"),
        ({"text": 7}, "/text"),
        ({"text": None}, "/text"),
        ({"text": "a", "client_message_id": "1"}, "/client_message_id"),
        ({"text": "a", "client_message_id": None}, "/client_message_id"),
        ({"text": "a", "number": 7}, ""),
    ],
)
async def test_what_is_no_message_is_refused(conversation: Conversation, body: dict[str, Any], pointer: str) -> None:
    document = problem(await conversation.visitor.http.post(conversation.messages, json=body), 400, "invalid_input")
    assert [fault["pointer"] for fault in document["errors"]] == [pointer]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 10_000,
        "🎉" * 10_000,
        "two\nlines\tand a tab",
        '"number":-1,{"number":-1}',
        "\u202e\ufeff\U0010ffff",
        "<b>",
    ],
)
async def test_a_text_comes_back_as_it_was_sent(conversation: Conversation, text: str) -> None:
    ok(await send(conversation, conversation.visitor, text))
    assert [message["text"] for message in await history(conversation)] == [text]


class TestVisibility:
    async def test_a_visitor_sees_nothing_of_other_visitors(
        self, make: Factory, workspace: Workspace, conversation: Conversation
    ) -> None:
        other = await make.visitor("Eve")
        own = await make.conversation(workspace, visitor=other)
        assert [item["id"] for item in ok(await other.http.get(workspace.conversations))["items"]] == [str(own.id)]
        for refused in (
            await other.http.get(conversation.path),
            await other.http.get(conversation.messages),
            await send(conversation, other),
            await other.http.post(f"{conversation.path}/claim"),
            await other.http.post(f"{conversation.path}/close"),
        ):
            problem(refused, 404, "not_found")

    async def test_a_hidden_conversation_looks_like_one_that_is_not_there(
        self, make: Factory, conversation: Conversation
    ) -> None:
        other = await make.visitor("Eve")
        hidden = problem(await other.http.get(conversation.path), 404, "not_found")
        missing = problem(await other.http.get(f"{conversation.workspace.conversations}/{uuid4()}"), 404, "not_found")
        assert {**hidden, "request_id": ""} == {**missing, "request_id": ""}

    async def test_staff_of_another_workspace_see_nothing(self, make: Factory, conversation: Conversation) -> None:
        elsewhere = await make.workspace()
        stranger = await make.member(elsewhere, "chat.supervisor", "administrator")
        # By its own path, and by the path of a workspace in which the stranger may see everything.
        for path in (conversation.path, f"{elsewhere.conversations}/{conversation.id}"):
            problem(await stranger.http.get(path), 404, "not_found")
            problem(await stranger.http.get(f"{path}/messages"), 404, "not_found")
            problem(await stranger.http.post(f"{path}/claim"), 404, "not_found")
            problem(await stranger.http.post(f"{path}/messages", json={"text": "hello"}), 404, "not_found")
        assert ok(await stranger.http.get(conversation.workspace.conversations))["items"] == []
        assert ok(await stranger.http.get(elsewhere.conversations))["items"] == []

    async def test_a_visitor_claims_nothing(self, conversation: Conversation) -> None:
        problem(await conversation.visitor.http.post(f"{conversation.path}/claim"), 403, "forbidden")

    async def test_a_member_without_a_role_in_the_chat_sees_nothing(
        self, make: Factory, conversation: Conversation
    ) -> None:
        member = await make.member(conversation.workspace, "member")
        problem(await member.http.get(conversation.path), 404, "not_found")
        assert ok(await member.http.get(conversation.workspace.conversations))["items"] == []

    async def test_nobody_must_say_who_they_are(self, nobody: httpx2.AsyncClient, conversation: Conversation) -> None:
        for refused in (
            await nobody.get(conversation.workspace.conversations),
            await nobody.post(conversation.workspace.conversations, json={}),
            await nobody.get(conversation.path),
            await nobody.get(conversation.messages),
            await nobody.get(f"{conversation.workspace.conversations}/{uuid4()}"),
        ):
            problem(refused, 401, "unauthenticated")
