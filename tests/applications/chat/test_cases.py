"""What the staff notes about a conversation, and how far everybody has read."""

import asyncio

import pytest

from tests.factories import Conversation, Factory, Person, Workspace, ok, problem


@pytest.fixture
async def workspace(make: Factory) -> Workspace:
    return await make.workspace()


@pytest.fixture
async def vera(make: Factory, workspace: Workspace) -> Person:
    return await make.member(workspace, name="Vera")


@pytest.fixture
async def otto(make: Factory, workspace: Workspace) -> Person:
    return await make.member(workspace, name="Otto")


@pytest.fixture
async def susi(make: Factory, workspace: Workspace) -> Person:
    return await make.member(workspace, "chat.supervisor", name="Susi")


@pytest.fixture
async def conversation(make: Factory, workspace: Workspace, vera: Person) -> Conversation:
    """One that Vera has claimed, and that begins with a question."""
    return await make.conversation(workspace, claimed_by=vera, message={"text": "Hello?"})


class TestFlag:
    async def test_a_supervisor_is_asked_to_look(
        self, conversation: Conversation, vera: Person, otto: Person, susi: Person
    ) -> None:
        path = f"{conversation.path}/flag"
        problem(await otto.http.put(path, json={"severity": 2}), 409, "not_in_conversation")
        flagged = ok(await vera.http.put(path, json={"severity": 2, "reason": "Sounds lost."}))
        assert (flagged["flag_severity"], flagged["flag_reason"], flagged["flagged_by"]) == (
            2,
            "Sounds lost.",
            str(vera.id),
        )
        # Once more the same: nothing. With more: the time stays, for it has waited since then.
        assert ok(await vera.http.put(path, json={"severity": 2, "reason": "Sounds lost."})) == flagged
        raised = ok(await susi.http.put(path, json={"severity": 3}))
        assert (raised["flag_severity"], raised["flag_reason"], raised["flagged_by"], raised["flagged_at"]) == (
            3,
            None,
            str(susi.id),
            flagged["flagged_at"],
        )
        problem(await vera.http.post(f"{conversation.path}/unflag"), 403, "forbidden")
        for _ in range(2):
            lowered = ok(await susi.http.post(f"{conversation.path}/unflag"))
            assert {lowered[name] for name in ("flag_severity", "flag_reason", "flagged_by", "flagged_at")} == {None}
        notes = ok(await otto.http.get(f"{conversation.path}/notes"))["items"]
        assert [(note["action"], note["text"]) for note in notes] == [
            ("flagged", "Sounds lost."),
            ("flagged", ""),
            ("unflagged", ""),
        ]

    async def test_the_visitor_sees_nothing_of_it(self, conversation: Conversation, vera: Person) -> None:
        visitor = conversation.visitor.http
        before = ok(await visitor.get(conversation.path))
        ok(await vera.http.put(f"{conversation.path}/flag", json={"severity": 3, "reason": "Secret"}))
        ok(await vera.http.put(f"{conversation.path}/tags", json={"tags": ["secret"]}))
        ok(await vera.http.post(f"{conversation.path}/notes", json={"text": "Secret"}))
        ok(await vera.http.post(f"{conversation.path}/handled"))
        assert ok(await visitor.get(conversation.path)) == before
        for path in ("case", "notes"):
            problem(await visitor.get(f"{conversation.path}/{path}"), 403, "forbidden")

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, ""),
            ({"severity": 0}, "/severity"),
            ({"severity": 4}, "/severity"),
            ({"severity": "high"}, "/severity"),
            ({"severity": 1, "reason": ""}, "/reason"),
            ({"severity": 1, "reason": "x" * 4_001}, "/reason"),
        ],
    )
    async def test_what_is_no_flag(
        self, conversation: Conversation, vera: Person, body: dict[str, object], pointer: str
    ) -> None:
        document = problem(await vera.http.put(f"{conversation.path}/flag", json=body), 400, "invalid_input")
        assert [fault["pointer"] for fault in document["errors"]] == [pointer]


class TestWaiting:
    async def waiting_since(self, conversation: Conversation, vera: Person) -> str | None:
        since: str | None = ok(await vera.http.get(f"{conversation.path}/case"))["waiting_since"]
        return since

    async def test_from_the_first_word_that_nobody_has_answered(self, conversation: Conversation, vera: Person) -> None:
        opened = await self.waiting_since(conversation, vera)
        assert opened == ok(await vera.http.get(conversation.path))["created_at"]
        ok(await conversation.visitor.http.post(conversation.messages, json={"text": "Anybody?"}))
        assert await self.waiting_since(conversation, vera) == opened
        ok(await vera.http.post(conversation.messages, json={"text": "Yes."}))
        assert await self.waiting_since(conversation, vera) is None
        first, _ = [
            ok(await conversation.visitor.http.post(conversation.messages, json={"text": text})) for text in "ab"
        ]
        assert await self.waiting_since(conversation, vera) == first["created_at"]

    async def test_until_somebody_says_that_it_is_handled(
        self, conversation: Conversation, vera: Person, otto: Person, susi: Person
    ) -> None:
        problem(await otto.http.post(f"{conversation.path}/handled"), 409, "not_in_conversation")
        for person in (vera, susi):
            ok(await conversation.visitor.http.post(conversation.messages, json={"text": "Thanks!"}))
            assert ok(await person.http.post(f"{conversation.path}/handled"))["waiting_since"] is None

    async def test_what_waits_for_staff_is_not_handled(self, make: Factory, workspace: Workspace, susi: Person) -> None:
        waiting = await make.conversation(workspace)
        problem(await susi.http.post(f"{waiting.path}/handled"), 409, "conversation_not_claimed")

    async def test_until_the_end(self, conversation: Conversation, vera: Person) -> None:
        ok(await conversation.visitor.http.post(f"{conversation.path}/close"))
        assert await self.waiting_since(conversation, vera) is None
        problem(await vera.http.post(f"{conversation.path}/handled"), 409, "conversation_closed")


