"""`Idempotency-Key`: the same request under the same key is carried out once."""

import asyncio
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from courtyard.kernel.database import WORKSPACE, Prepared, ReadUnit
from courtyard.kernel.http import IdempotencyKeyRow
from tests.factories import PASSWORD, Conversation, Factory, Workspace, ok, problem, unique
from tests.running import RunningServer

KEYS = Prepared(
    select(func.count()).select_from(IdempotencyKeyRow).where(IdempotencyKeyRow.workspace_id == WORKSPACE), int
)


async def keys_of(server: RunningServer, workspace: Workspace) -> int:
    """Return how many keys are stored in a workspace."""
    return await ReadUnit(server.runtime.placement, workspace.id).one(KEYS)


async def messages_of(conversation: Conversation) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = ok(await conversation.visitor.http.get(conversation.messages))["items"]
    return items


async def test_a_request_is_answered_again_without_being_carried_out_again(make: Factory) -> None:
    conversation = await make.conversation()
    headers = {"Idempotency-Key": "key-1"}
    first, second = [
        await conversation.visitor.http.post(conversation.messages, json={"text": "hello"}, headers=headers)
        for _ in range(2)
    ]
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second.headers["content-type"] == first.headers["content-type"]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert len(await messages_of(conversation)) == 1


async def test_without_a_key_each_request_is_another(make: Factory) -> None:
    conversation = await make.conversation()
    for _ in range(2):
        ok(await conversation.visitor.http.post(conversation.messages, json={"text": "hello"}))
    assert len(await messages_of(conversation)) == 2
    assert await keys_of(make.server, conversation.workspace) == 0


@pytest.mark.parametrize("other", ["body", "path"])
async def test_a_key_is_refused_for_another_request(make: Factory, other: str) -> None:
    conversation = await make.conversation()
    second = await make.conversation(conversation.workspace, visitor=conversation.visitor)
    headers = {"Idempotency-Key": "key-1"}
    http = conversation.visitor.http
    ok(await http.post(conversation.messages, json={"text": "hello"}, headers=headers))
    path, text = (second.messages, "hello") if other == "path" else (conversation.messages, "hello!")
    problem(await http.post(path, json={"text": text}, headers=headers), 422, "idempotency_key_reused")
    assert len(await messages_of(conversation)) == 1
    assert await messages_of(second) == []


async def test_twenty_requests_at_once_are_carried_out_once(make: Factory) -> None:
    conversation = await make.conversation()
    headers = {"Idempotency-Key": unique("key")}
    answers = await asyncio.gather(
        *(
            conversation.visitor.http.post(conversation.messages, json={"text": "hello"}, headers=headers)
            for _ in range(20)
        )
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert [message["number"] for message in await messages_of(conversation)] == [1]
    assert await keys_of(make.server, conversation.workspace) == 1


async def test_a_refused_request_leaves_no_key(make: Factory) -> None:
    workspace = await make.workspace()
    volunteer = await make.member(workspace)
    conversation = await make.conversation(workspace)
    headers = {"Idempotency-Key": "key-1"}

    async def send() -> httpx2.Response:
        return await volunteer.http.post(conversation.messages, json={"text": "hello"}, headers=headers)

    problem(await send(), 409, "conversation_not_claimed")
    assert await keys_of(make.server, workspace) == 0
    ok(await volunteer.http.post(f"{conversation.path}/claim"))
    ok(await send())


async def test_the_same_key_of_two_people_means_two_requests(make: Factory) -> None:
    workspace = await make.workspace()
    headers = {"Idempotency-Key": "key-1"}
    opened = [
        ok(await (await make.visitor()).http.post(workspace.conversations, json={}, headers=headers)) for _ in range(2)
    ]
    assert opened[0]["id"] != opened[1]["id"]


async def test_the_same_key_in_two_workspaces_means_two_requests(make: Factory) -> None:
    visitor = await make.visitor()
    headers = {"Idempotency-Key": "key-1"}
    opened = [
        ok(await visitor.http.post((await make.workspace()).conversations, json={}, headers=headers)) for _ in range(2)
    ]
    assert opened[0]["id"] != opened[1]["id"]


async def test_whoever_registers_can_repeat_that(make: Factory) -> None:
    key, email = unique("key"), f"{unique('ada')}@example.org"
    new = {"email": email, "password": PASSWORD, "name": "Ada"}
    first, second = [await make.nobody.post("/accounts", json=new, headers={"Idempotency-Key": key}) for _ in range(2)]
    assert ok(second) == ok(first)
    changed = await make.nobody.post("/accounts", json={**new, "password": "x" * 12}, headers={"Idempotency-Key": key})
    problem(changed, 422, "idempotency_key_reused")
    problem(await make.nobody.post("/accounts", json=new), 409, "email_taken")


async def test_whoever_is_not_signed_in_learns_nothing_by_a_key(make: Factory) -> None:
    conversation = await make.conversation()
    headers = {"Idempotency-Key": unique("key")}
    new = {"email": f"{unique('ada')}@example.org", "password": PASSWORD, "name": "Ada"}
    ok(await make.nobody.post("/accounts", json=new, headers=headers))
    for path in ("/workspaces", conversation.messages):
        refused = await make.nobody.post(path, json={"slug": "mine", "name": "Mine"}, headers=headers)
        assert refused.status_code in {400, 401}
    problem(await make.nobody.post(conversation.messages, json={"text": "a"}, headers=headers), 401, "unauthenticated")


async def test_what_is_stored_under_a_key_is_not_the_request(make: Factory) -> None:
    """A body can hold a password, and the plain digest of one could be guessed."""
    email = f"{unique('ada')}@example.org"
    new = {"email": email, "password": "a very secret canary", "name": "Ada"}
    key = unique("key")
    answer = await make.nobody.post("/accounts", json=new, headers={"Idempotency-Key": key})
    ok(answer)
    rows = Prepared(
        select(IdempotencyKeyRow.body, IdempotencyKeyRow.fingerprint).where(
            IdempotencyKeyRow.workspace_id == WORKSPACE, IdempotencyKeyRow.key == key
        ),
        tuple,
    )
    ((body, fingerprint),) = await ReadUnit(make.server.runtime.placement).all(rows)
    assert body == answer.content
    assert b"canary" not in body + fingerprint
    assert len(fingerprint) == 32


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "two words", "tab\tinside", "ümlaut", "\x7f"])
async def test_a_bad_key_is_refused(make: Factory, key: str) -> None:
    conversation = await make.conversation()
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]
    answer = await conversation.visitor.http.post(conversation.messages, json={"text": "hello"}, headers=headers)
    document = problem(answer, 400, "invalid_input")
    assert [fault["parameter"] for fault in document["errors"]] == ["Idempotency-Key"]
    assert await messages_of(conversation) == []


async def test_the_longest_key_is_good(make: Factory) -> None:
    conversation = await make.conversation()
    headers = {"Idempotency-Key": "~" * 255}
    ok(await conversation.visitor.http.post(conversation.messages, json={"text": "hello"}, headers=headers))
