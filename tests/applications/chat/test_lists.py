"""The lists of the staff: which conversations are in which, in which order, and what is new in them."""

from typing import Any, get_args

import pytest

from courtyard.applications.chat.queries.lists import LISTS, PREVIEW_CHARACTERS
from courtyard.applications.chat.schemas import CaseListName
from tests.factories import Conversation, Factory, Person, Workspace, ok, problem

LIST_NAMES = get_args(CaseListName)


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
async def vera(make: Factory, workspace: Workspace) -> Person:
    return await make.member(workspace, name="Vera")


@pytest.fixture
async def susi(make: Factory, workspace: Workspace) -> Person:
    return await make.member(workspace, "chat.supervisor", name="Susi")


async def read(workspace: Workspace, person: Person, name: str, **query: Any) -> dict[str, Any]:
    answer: dict[str, Any] = ok(await person.http.get(f"{workspace.path}/chat/cases", params={"list": name, **query}))
    return answer


async def ids(workspace: Workspace, person: Person, name: str, **query: Any) -> list[str]:
    return [line["case"]["id"] for line in (await read(workspace, person, name, **query))["items"]]


async def write(conversation: Conversation, person: Person, text: str = "hello") -> None:
    ok(await person.http.post(conversation.messages, json={"text": text}))


def test_every_list_that_is_named_is_there() -> None:
    assert set(LISTS) == set(LIST_NAMES)


async def test_each_conversation_is_where_it_belongs(
    make: Factory, workspace: Workspace, vera: Person, susi: Person
) -> None:
    waiting, asked, answered, flagged, closed = [
        await make.conversation(workspace, message={"text": "Hello?"}) for _ in range(5)
    ]
    for conversation in (asked, answered, flagged, closed):
        ok(await vera.http.post(f"{conversation.path}/claim"))
    await write(answered, vera)
    ok(await vera.http.put(f"{flagged.path}/flag", json={"severity": 2}))
    ok(await vera.http.post(f"{closed.path}/close"))
    ok(await vera.http.put(f"{closed.path}/bookmark"))
    conversations = {"waiting": waiting, "asked": asked, "answered": answered, "flagged": flagged, "closed": closed}
    named = {str(conversation.id): name for name, conversation in conversations.items()}

    async def found(person: Person) -> dict[str, list[str]]:
        return {name: [named[each] for each in await ids(workspace, person, name)] for name in LIST_NAMES}

    everything = ["closed", "flagged", "answered", "asked", "waiting"]
    assert await found(vera) == {
        "mine": ["flagged", "answered", "asked"],
        "waiting": ["waiting"],
        "unhandled": ["waiting", "asked", "flagged"],
        "flagged": ["flagged"],
        "handled": ["closed", "answered"],
        # What she did last herself is not new to her.
        "unread": [],
        "bookmarked": ["closed"],
        "recent": everything,
    }
    await write(asked, asked.visitor)
    assert (await found(vera))["unread"] == ["asked"]
    assert (await found(susi)) == {
        "mine": [],
        "waiting": ["waiting"],
        "unhandled": ["waiting", "asked", "flagged"],
        "flagged": ["flagged"],
        "handled": ["closed", "answered"],
        "unread": [],
        "bookmarked": [],
        "recent": ["asked", *(name for name in everything if name != "asked")],
    }
    for name in LIST_NAMES:
        for person in (vera, susi):
            counted = await read(workspace, person, name, limit=1, count=True)
            assert counted["total"] == len((await found(person))[name])
            assert (await read(workspace, person, name))["total"] is None


async def test_a_line_says_what_was_said_last_and_what_is_new(
    make: Factory, workspace: Workspace, vera: Person, susi: Person
) -> None:
    conversation = await make.conversation(workspace, message={"text": "x" * 300})

    async def line(person: Person) -> dict[str, Any]:
        (found,) = (await read(workspace, person, "recent"))["items"]
        return dict(found)

    first = await line(vera)
    assert first["last_message"]["text"] == "x" * PREVIEW_CHARACTERS
    assert (first["last_message"]["number"], first["unread_count"], first["is_bookmarked"]) == (1, 1, False)
    ok(await vera.http.post(f"{conversation.path}/claim"))
    claimed = await line(susi)
    assert (claimed["last_message"]["action"], claimed["last_message"]["text"]) == ("joined", "")
    assert claimed["unread_count"] == 2
    assert claimed["case"] == ok(await susi.http.get(f"{conversation.path}/case"))
    ok(await susi.http.put(f"{conversation.path}/seen", json={"number": 1}))
    ok(await susi.http.put(f"{conversation.path}/bookmark"))
    assert ((await line(susi))["unread_count"], (await line(susi))["is_bookmarked"]) == (1, True)
    assert ((await line(vera))["unread_count"], (await line(vera))["is_bookmarked"]) == (0, False)
    empty = await make.conversation(workspace)
    assert (await read(workspace, vera, "recent"))["items"][0]["last_message"] is None
    assert (await ids(workspace, vera, "recent"))[0] == str(empty.id)


@pytest.mark.parametrize("name", LIST_NAMES)
async def test_a_list_can_be_walked_by_pages(name: str, make: Factory, workspace: Workspace, vera: Person) -> None:
    for number in range(7):
        conversation = await make.conversation(workspace, message={"text": "Hello?"})
        if name != "waiting":
            ok(await vera.http.post(f"{conversation.path}/claim"))
        if name == "flagged":
            ok(await vera.http.put(f"{conversation.path}/flag", json={"severity": 1 + number % 3}))
        elif name == "handled":
            await write(conversation, vera)
        elif name == "unread":
            await write(conversation, conversation.visitor)
        elif name == "bookmarked":
            ok(await vera.http.put(f"{conversation.path}/bookmark"))
    whole = await ids(workspace, vera, name)
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        part = await read(workspace, vera, name, limit=3, **cursor)
        found += [line["case"]["id"] for line in part["items"]]
        if part["next"] is None:
            break
        cursor = {"cursor": part["next"]}
    assert (len(found), found) == (7, whole)


async def test_the_conversations_of_one_visitor(make: Factory, workspace: Workspace, vera: Person) -> None:
    visitor = await make.visitor()
    theirs = []
    for _ in range(3):
        conversation = await make.conversation(workspace, visitor=visitor)
        theirs.append(str(conversation.id))
        ok(await visitor.http.post(f"{conversation.path}/close"))
    await make.conversation(workspace)
    assert await ids(workspace, vera, "recent", visitor_id=str(visitor.id)) == theirs[::-1]
    assert await ids(workspace, vera, "waiting", visitor_id=str(visitor.id)) == []
    assert (await read(workspace, vera, "handled", visitor_id=str(visitor.id), count=True))["total"] == 3


async def test_what_is_no_list(make: Factory, workspace: Workspace, vera: Person) -> None:
    for query, parameter in (
        ({"list": "lost"}, "list"),
        ({"visitor_id": "x"}, "visitor_id"),
        ({"cursor": "x"}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"count": "perhaps"}, "count"),
    ):
        answer = await vera.http.get(f"{workspace.path}/chat/cases", params=query)
        document = problem(answer, 400, "invalid_input")
        assert [fault["parameter"] for fault in document["errors"]] == [parameter]
    visitor = await make.visitor()
    problem(await visitor.http.get(f"{workspace.path}/chat/cases"), 403, "forbidden")
