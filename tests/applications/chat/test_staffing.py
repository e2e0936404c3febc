"""Who of the staff is in a conversation: capacity, rank, and what everybody is told of it."""

import asyncio
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.factories import Conversation, Factory, Person, Workspace, ok, problem
from tests.kernel.workspaces.acting import make_role, remove, set_roles, suspend


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
async def vera(make: Factory, workspace: Workspace) -> Person:
    """A volunteer."""
    return await make.member(workspace, name="Vera")


@pytest.fixture
async def otto(make: Factory, workspace: Workspace) -> Person:
    """Another volunteer."""
    return await make.member(workspace, name="Otto")


@pytest.fixture
async def susi(make: Factory, workspace: Workspace) -> Person:
    """A supervisor."""
    return await make.member(workspace, "chat.supervisor", name="Susi")


@pytest.fixture
async def conversation(make: Factory, workspace: Workspace, vera: Person) -> Conversation:
    """One that Vera has claimed."""
    return await make.conversation(workspace, claimed_by=vera, message={"text": "Hello?"})


async def set_capacity(workspace: Workspace, capacity: int) -> None:
    sections = {"chat": {"capacity": capacity}}
    ok(await workspace.owner.http.patch(f"{workspace.path}/settings", json={"sections": sections}))


async def staff_of(conversation: Conversation) -> list[str]:
    """Return who is in it, as everybody sees it."""
    staff_ids: list[str] = ok(await conversation.visitor.http.get(conversation.path))["staff_ids"]
    return staff_ids


async def actions_of(conversation: Conversation) -> list[tuple[str, str, str]]:
    """Return what was done in it, by whom to whom."""
    items = ok(await conversation.visitor.http.get(f"{conversation.messages}?limit=200"))["items"]
    assert [item["number"] for item in items] == list(range(len(items), 0, -1))
    return [(item["action"], item["author_id"], item["about_id"]) for item in items[::-1] if item["action"]]


def ids(*people: Person) -> list[str]:
    return [str(person.id) for person in people]


async def add(by: Person, conversation: Conversation, person: Person) -> httpx2.Response:
    return await by.http.post(f"{conversation.path}/staff", json={"account_id": str(person.id)})


async def replace(by: Person, conversation: Conversation, *people: Person) -> httpx2.Response:
    return await by.http.put(f"{conversation.path}/staff", json={"account_ids": ids(*people)})


async def test_several_come_and_go(conversation: Conversation, vera: Person, otto: Person) -> None:
    joined = ok(await otto.http.post(f"{conversation.path}/join"))
    assert (joined["state"], joined["staff_ids"]) == ("active", ids(vera, otto))
    ok(await otto.http.post(conversation.messages, json={"text": "Two of us."}))
    left = ok(await vera.http.post(f"{conversation.path}/leave"))
    assert (left["state"], left["staff_ids"]) == ("active", ids(otto))
    problem(await vera.http.post(conversation.messages, json={"text": "Wait."}), 409, "not_in_conversation")
    assert await actions_of(conversation) == [
        ("joined", *ids(vera, vera)),
        ("joined", *ids(otto, otto)),
        ("left", *ids(vera, vera)),
    ]


async def test_when_the_last_one_leaves_the_visitor_waits_again(
    conversation: Conversation, vera: Person, otto: Person
) -> None:
    ok(await vera.http.post(conversation.messages, json={"text": "Hello."}))
    assert ok(await vera.http.get(f"{conversation.path}/case"))["waiting_since"] is None
    left = ok(await vera.http.post(f"{conversation.path}/leave"))
    assert (left["state"], left["staff_ids"]) == ("waiting", [])
    # The first claim stays the first.
    assert left["claimed_at"] is not None
    case = ok(await vera.http.get(f"{conversation.path}/case"))
    assert case["waiting_since"] > case["claimed_at"]
    problem(await vera.http.post(f"{conversation.path}/leave"), 409, "conversation_not_claimed")
    problem(await otto.http.post(f"{conversation.path}/join"), 409, "conversation_not_claimed")
    again = ok(await otto.http.post(f"{conversation.path}/claim"))
    assert (again["staff_ids"], again["claimed_at"]) == (ids(otto), left["claimed_at"])


