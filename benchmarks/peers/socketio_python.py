"""One room on python-socketio as it comes: the same work as `node/fan_out.js`."""

from datetime import UTC, datetime
from itertools import count
from typing import Any, Final
from uuid import uuid4

import socketio
from starlette.applications import Starlette

WORKSPACE_ID: Final = str(uuid4())
ACCOUNT_ID: Final = str(uuid4())
numbers = count(1)
sockets = socketio.AsyncServer(async_mode="asgi")
# What is not for sockets goes to an empty application, whose 404 tells the harness that the server is ready.
app = socketio.ASGIApp(sockets, Starlette())


async def subscribe(sid: str, data: dict[str, Any]) -> dict[str, Any]:
    """Enter the room of a topic."""
    await sockets.enter_room(sid, data["topic"])
    return {"data": {"number": 0, "present": []}}


async def typing(sid: str, data: dict[str, Any]) -> dict[str, Any]:
    """Tell the others in the room."""
    topic = data["topic"]
    told = {"workspace_id": WORKSPACE_ID, "topic": topic, "account_id": ACCOUNT_ID, "typing": data["typing"]}
    await sockets.emit("typing", told, room=topic, skip_sid=sid)
    return {"data": None}


async def send_message(_sid: str, data: dict[str, Any]) -> dict[str, Any]:
    """Tell everybody in the room."""
    topic = f"chat.conversation:{data['conversation_id']}"
    number = next(numbers)
    created_at = datetime.now(UTC).isoformat()
    message = {
        "id": str(uuid4()),
        "conversation_id": data["conversation_id"],
        "number": number,
        "author_id": ACCOUNT_ID,
        "text": data["text"],
        "client_message_id": data["client_message_id"],
        "created_at": created_at,
    }
    event = {
        "workspace_id": WORKSPACE_ID,
        "topic": topic,
        "number": number,
        "id": str(uuid4()),
        "name": "chat.message.sent",
        "actor_id": ACCOUNT_ID,
        "data": {"message": message},
        "created_at": created_at,
    }
    await sockets.emit("event", event, room=topic)
    return {"data": message}


sockets.on("subscribe", subscribe)
sockets.on("typing", typing)
sockets.on("chat.message.send", send_message)
