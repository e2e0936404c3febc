"""`Idempotency-Key`: the same request under the same key is carried out once."""

import asyncio
import hashlib
from typing import Any

import httpx2
import msgspec
import pytest
from sqlalchemy import func, select

from courtyard.kernel.database import WORKSPACE, Prepared, ReadUnit
from courtyard.kernel.http import IdempotencyKeyRow
from tests.factories import Conversation, Factory, Workspace, ok, problem, unique
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
    headers = {"Idempotency-Key": "key-1"}
    http = conversation.visitor.http
    ok(await http.post(conversation.messages, json={"text": "hello"}, headers=headers))
    ok(await http.post(f"{conversation.path}/close"))
    second = await make.conversation(conversation.workspace, visitor=conversation.visitor)
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


async def test_whoever_is_not_signed_in_learns_nothing_by_a_key(make: Factory) -> None:
    conversation = await make.conversation()
    headers = {"Idempotency-Key": unique("key")}
    ok(await conversation.visitor.http.post(conversation.messages, json={"text": "a"}, headers=headers))
    for path in ("/workspaces", conversation.messages):
        refused = await make.nobody.post(path, json={"slug": "mine", "name": "Mine"}, headers=headers)
        assert refused.status_code in {400, 401}
    problem(await make.nobody.post(conversation.messages, json={"text": "a"}, headers=headers), 401, "unauthenticated")


async def test_what_is_stored_under_a_key_is_not_the_request(make: Factory) -> None:
    """A body can hold a secret, and the plain digest of one could be guessed."""
    owner, key = await make.person(), unique("key")
    body = msgspec.json.encode({"slug": unique("canary"), "name": "Canary"})
    headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
    answer = await owner.http.post("/workspaces", content=body, headers=headers)
    ok(answer)
    rows = Prepared(
        select(IdempotencyKeyRow.body, IdempotencyKeyRow.fingerprint).where(
            IdempotencyKeyRow.workspace_id == WORKSPACE, IdempotencyKeyRow.key == key
        ),
        tuple,
    )
    ((kept, fingerprint),) = await ReadUnit(make.server.runtime.placement).all(rows)
    assert kept == answer.content
    request = b"\n".join((b"POST", b"/api/v1/workspaces", body))
    assert len(fingerprint) == 32
    assert fingerprint not in {hashlib.sha256(request).digest(), hashlib.sha256(body).digest()}


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
