import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import pytest

from courtyard.server import asyncapi_document
from tests.factories import Factory, ok
from tests.services import PARTS, missing
from tests.sockets import Json, Socket

SPECIFICATION = Path(__file__).parent / "js/node_modules/@asyncapi/specs/schemas/3.0.0.json"
HANDLERS = [handler for part in PARTS for handler in part.sockets]


def references(part: Json) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(part, list):
        for value in part:
            yield from references(value)


def resolved(document: dict[str, Any], reference: str) -> Json:
    found: Any = document
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return resolved(document, found["$ref"]) if "$ref" in found else found


@pytest.mark.node
def test_the_document_is_valid(asyncapi: dict[str, Any]) -> None:
    if not SPECIFICATION.exists():
        missing("npm package @asyncapi/specs", "make node")
    jsonschema_rs.validator_for(json.loads(SPECIFICATION.read_text())).validate(asyncapi)


def test_every_reference_leads_somewhere(asyncapi: dict[str, Any]) -> None:
    for reference in references(asyncapi):
        assert resolved(asyncapi, reference)
    # The specification wants the messages of an operation to be those of its channel.
    for operation in asyncapi["operations"].values():
        channel = operation["channel"]["$ref"]
        assert all(message["$ref"].startswith(f"{channel}/messages/") for message in operation["messages"])


def test_payloads_are_schemas(asyncapi: dict[str, Any]) -> None:
    for schema in asyncapi["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)
    for message in asyncapi["components"]["messages"].values():
        jsonschema_rs.meta.validate(message["payload"])


async def test_what_is_served_is_what_the_command_writes(client: httpx2.AsyncClient, asyncapi: dict[str, Any]) -> None:
    served = ok(await client.get("/asyncapi.json"))
    assert served == asyncapi == asyncapi_document()


def test_every_declared_socket_event_can_be_sent(asyncapi: dict[str, Any]) -> None:
    for handler in HANDLERS:
        operation = asyncapi["operations"][f"send.{handler.event}"]
        assert operation["action"] == "send"
        assert operation["x-permission"] == handler.permission
        assert resolved(asyncapi, operation["messages"][0]["$ref"])["name"] == handler.event
        acknowledgement = resolved(asyncapi, operation["reply"]["messages"][0]["$ref"])
        data, problem = acknowledgement["payload"]["oneOf"]
        assert data["required"] == ["data"]
        codes = problem["properties"]["problem"]["allOf"][1]["properties"]["code"]["enum"]
        assert {kind.code for kind in handler.problems} <= set(codes)
    assert len([name for name in asyncapi["operations"] if name.startswith("send.")]) == len(HANDLERS)


def test_every_declared_topic_can_be_heard_with_its_events(asyncapi: dict[str, Any]) -> None:
    for part in PARTS:
        for topic in part.topics:
            channel = asyncapi["channels"][topic.kind]
            assert channel["address"] == (f"{topic.kind}:{{id}}" if topic.has_id else topic.kind)
            assert ("parameters" in channel) == topic.has_id
            operation = asyncapi["operations"][f"receive.{topic.kind}"]
            assert (operation["action"], operation["x-permission"]) == ("receive", topic.permission)
            heard = {resolved(asyncapi, message["$ref"])["name"] for message in operation["messages"]}
            changes = {"presence.change", "typing.change"} if topic.presence else set()
            assert heard == {event.name for event in part.events} | changes


async def test_what_comes_over_a_socket_fits_the_document(
    make: Factory, asyncapi: dict[str, Any], validator: Json
) -> None:
    messages = asyncapi["components"]["messages"]

    def check(name: str, value: Json) -> None:
        validator(asyncapi, messages[name]["payload"]).validate(value)

    workspace = await make.workspace()
    visitor = await make.socket(await make.visitor())
    volunteer = await make.socket(await make.member(workspace))
    here = {"workspace": workspace.slug}

    async def call(socket: Socket, event: str, **payload: Json) -> Json:
        question = {**here, **payload}
        check(event, question)
        answer = await socket.call(event, question)
        check(f"{event}.acknowledgement", answer)
        return answer.get("data")

    await call(volunteer, "subscribe", topic="chat.queue")
    opened = await call(visitor, "chat.conversation.open", subject="Hello", message={"text": "Hello"})
    named = {"conversation_id": opened["id"]}
    topic = f"chat.conversation:{opened['id']}"
    await call(visitor, "subscribe", topic=topic, after=0)
    await call(volunteer, "chat.message.send", **named, text="Too early")
    await call(volunteer, "chat.conversation.claim", **named)
    await call(volunteer, "chat.conversation.claim", **named)
    await call(volunteer, "subscribe", topic=topic, after=1_000)
    await call(volunteer, "subscribe", topic=topic, after=0)
    await call(volunteer, "typing", topic=topic, typing=True)
    await call(volunteer, "chat.message.send", **named, text="What is it?")
    await call(visitor, "chat.conversation.close", **named)
    events = await visitor.wait_for("event", 6)
    await visitor.wait_for("presence")
    await visitor.wait_for("typing")
    await call(volunteer, "unsubscribe", topic=topic)
    for name, data in (*visitor.received, *volunteer.received):
        check(data["name"] if name == "event" else f"{name}.change", data)
    assert {event["name"] for event in events} == {
        "chat.conversation.opened",
        "chat.conversation.claimed",
        "chat.conversation.closed",
        "chat.message.sent",
    }


def test_an_envelope_of_another_event_does_not_fit(asyncapi: dict[str, Any], validator: Json) -> None:
    payload = validator(asyncapi, asyncapi["components"]["messages"]["chat.message.sent"]["payload"])
    assert not payload.is_valid({"name": "chat.message.sent"})
