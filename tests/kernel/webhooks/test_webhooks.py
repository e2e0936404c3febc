"""From what happens in a workspace to the receivers that it names."""

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from courtyard.kernel.database import Prepared
from courtyard.kernel.webhooks.models import WebhookPendingRow
from tests.conftest import ServerFactory
from tests.factories import Factory, Workspace, ok, problem
from tests.kernel.webhooks.conftest import IN_PROCESS, Receiver, deliveries, detail, listening, name, until
from tests.running import MovableClock

PENDING = Prepared(select(func.count()).select_from(WebhookPendingRow), int, across_workspaces=True)


class TestTelling:
    async def test_a_receiver_is_told_what_happens_and_can_believe_it(
        self, make: Factory, workspace: Workspace, receiver: Receiver
    ) -> None:
        endpoint = await name(workspace, receiver.url, "chat.message.*", "chat.conversation.opened")
        conversation = await make.conversation(workspace, message={"text": "hello"})
        sent = ok(await conversation.visitor.http.post(conversation.messages, json={"text": "again"}))
        ok(await conversation.visitor.http.get(conversation.path))
        await receiver.reach(3)
        messages = {
            (message["type"], message["number"]): message
            for message in (receiver.verified(endpoint["secret"], number) for number in range(3))
        }
        told = messages["chat.message.sent", 3]
        assert told["topic"] == conversation.topic
        assert told["workspace_id"] == str(workspace.id)
        assert told["actor_id"] == str(conversation.visitor.id)
        assert told["data"]["message"] == sent
        assert receiver.told[0].path == "/hook"
        assert receiver.told[0].headers["Content-Type"] == "application/json"
        identifiers = {told.headers["webhook-id"] for told in receiver.told}
        assert len(identifiers) == 3
        await until(lambda: _all(workspace, endpoint, "delivered", 3))
        (newest, *_) = await deliveries(workspace, endpoint)
        found = await detail(workspace, newest["id"])
        (attempt,) = found["attempts"]
        assert (attempt["status"], attempt["error"], attempt["url"]) == (204, None, receiver.url)
        assert attempt["request_headers"]["webhook-id"] in identifiers
        assert found["body"]["type"] == newest["event_name"]
        assert endpoint["secret"] not in json.dumps(found)

    async def test_others_are_told_nothing(self, make: Factory, workspace: Workspace, receiver: Receiver) -> None:
        elsewhere = await make.workspace()
        async with listening() as other:
            await name(elsewhere, other.url)
            await name(workspace, receiver.url, "chat.message.sent")
            await make.conversation(workspace, message={"text": "hello"})
            await receiver.reach(1)
            (database,) = make.server.runtime.placement.databases()
            await until(lambda: _nothing_pending(database))
            assert other.told == []
            assert [json.loads(told.body)["type"] for told in receiver.told] == ["chat.message.sent"]

    async def test_what_is_refused_is_not_told(self, make: Factory, workspace: Workspace, receiver: Receiver) -> None:
        await name(workspace, receiver.url, "chat.message.sent")
        conversation = await make.conversation(workspace)
        problem(await conversation.visitor.http.post(conversation.messages, json={"text": ""}), 400, "invalid_input")
        ok(await conversation.visitor.http.post(conversation.messages, json={"text": "good"}))
        await receiver.reach(1)
        assert [json.loads(told.body)["data"]["message"]["text"] for told in receiver.told] == ["good"]

    async def test_many_processes_tell_each_thing_once(
        self, make: Factory, workspace: Workspace, receiver: Receiver, server_factory: ServerFactory,
        settings: dict[str, Any], clock: MovableClock,
    ) -> None:  # fmt: skip
        other = await server_factory(clock=clock, **settings)
        endpoint = await name(workspace, receiver.url, "chat.message.sent")
        conversation = await make.conversation(workspace)
        send = conversation.visitor.http.post
        await asyncio.gather(*(send(conversation.messages, json={"text": f"{number}"}) for number in range(12)))
        await asyncio.gather(*(server.app.webhooks.turn() for server in (make.server, other) for _ in range(3)))
        await receiver.reach(12)
        await until(lambda: _all(workspace, endpoint, "delivered", 12))
        texts = sorted(int(json.loads(told.body)["data"]["message"]["text"]) for told in receiver.told)
        assert texts == [*range(12)]


