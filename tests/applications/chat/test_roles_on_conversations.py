"""A role that is given on one conversation: everything of the staff there, and nothing anywhere else."""

import asyncio

import pytest

from tests.factories import Conversation, Factory, Person, Workspace, ok, problem
from tests.kernel.workspaces.acting import grant


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
async def mine(make: Factory, workspace: Workspace) -> Conversation:
    """The conversation on which the helper has a role."""
    return await make.conversation(workspace, message={"text": "Can somebody help?"})


@pytest.fixture
async def other(make: Factory, workspace: Workspace) -> Conversation:
    return await make.conversation(workspace, message={"text": "Secret"})


@pytest.fixture
async def helper(make: Factory, workspace: Workspace, mine: Conversation) -> Person:
    """A member without any right to the queue, who is a volunteer in one conversation."""
    helper = await make.member(workspace, "member", name="Hilla")
    ok(await grant(workspace, workspace.owner, helper, "chat.volunteer", mine))
    return helper


async def test_it_is_read_claimed_answered_and_closed(mine: Conversation, helper: Person) -> None:
    assert ok(await helper.http.get(mine.path))["id"] == str(mine.id)
    assert [each["text"] for each in ok(await helper.http.get(mine.messages))["items"]] == ["Can somebody help?"]
    problem(await helper.http.post(mine.messages, json={"text": "Yes."}), 409, "conversation_not_claimed")
    assert ok(await helper.http.post(f"{mine.path}/claim"))["staff_ids"] == [str(helper.id)]
    ok(await helper.http.post(mine.messages, json={"text": "Yes."}))
    assert ok(await mine.visitor.http.get(mine.messages))["items"][0]["author_id"] == str(helper.id)
    assert ok(await helper.http.post(f"{mine.path}/close"))["state"] == "closed"


async def test_no_other_is_there(other: Conversation, helper: Person) -> None:
    for answer in (
        await helper.http.get(other.path),
        await helper.http.get(other.messages),
        await helper.http.post(f"{other.path}/claim"),
        await helper.http.post(f"{other.path}/close"),
        await helper.http.post(other.messages, json={"text": "Hello"}),
    ):
        problem(answer, 404, "not_found")


async def test_the_list_has_it_beside_ones_own(
    make: Factory, workspace: Workspace, mine: Conversation, other: Conversation, helper: Person
) -> None:
    opened = await make.conversation(workspace, visitor=helper)
    listed = ok(await helper.http.get(workspace.conversations))["items"]
    assert [each["id"] for each in listed] == [str(mine.id), str(opened.id)]
    first = ok(await helper.http.get(f"{workspace.conversations}?limit=1"))
    rest = ok(await helper.http.get(f"{workspace.conversations}?limit=1&cursor={first['next']}"))
    assert [each["id"] for each in (*first["items"], *rest["items"])] == [str(mine.id), str(opened.id)]
    ok(await helper.http.post(f"{mine.path}/claim"))
    waiting = ok(await helper.http.get(f"{workspace.conversations}?state=waiting"))["items"]
    assert [each["id"] for each in waiting] == [str(opened.id)]
    assert str(other.id) in {
        each["id"] for each in ok(await workspace.owner.http.get(workspace.conversations))["items"]
    }


async def test_a_socket_hears_and_answers_in_it_alone(
    make: Factory, workspace: Workspace, mine: Conversation, other: Conversation, helper: Person
) -> None:
    socket, here = await make.socket(helper), {"workspace": workspace.slug}
    await socket.ok("subscribe", **here, topic=mine.topic)
    for topic, code in ((other.topic, "not_found"), ("chat.queue", "forbidden")):
        assert (await socket.call("subscribe", {**here, "topic": topic}))["problem"]["code"] == code
    await socket.ok("chat.conversation.claim", **here, conversation_id=str(mine.id))
    await socket.ok("chat.message.send", **here, conversation_id=str(mine.id), text="Yes.")
    refused = await socket.call("chat.message.send", {**here, "conversation_id": str(other.id), "text": "Hello"})
    assert refused["problem"]["code"] == "not_found"
    ok(await other.visitor.http.post(other.messages, json={"text": "Anybody?"}))
    ok(await mine.visitor.http.post(mine.messages, json={"text": "Thanks."}))
    events = await socket.wait_for("event", 4)
    assert {event["topic"] for event in events} == {mine.topic}


async def test_when_it_is_taken_away_a_socket_is_cut(
    make: Factory, workspace: Workspace, mine: Conversation, helper: Person
) -> None:
    socket, here = await make.socket(helper), {"workspace": workspace.slug}
    await socket.ok("subscribe", **here, topic=mine.topic)
    member = ok(await helper.http.get(f"{workspace.path}/members/{helper.id}"))
    path = f"{workspace.path}/members/{helper.id}/grants/{member['grants'][0]['id']}"
    assert (await workspace.owner.http.delete(path)).status_code == 204
    await asyncio.wait_for(socket.client.wait(), 5)
    problem(await helper.http.get(mine.path), 404, "not_found")
    assert ok(await helper.http.get(workspace.conversations))["items"] == []


async def test_a_visitor_of_it_stays_a_visitor(make: Factory, workspace: Workspace) -> None:
    """Whoever opened it writes at once, also with a role on it: nobody waits for themselves."""
    member = await make.member(workspace, "member")
    conversation = await make.conversation(workspace, visitor=member)
    ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
    ok(await member.http.post(conversation.messages, json={"text": "Hello?"}))
