"""The AsyncAPI 3.0 document, from the declarations of socket events, topics and recorded events.

It is written from the client's side: `send` is what a client may ask, `receive` is what it is told.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from courtyard import __version__
from courtyard.kernel.application import Application
from courtyard.kernel.database import DatabaseUnavailable
from courtyard.kernel.errors import (
    Forbidden,
    InvalidInput,
    MembershipSuspended,
    NotFound,
    Problem,
    SecondFactorRequired,
    Unauthenticated,
    Unavailable,
    WorkspaceArchived,
    WorkspaceDeleted,
)
from courtyard.kernel.events import Envelope, Event, Topic
from courtyard.kernel.realtime import (
    PATH,
    EventTimeout,
    InternalSocketError,
    PresenceChange,
    SocketHandler,
    TypingChange,
)
from courtyard.site.json_schema import REFERENCE, Schema, Schemas
from courtyard.site.openapi import problem_schema

SOCKET = "socket"
DESCRIPTION = f"""\
One Socket.IO connection (protocol 5, default namespace, path `{PATH}`) carries everything that happens live. The
document is written from the client's side: `send` is what a client may ask, `receive` is what it is told.

Connect with the access token of a session as `auth: {{"token": …}}`, or with the cookie of a login. A refused
connection gets `connect_error` with the code of the problem as its message and the problem as its data.

Every event that a client sends has one argument, an object, and is acknowledged with `{{"data": …}}` or
`{{"problem": …}}`. `subscribe` to a topic with `after`, the number of the last event that was seen, first sends what
was missed, then what comes. The numbers of a topic have no gap: where one does not follow the other, subscribe again.
"""
# What every event may be answered with.
COMMON: tuple[type[Problem], ...] = (
    InvalidInput,
    Unauthenticated,
    Forbidden,
    MembershipSuspended,
    SecondFactorRequired,
    NotFound,
    WorkspaceArchived,
    WorkspaceDeleted,
    Unavailable,
    DatabaseUnavailable,
    EventTimeout,
    InternalSocketError,
)
JSON = "application/json"


def asyncapi_document(parts: Sequence[Application]) -> dict[str, Any]:
    """Return the document of all socket events, topics and recorded events.

    Args:
        parts: the modules of the kernel and the applications.
    """
    schemas = Schemas()
    handlers = [handler for part in parts for handler in part.sockets]
    told = {part.name: [_told(schemas, event) for event in part.events] for part in parts}
    asked = [(handler, _asked(schemas, handler), _acknowledgement(schemas, handler)) for handler in handlers]
    changes = [_change(schemas, "presence", PresenceChange), _change(schemas, "typing", TypingChange)]
    messages = [
        *(message for _, question, answer in asked for message in (question, answer)),
        *(message for of_part in told.values() for message in of_part),
        *changes,
    ]
    topics = [
        (topic, [*told[part.name], *(changes if topic.presence else ())]) for part in parts for topic in part.topics
    ]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Courtyard",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "servers": {
            "this": {
                "host": "{host}",
                "pathname": f"{PATH}/",
                "protocol": "wss",
                "description": "This server. Without TLS, as on one's own machine, the protocol is `ws`.",
                "variables": {"host": {"default": "localhost:8000", "description": "Name and port of the server."}},
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "channels": {
            SOCKET: {
                "address": "/",
                "title": "The connection",
                "description": "The default namespace.",
                "messages": {message["name"]: _component(message) for message in messages},
            },
            **{topic.kind: _channel(topic, heard) for topic, heard in topics},
        },
        "operations": {
            **{f"send.{handler.event}": _send(handler, *names) for handler, *names in asked},
            **{f"receive.{topic.kind}": _receive(topic, heard) for topic, heard in topics},
        },
        "components": {
            "messages": {message["name"]: message for message in messages},
            "schemas": schemas.components,
            "securitySchemes": {
                "token": {
                    "type": "apiKey",
                    "in": "user",
                    "description": "The access token, as `token` in the `auth` of the connection.",
                }
            },
        },
    }


def _asked(schemas: Schemas, handler: SocketHandler[Any, Any]) -> dict[str, Any]:
    return {
        "name": handler.event,
        "title": handler.event,
        "summary": handler.description,
        "payload": schemas.of(handler.payload),
    }


def _acknowledgement(schemas: Schemas, handler: SocketHandler[Any, Any]) -> dict[str, Any]:
    kinds = {kind.code: kind for kind in (*COMMON, *handler.problems)}
    statuses = sorted({kind.status for kind in kinds.values()})
    return {
        "name": f"{handler.event}.acknowledgement",
        "title": f"Acknowledgement of {handler.event}",
        "payload": {
            "oneOf": [
                _closed(data=schemas.of(handler.answer)),
                _closed(problem=problem_schema(schemas, list(kinds), *statuses)),
            ]
        },
    }


def _told(schemas: Schemas, event: type[Event]) -> dict[str, Any]:
    """Return the message of a recorded event: the envelope, with its name and its data."""
    envelope = schemas.of(Envelope)
    data = {"name": {"const": event.name}, "data": schemas.of(event)}
    return {
        "name": event.name,
        "title": f"event: {event.name}",
        "summary": schemas.components[data["data"]["$ref"].removeprefix(REFERENCE)]["description"],
        "payload": {"allOf": [envelope, {"properties": data}]},
        "x-socket-event": "event",
    }


def _change(schemas: Schemas, name: str, kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a Struct
    payload = schemas.of(kind)
    return {
        "name": f"{name}.change",
        "title": name,
        "summary": schemas.components[payload["$ref"].removeprefix(REFERENCE)]["description"],
        "payload": payload,
        "x-socket-event": name,
    }


def _channel(topic: Topic, heard: Sequence[dict[str, Any]]) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": f"{topic.kind}:{{id}}" if topic.has_id else topic.kind,
        "title": topic.kind,
        "description": f"A topic, heard after `subscribe`. {topic.description}",
        "messages": {message["name"]: _component(message) for message in heard},
        "x-permission": topic.permission,
        "x-presence": topic.presence,
    }
    if topic.has_id:
        channel["parameters"] = {"id": {"description": "The id of the thing, a UUID.", "examples": [str(UUID(int=1))]}}
    return channel


def _send(handler: SocketHandler[Any, Any], *messages: dict[str, Any]) -> dict[str, Any]:
    asked, answered = (_of_channel(SOCKET, message) for message in messages)
    return {
        "action": "send",
        "summary": handler.description,
        "channel": {"$ref": f"#/channels/{SOCKET}"},
        "messages": [asked],
        "reply": {"channel": {"$ref": f"#/channels/{SOCKET}"}, "messages": [answered]},
        "x-permission": handler.permission,
    }


def _receive(topic: Topic, heard: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "action": "receive",
        "summary": topic.description,
        "channel": {"$ref": f"#/channels/{topic.kind}"},
        "messages": [_of_channel(topic.kind, message) for message in heard],
        "x-permission": topic.permission,
    }


def _closed(**properties: Schema) -> Schema:
    """Return the schema of an object with exactly these members."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _component(message: dict[str, Any]) -> dict[str, str]:
    return {"$ref": f"#/components/messages/{message['name']}"}


def _of_channel(channel: str, message: dict[str, Any]) -> dict[str, str]:
    return {"$ref": f"#/channels/{channel}/messages/{message['name']}"}