class TestTrouble:
    @IN_PROCESS
    async def test_what_fails_is_tried_again_later(
        self, make: Factory, workspace: Workspace, receiver: Receiver, clock: MovableClock
    ) -> None:
        endpoint = await name(workspace, receiver.url, "chat.conversation.opened")
        receiver.status, receiver.answer = 500, b"out of order"
        await make.conversation(workspace)
        await receiver.reach(1)
        (waiting,) = await until(lambda: _attempted(workspace, endpoint, 1))
        assert waiting["state"] == "waiting"
        (attempt,) = (await detail(workspace, waiting["id"]))["attempts"]
        assert (attempt["status"], attempt["response_body"]) == (500, "out of order")
        assert await failures(workspace, endpoint) == 1
        clock.move(seconds=7)
        await receiver.reach(2)
        (waiting,) = await until(lambda: _attempted(workspace, endpoint, 2))
        assert waiting["state"] == "waiting"
        receiver.status = 200
        clock.move(seconds=400)
        await receiver.reach(3)
        ((delivery,),) = (await until(lambda: _all(workspace, endpoint, "delivered", 1)),)
        assert delivery["attempts"] == 3
        assert await failures(workspace, endpoint) == 0
        assert len({told.headers["webhook-id"] for told in receiver.told}) == 1

    @pytest.mark.parametrize(
        ("status", "headers", "error"),
        [(302, {"Location": "http://127.0.0.1:1/"}, None), (404, {}, None), (503, {"Retry-After": "1"}, None)],
    )
    async def test_nothing_but_a_success_counts_and_nothing_is_followed(
        self, make: Factory, workspace: Workspace, receiver: Receiver, status: int, headers: dict[str, str], error: None
    ) -> None:
        receiver.status, receiver.headers = status, headers
        endpoint = await name(workspace, receiver.url, "chat.conversation.opened")
        await make.conversation(workspace)
        (delivery,) = await until(lambda: _attempted(workspace, endpoint, 1))
        (attempt,) = (await detail(workspace, delivery["id"]))["attempts"]
        assert (delivery["state"], attempt["status"], attempt["error"]) == ("waiting", status, error)
        assert len(receiver.told) == 1

    @IN_PROCESS
    async def test_a_receiver_that_falls_silent_is_left(
        self, server_factory: ServerFactory, settings: dict[str, Any], receiver: Receiver
    ) -> None:
        quick = {**settings, "webhooks": {**settings["webhooks"], "timeout_seconds": 0.2}}
        make = Factory(await server_factory(**quick))
        workspace = await make.workspace()
        receiver.seconds = 3
        endpoint = await name(workspace, receiver.url, "chat.conversation.opened")
        await make.conversation(workspace)
        (delivery,) = await until(lambda: _attempted(workspace, endpoint, 1))
        (attempt,) = (await detail(workspace, delivery["id"]))["attempts"]
        assert (attempt["status"], attempt["error"]) == (None, "no answer within 0.2 s")

    async def test_a_long_answer_is_cut(self, make: Factory, workspace: Workspace, receiver: Receiver) -> None:
        receiver.status, receiver.answer = 200, b"\x00x" * 500_000
        endpoint = await name(workspace, receiver.url, "chat.conversation.opened")
        await make.conversation(workspace)
        (delivery,) = await until(lambda: _all(workspace, endpoint, "delivered", 1))
        (attempt,) = (await detail(workspace, delivery["id"]))["attempts"]
        assert len(attempt["response_body"]) == 4_096

    @IN_PROCESS
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    async def test_a_name_that_leads_inside_is_not_dialled(
        self, server_factory: ServerFactory, settings: dict[str, Any], receiver: Receiver, host: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        careful = {**settings, "webhooks": {**settings["webhooks"], "allowed_networks": ()}}
        make = Factory(await server_factory(**careful))
        workspace = await make.workspace()
        url = receiver.url.replace("127.0.0.1", host)
        if host == "127.0.0.1":
            new = {"url": url, "events": ["*"]}
            refused = await workspace.owner.http.post(f"{workspace.path}/webhooks/endpoints", json=new)
            assert problem(refused, 400, "url_not_allowed")["errors"][0]["pointer"] == "/url"
            # As if the name had meant something else when it was given.
            url = "http://rebound.example.org:9/"
            _resolves(monkeypatch, ["93.184.216.34", "127.0.0.1"])
        endpoint = await name(workspace, url, "chat.conversation.opened")
        await make.conversation(workspace)
        (delivery,) = await until(lambda: _attempted(workspace, endpoint, 1))
        (attempt,) = (await detail(workspace, delivery["id"]))["attempts"]
        assert attempt["status"] is None
        assert "private network" in attempt["error"]
        assert receiver.told == []

    @IN_PROCESS
    async def test_the_address_that_was_checked_is_the_one_that_is_dialled(
        self, make: Factory, workspace: Workspace, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever answers for a name may answer otherwise the next time; it is asked once."""
        asked = _resolves(monkeypatch, ["127.0.0.1"])
        url = receiver.url.replace("127.0.0.1", "hook.example.org")
        await name(workspace, url, "chat.conversation.opened")
        await make.conversation(workspace)
        (told,) = await receiver.reach(1)
        assert told.headers["Host"] == url.split("/")[2]
        assert asked == ["hook.example.org"]

    @IN_PROCESS
    async def test_who_fails_all_the_time_is_paused_and_goes_on_when_told_to(
        self, server_factory: ServerFactory, settings: dict[str, Any], receiver: Receiver
    ) -> None:
        strict = {**settings, "webhooks": {**settings["webhooks"], "pause_after_failures": 3}}
        make = Factory(await server_factory(**strict))
        workspace = await make.workspace()
        receiver.status = 500
        endpoint = await name(workspace, receiver.url, "chat.message.sent")
        conversation = await make.conversation(workspace)
        for number in range(3):
            ok(await conversation.visitor.http.post(conversation.messages, json={"text": f"{number}"}))
        paused = await until(lambda: _in_state(workspace, endpoint, "paused"))
        assert paused["reason"] == "3 attempts have failed one after the other"
        ok(await conversation.visitor.http.post(conversation.messages, json={"text": "unheard"}))
        receiver.status = 200
        tried = len(receiver.told)
        path = f"{workspace.path}/webhooks/endpoints/{paused['id']}"
        active = ok(await workspace.owner.http.patch(path, json={"state": "active"}))
        assert (active["state"], active["failures"], active["reason"]) == ("active", 0, None)
        await receiver.reach(tried + 3)
        delivered = await until(lambda: _all(workspace, endpoint, "delivered", 3))
        texts = {(await detail(workspace, each["id"]))["body"]["data"]["message"]["text"] for each in delivered}
        assert texts == {"0", "1", "2"}

    async def test_who_is_gone_is_not_asked_again(
        self, make: Factory, workspace: Workspace, receiver: Receiver
    ) -> None:
        receiver.status = 410
        endpoint = await name(workspace, receiver.url, "chat.conversation.opened")
        await make.conversation(workspace)
        paused = await until(lambda: _in_state(workspace, endpoint, "paused"))
        assert "410" in paused["reason"]


class TestEndpoints:
    @IN_PROCESS
    async def test_secrets_change_over(
        self, make: Factory, workspace: Workspace, receiver: Receiver, clock: MovableClock
    ) -> None:
        first = await name(workspace, receiver.url, "chat.conversation.opened")
        path = f"{workspace.path}/webhooks/endpoints/{first['endpoint']['id']}"
        second = ok(await workspace.owner.http.post(f"{path}/secret"))
        assert second["secret"] != first["secret"]
        assert "secret" not in ok(await workspace.owner.http.get(path))
        await make.conversation(workspace)
        await receiver.reach(1)
        assert receiver.verified(first["secret"]) == receiver.verified(second["secret"])
        clock.move(hours=24.1)
        await make.conversation(workspace)
        await receiver.reach(2)
        assert receiver.told[-1].headers["webhook-signature"].count("v1,") == 1

    async def test_it_is_tried_and_something_is_sent_once_more(self, workspace: Workspace, receiver: Receiver) -> None:
        endpoint = await name(workspace, receiver.url, "chat.nothing.*")
        path = f"{workspace.path}/webhooks"
        http = workspace.owner.http
        begun = await http.post(f"{path}/endpoints/{endpoint['endpoint']['id']}/test")
        assert begun.status_code == 202
        await receiver.reach(1)
        message = receiver.verified(endpoint["secret"])
        assert (message["type"], message["data"]) == (
            "webhooks.endpoint.tested",
            {"endpoint_id": endpoint["endpoint"]["id"]},
        )
        (delivery,) = await until(lambda: _all(workspace, endpoint, "delivered", 1))
        again = ok(await http.post(f"{path}/deliveries/{delivery['id']}/replay"))
        assert again["state"] == "waiting"
        await receiver.reach(2)
        assert receiver.told[0].headers["webhook-id"] == receiver.told[1].headers["webhook-id"]
        (delivery,) = await until(lambda: _all(workspace, endpoint, "delivered", 1))
        assert delivery["attempts"] == 2

    async def test_they_are_changed_and_removed(self, make: Factory, workspace: Workspace, receiver: Receiver) -> None:
        endpoint = (await name(workspace, receiver.url, "b.c", "a.b", "a.b"))["endpoint"]
        assert endpoint["events"] == ["a.b", "b.c"]
        http, path = workspace.owner.http, f"{workspace.path}/webhooks/endpoints/{endpoint['id']}"
        changed = ok(await http.patch(path, json={"events": ["chat.*"], "description": "For the board"}))
        assert (changed["events"], changed["description"], changed["version"]) == (["chat.*"], "For the board", 2)
        stale = await http.patch(path, json={"description": "x"}, headers={"If-Match": '"1"'})
        problem(stale, 412, "precondition_failed")
        assert ok(await http.get(f"{workspace.path}/webhooks/endpoints")) == [changed]
        elsewhere = await make.workspace()
        foreign = f"{elsewhere.path}/webhooks/endpoints/{endpoint['id']}"
        problem(await elsewhere.owner.http.get(foreign), 404, "not_found")
        problem(await elsewhere.owner.http.delete(foreign), 404, "not_found")
        assert (await http.delete(path)).status_code == 204
        problem(await http.get(path), 404, "not_found")

    @pytest.mark.parametrize(
        ("new", "pointer"),
        [
            ({"url": "https://a b/", "events": ["*"]}, "/url"),
            ({"url": "https://example.org/", "events": []}, "/events"),
            ({"url": "https://example.org/", "events": ["Not a name"]}, "/events/0"),
            ({"url": "https://example.org/", "events": ["*"] * 51}, "/events"),
            ({"url": "https://example.org/" + "x" * 2_000, "events": ["*"]}, "/url"),
        ],
    )
    async def test_what_cannot_be_is_refused(self, workspace: Workspace, new: dict[str, Any], pointer: str) -> None:
        refused = await workspace.owner.http.post(f"{workspace.path}/webhooks/endpoints", json=new)
        assert problem(refused, 400, "invalid_input")["errors"][0]["pointer"].startswith(pointer)

    async def test_there_are_not_too_many(
        self, server_factory: ServerFactory, settings: dict[str, Any], receiver: Receiver
    ) -> None:
        few = {**settings, "webhooks": {**settings["webhooks"], "endpoints": 2}}
        make = Factory(await server_factory(**few))
        workspace = await make.workspace()
        for _ in range(2):
            await name(workspace, receiver.url)
        refused = await workspace.owner.http.post(
            f"{workspace.path}/webhooks/endpoints", json={"url": receiver.url, "events": ["*"]}
        )
        problem(refused, 409, "too_many_endpoints")

    async def test_the_events_are_listed(self, workspace: Workspace) -> None:
        events = ok(await workspace.owner.http.get(f"{workspace.path}/webhooks/events"))
        assert "chat.message.sent" in {event["name"] for event in events}
        assert all(event["description"] for event in events)


def _resolves(monkeypatch: pytest.MonkeyPatch, addresses: Sequence[str]) -> list[str]:
    """Let every name of `example.org` have these addresses; return which names are asked for."""
    loop, asked = asyncio.get_running_loop(), list[str]()
    real = loop.getaddrinfo

    async def resolve(host: str, port: int, **options: Any) -> Any:  # noqa: ANN401
        if not str(host).endswith("example.org"):
            return await real(host, port, **options)
        asked.append(str(host))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(type(loop), "getaddrinfo", lambda _, *args, **options: resolve(*args, **options), raising=False)
    return asked


async def failures(workspace: Workspace, endpoint: dict[str, Any]) -> int:
    path = f"{workspace.path}/webhooks/endpoints/{endpoint['endpoint']['id']}"
    return int(ok(await workspace.owner.http.get(path))["failures"])


async def _all(workspace: Workspace, endpoint: dict[str, Any], state: str, count: int) -> list[dict[str, Any]] | None:
    found = await deliveries(workspace, endpoint, state=state)
    return found if len(found) == count else None


async def _attempted(workspace: Workspace, endpoint: dict[str, Any], attempts: int) -> list[dict[str, Any]] | None:
    found = await deliveries(workspace, endpoint)
    return found if found and found[0]["attempts"] == attempts else None


async def _in_state(workspace: Workspace, endpoint: dict[str, Any], state: str) -> dict[str, Any] | None:
    path = f"{workspace.path}/webhooks/endpoints/{endpoint['endpoint']['id']}"
    found: dict[str, Any] = ok(await workspace.owner.http.get(path))
    return found if found["state"] == state else None


async def _nothing_pending(database: Any) -> bool:  # noqa: ANN401
    return bool(await database.fetch(PENDING, {}) == [0])