async def test_coming_again_changes_nothing(conversation: Conversation, vera: Person, otto: Person) -> None:
    answers = [ok(await otto.http.post(f"{conversation.path}/join")) for _ in range(2)]
    assert answers[0] == answers[1]
    assert ok(await vera.http.post(f"{conversation.path}/claim")) == answers[0]
    problem(await vera.http.post(f"{conversation.path}/hand-over", json={"account_id": str(vera.id)}), 409, "not_staff")
    assert await staff_of(conversation) == ids(vera, otto)


async def test_one_more_than_there_may_be(
    make: Factory, workspace: Workspace, conversation: Conversation, vera: Person, otto: Person, susi: Person
) -> None:
    await set_capacity(workspace, 2)
    ok(await otto.http.post(f"{conversation.path}/join"))
    late = await make.member(workspace)
    for answer in (
        await late.http.post(f"{conversation.path}/join"),
        await add(susi, conversation, late),
        await replace(susi, conversation, vera, otto, late),
    ):
        assert problem(answer, 409, "conversation_full")["capacity"] == 2
    assert await staff_of(conversation) == ids(vera, otto)
    # A smaller capacity sends nobody away.
    await set_capacity(workspace, 1)
    assert await staff_of(conversation) == ids(vera, otto)
    ok(await replace(susi, conversation, late))
    assert await staff_of(conversation) == ids(late)


async def test_of_many_who_come_at_once_as_many_get_in_as_there_is_room(
    make: Factory, workspace: Workspace, conversation: Conversation, vera: Person, susi: Person
) -> None:
    await set_capacity(workspace, 4)
    many = [await make.member(workspace) for _ in range(10)]
    answers = await asyncio.gather(
        *(person.http.post(f"{conversation.path}/join") for person in many[:5]),
        *(add(susi, conversation, person) for person in many[5:]),
    )
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 7
    inside = {str(person.id) for person, answer in zip(many, answers, strict=True) if answer.is_success}
    found = await staff_of(conversation)
    assert (found[0], set(found[1:])) == (str(vera.id), inside)
    assert len(await actions_of(conversation)) == 4


async def test_the_set_is_replaced_by_two_at_once(
    make: Factory, workspace: Workspace, conversation: Conversation, susi: Person
) -> None:
    people = [await make.member(workspace) for _ in range(4)]
    wanted = (people[:2], people[2:])
    answers = await asyncio.gather(*(replace(susi, conversation, *each) for each in wanted * 3))
    assert all(answer.is_success for answer in answers)
    assert await staff_of(conversation) in [ids(*each) for each in wanted]
    # Who was let in and sent out adds up to who is there.
    inside: set[str] = set()
    for action, _, about in await actions_of(conversation):
        if action == "removed":
            inside.remove(about)
        else:
            assert about not in inside
            inside.add(about)
    assert inside == set(await staff_of(conversation))


async def test_a_supervisor_decides_who_is_in_it(
    conversation: Conversation, vera: Person, otto: Person, susi: Person
) -> None:
    assert ok(await add(susi, conversation, otto))["staff_ids"] == ids(vera, otto)
    assert (await susi.http.delete(f"{conversation.path}/staff/{vera.id}")).status_code == 204
    # Whoever is in it already stays first.
    assert ok(await replace(susi, conversation, vera, susi, otto, vera))["staff_ids"] == ids(otto, vera, susi)
    assert await actions_of(conversation) == [
        ("joined", *ids(vera, vera)),
        ("added", *ids(susi, otto)),
        ("removed", *ids(susi, vera)),
        ("added", *ids(susi, vera)),
        ("added", *ids(susi, susi)),
    ]
    document = problem(
        await susi.http.put(f"{conversation.path}/staff", json={"account_ids": []}), 400, "invalid_input"
    )
    assert [fault["pointer"] for fault in document["errors"]] == ["/account_ids"]


async def test_a_waiting_one_is_given_to_somebody(
    make: Factory, workspace: Workspace, otto: Person, susi: Person
) -> None:
    conversation = await make.conversation(workspace)
    given = ok(await add(susi, conversation, otto))
    assert (given["state"], given["staff_ids"]) == ("active", ids(otto))
    assert given["claimed_at"] is not None