class TestTags:
    async def test_they_are_set_as_a_whole_also_after_the_end(
        self, conversation: Conversation, vera: Person, otto: Person, susi: Person
    ) -> None:
        path = f"{conversation.path}/tags"
        problem(await otto.http.put(path, json={"tags": ["x"]}), 409, "not_in_conversation")
        assert ok(await vera.http.put(path, json={"tags": ["b", "a", "b"]}))["tags"] == ["b", "a"]
        ok(await vera.http.post(f"{conversation.path}/close"))
        assert ok(await vera.http.put(path, json={"tags": ["far away"]}))["tags"] == ["far away"]
        assert ok(await susi.http.put(path, json={"tags": []}))["tags"] == []

    @pytest.mark.parametrize("tag", ["", " a", "a ", "a  b", "a,b", "a\n", "a\0", "x" * 51, 7, None])
    async def test_what_is_no_tag(self, conversation: Conversation, vera: Person, tag: object) -> None:
        answer = await vera.http.put(f"{conversation.path}/tags", json={"tags": [tag]})
        document = problem(answer, 400, "invalid_input")
        assert [fault["pointer"] for fault in document["errors"]] == ["/tags/0"]

    async def test_there_are_not_too_many(self, conversation: Conversation, vera: Person) -> None:
        many = {"tags": [f"tag-{number}" for number in range(21)]}
        document = problem(await vera.http.put(f"{conversation.path}/tags", json=many), 400, "invalid_input")
        assert [fault["pointer"] for fault in document["errors"]] == ["/tags"]


async def test_notes_can_be_walked_by_pages(conversation: Conversation, vera: Person, otto: Person) -> None:
    # Whoever supports them notes too, without being in it.
    for number in range(5):
        ok(await (vera, otto)[number % 2].http.post(f"{conversation.path}/notes", json={"text": f"note {number}"}))
    first = ok(await vera.http.get(f"{conversation.path}/notes?limit=3"))
    rest = ok(await vera.http.get(f"{conversation.path}/notes?limit=3&cursor={first['next']}"))
    assert [note["text"] for note in (*first["items"], *rest["items"])] == [f"note {number}" for number in range(5)]
    assert rest["next"] is None


class TestSeen:
    async def test_it_never_goes_back(self, conversation: Conversation, vera: Person) -> None:
        visitor, path = conversation.visitor, f"{conversation.path}/seen"
        for text in "abcde":
            ok(await visitor.http.post(conversation.messages, json={"text": text}))
        answers = await asyncio.gather(*(vera.http.put(path, json={"number": number}) for number in (7, 3, 5, 1, 7, 2)))
        assert max(ok(answer)["number"] for answer in answers) == 7
        assert ok(await vera.http.put(path, json={"number": 2})) == {
            "conversation_id": str(conversation.id),
            "account_id": str(vera.id),
            "number": 7,
        }
        ok(await visitor.http.put(path, json={"number": 4}))
        seen = {each["account_id"]: each["number"] for each in ok(await visitor.http.get(path))}
        assert seen == {str(vera.id): 7, str(visitor.id): 4}

    async def test_what_was_not_sent_was_not_seen(self, conversation: Conversation, vera: Person) -> None:
        refused = problem(await vera.http.put(f"{conversation.path}/seen", json={"number": 3}), 409, "message_not_sent")
        assert refused["message_count"] == 2
        for number in (0, -1, 2**53 + 1, "1"):
            answer = await vera.http.put(f"{conversation.path}/seen", json={"number": number})
            problem(answer, 400, "invalid_input")
        assert ok(await vera.http.get(f"{conversation.path}/seen")) == []

    async def test_who_looks_on_does_so_unseen(self, conversation: Conversation, susi: Person, vera: Person) -> None:
        path = f"{conversation.path}/seen"
        ok(await susi.http.put(path, json={"number": 1}))
        assert [each["account_id"] for each in ok(await susi.http.get(path))] == [str(susi.id)]
        for person in (conversation.visitor, vera):
            assert ok(await person.http.get(path)) == []


async def test_everybody_has_their_own_bookmarks(conversation: Conversation, vera: Person, otto: Person) -> None:
    path = f"{conversation.path}/bookmark"
    for _ in range(2):
        assert ok(await vera.http.put(path)) == {"conversation_id": str(conversation.id), "is_bookmarked": True}
    for person in (otto, vera, vera):
        assert (await person.http.delete(path)).status_code == 204