@pytest.mark.parametrize("who", ["stranger", "member", "suspended", "gone", "nobody"])
async def test_who_does_not_answer_visitors_is_not_let_in(
    who: str, make: Factory, workspace: Workspace, conversation: Conversation, vera: Person, susi: Person
) -> None:
    person = await (make.person() if who == "stranger" else make.member(workspace, *(["member"] * (who == "member"))))
    if who == "suspended":
        ok(await suspend(workspace, workspace.owner, person))
    elif who == "gone":
        assert (await remove(workspace, workspace.owner, person)).is_success
    account_id = str(uuid4() if who == "nobody" else person.id)
    for answer in (
        await susi.http.post(f"{conversation.path}/staff", json={"account_id": account_id}),
        await susi.http.put(f"{conversation.path}/staff", json={"account_ids": [account_id]}),
        await vera.http.post(f"{conversation.path}/hand-over", json={"account_id": account_id}),
    ):
        assert problem(answer, 409, "not_staff")["account_id"] == account_id
    assert await staff_of(conversation) == ids(vera)


async def test_a_role_of_ones_own_that_answers_visitors_is_staff(
    make: Factory, workspace: Workspace, conversation: Conversation, vera: Person, susi: Person
) -> None:
    role = await make_role(workspace, workspace.owner, "chat.conversation.claim", "chat.conversation.read")
    helper = await make.member(workspace, role)
    ok(await add(susi, conversation, helper))
    assert await staff_of(conversation) == ids(vera, helper)


class TestRank:
    async def test_who_stands_above_takes_over(self, conversation: Conversation, otto: Person, susi: Person) -> None:
        ok(await otto.http.post(f"{conversation.path}/join"))
        taken = ok(await susi.http.post(f"{conversation.path}/take-over"))
        assert (taken["state"], taken["staff_ids"]) == ("active", ids(susi))
        assert (await actions_of(conversation))[-1] == ("took_over", *ids(susi, susi))
        # Again, nothing changes.
        assert ok(await susi.http.post(f"{conversation.path}/take-over")) == taken

    async def test_who_stands_as_high_does_not(
        self, make: Factory, workspace: Workspace, conversation: Conversation, susi: Person
    ) -> None:
        ok(await susi.http.post(f"{conversation.path}/take-over"))
        other = await make.member(workspace, "chat.supervisor")
        refused = problem(await other.http.post(f"{conversation.path}/take-over"), 403, "outranked")
        assert refused["account_id"] == str(susi.id)
        assert await staff_of(conversation) == ids(susi)
        # An administrator does, and the owner from them.
        administrator = await make.member(workspace, "administrator")
        ok(await administrator.http.post(f"{conversation.path}/take-over"))
        ok(await workspace.owner.http.post(f"{conversation.path}/take-over"))
        problem(await administrator.http.post(f"{conversation.path}/take-over"), 403, "outranked")
        assert await staff_of(conversation) == ids(workspace.owner)

    async def test_nobody_sends_away_who_stands_above(
        self, workspace: Workspace, conversation: Conversation, otto: Person, susi: Person
    ) -> None:
        owner = workspace.owner
        ok(await owner.http.post(f"{conversation.path}/join"))
        problem(await susi.http.delete(f"{conversation.path}/staff/{owner.id}"), 403, "outranked")
        problem(await replace(susi, conversation, otto), 403, "outranked")
        problem(await susi.http.post(f"{conversation.path}/take-over"), 403, "outranked")
        assert str(owner.id) in await staff_of(conversation)

    async def test_nobody_takes_what_waits(self, make: Factory, workspace: Workspace, susi: Person) -> None:
        waiting = await make.conversation(workspace)
        problem(await susi.http.post(f"{waiting.path}/take-over"), 409, "conversation_not_claimed")


class TestHandOver:
    async def test_somebody_else_goes_on_and_is_told_what_to_know(
        self, conversation: Conversation, vera: Person, otto: Person
    ) -> None:
        to = {"account_id": str(otto.id), "note": "Speaks French."}
        assert ok(await vera.http.post(f"{conversation.path}/hand-over", json=to))["staff_ids"] == ids(otto)
        (note,) = ok(await otto.http.get(f"{conversation.path}/notes"))["items"]
        assert (note["action"], note["text"], note["author_id"]) == ("handed_over", "Speaks French.", str(vera.id))
        assert (await actions_of(conversation))[-1] == ("handed_over", *ids(vera, otto))
        # The visitor sees who goes on, and nothing of the note.
        shown = (await conversation.visitor.http.get(conversation.messages)).text
        assert "French" not in shown

    async def test_to_one_who_is_in_it_already(self, conversation: Conversation, vera: Person, otto: Person) -> None:
        ok(await otto.http.post(f"{conversation.path}/join"))
        ok(await vera.http.post(f"{conversation.path}/hand-over", json={"account_id": str(otto.id)}))
        assert await staff_of(conversation) == ids(otto)

    async def test_of_what_one_is_not_in(self, conversation: Conversation, otto: Person, susi: Person) -> None:
        for person in (otto, susi):
            answer = await person.http.post(f"{conversation.path}/hand-over", json={"account_id": str(susi.id)})
            problem(answer, 409, "not_in_conversation")

    async def test_of_two_at_once_one_counts(
        self, make: Factory, workspace: Workspace, conversation: Conversation, vera: Person
    ) -> None:
        others = [await make.member(workspace) for _ in range(4)]
        answers = await asyncio.gather(
            *(
                vera.http.post(f"{conversation.path}/hand-over", json={"account_id": str(person.id), "note": "Go on."})
                for person in others
            )
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
        assert len(ok(await vera.http.get(f"{conversation.path}/notes"))["items"]) == 1


class TestEnd:
    async def test_nothing_is_changed_after_the_end(
        self, conversation: Conversation, vera: Person, otto: Person, susi: Person
    ) -> None:
        ok(await vera.http.post(f"{conversation.path}/close"))
        closed = ok(await conversation.visitor.http.get(conversation.path))
        for answer in (
            await otto.http.post(f"{conversation.path}/claim"),
            await otto.http.post(f"{conversation.path}/join"),
            await vera.http.post(f"{conversation.path}/leave"),
            await vera.http.post(f"{conversation.path}/hand-over", json={"account_id": str(otto.id)}),
            await add(susi, conversation, otto),
            await replace(susi, conversation, otto),
            await susi.http.delete(f"{conversation.path}/staff/{vera.id}"),
            await susi.http.post(f"{conversation.path}/take-over"),
        ):
            problem(answer, 409, "conversation_closed")
        assert ok(await conversation.visitor.http.get(conversation.path)) == closed

    async def test_it_goes_on_with_those_who_still_can(
        self, workspace: Workspace, conversation: Conversation, vera: Person, otto: Person
    ) -> None:
        ok(await otto.http.post(f"{conversation.path}/join"))
        ok(await vera.http.post(f"{conversation.path}/close"))
        ok(await set_roles(workspace, workspace.owner, vera, "member"))
        reopened = ok(await conversation.visitor.http.post(f"{conversation.path}/reopen"))
        assert (reopened["state"], reopened["staff_ids"], reopened["closed_at"]) == ("active", ids(otto), None)
        ok(await otto.http.post(conversation.messages, json={"text": "Back again."}))
        ok(await otto.http.post(f"{conversation.path}/close"))
        ok(await suspend(workspace, workspace.owner, otto))
        reopened = ok(await conversation.visitor.http.post(f"{conversation.path}/reopen"))
        assert (reopened["state"], reopened["staff_ids"]) == ("waiting", [])
        assert ok(await workspace.owner.http.get(f"{conversation.path}/case"))["waiting_since"] is not None

    async def test_a_visitor_has_one_open_conversation_at_a_time(
        self, make: Factory, workspace: Workspace, conversation: Conversation, vera: Person
    ) -> None:
        visitor = conversation.visitor
        refused = problem(await visitor.http.post(workspace.conversations, json={}), 409, "conversation_open")
        assert refused["conversation_id"] == str(conversation.id)
        ok(await visitor.http.post(f"{conversation.path}/close"))
        second = await make.conversation(workspace, visitor=visitor)
        refused = problem(await vera.http.post(f"{conversation.path}/reopen"), 409, "conversation_open")
        assert refused["conversation_id"] == str(second.id)
        ok(await visitor.http.post(f"{second.path}/close"))
        ok(await vera.http.post(f"{conversation.path}/reopen"))
        # Elsewhere they may have another.
        await make.conversation(visitor=visitor)

    async def test_of_many_that_are_opened_at_once_there_is_one(self, make: Factory, workspace: Workspace) -> None:
        visitor = await make.visitor()
        new: dict[str, Any] = {"message": {"text": "Hello?"}}
        answers = await asyncio.gather(*(visitor.http.post(workspace.conversations, json=new) for _ in range(10)))
        assert sorted(answer.status_code for answer in answers) == [201, *[409] * 9]
        (one,) = ok(await visitor.http.get(workspace.conversations))["items"]
        assert {answer.json().get("conversation_id", one["id"]) for answer in answers} == {one["id"]}
        assert one["message_count"] == 1
