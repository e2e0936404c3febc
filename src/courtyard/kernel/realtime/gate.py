"""What may come in: what is no packet is stopped here, where the library would fail or leave a client waiting.

Clients send nothing binary: the parts of a binary event are passed over, and the event itself is refused.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import parse_qs

# Of ASGI. The names for its parts belong to frameworks, and there is none here.
Scope: TypeAlias = Any
Message: TypeAlias = Any
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

# By Engine.IO 4: close, ping (of an upgrade), pong, message, upgrade. What follows is for those who read it.
_PACKET = re.compile(r"[1-5]")
_BINARY = "b"
_CLOSE = "1"
_SEPARATOR = "\x1e"
# One request of a client that polls carries what it has to say since the last one.
MAX_PACKETS = 1_000


def checked(receive: Receive, max_bytes: int) -> Receive:
    """Return a `receive` for a WebSocket, for which whatever is not a packet is the end of the connection."""

    async def receive_packet() -> Message:
        event = await receive()
        if event["type"] == "websocket.receive":
            text = event.get("text")
            size = len(event.get("bytes") or b"" if text is None else text)
            is_packet = text is None or (_PACKET.match(text) is not None and text[0] != _CLOSE)
            if size > max_bytes or not is_packet:
                return {"type": "websocket.disconnect", "code": 1008, "reason": ""}
        return event

    return receive_packet


class Poll:
    """A request of a client that polls, read to its end.

    Attributes:
        scope: of the request, with the length of what the library is to read.
        is_sound: whether the body is made of packets and not too long.
        sid: the Engine.IO session that it names, empty for none.
    """

    def __init__(self, scope: Scope, body: bytes | None) -> None:
        packets = None if body is None else _packets_of(body)
        self.is_sound = packets is not None
        self._body = _SEPARATOR.join(packets or ()).encode()
        headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]
        self.scope = {**scope, "headers": [*headers, (b"content-length", b"%d" % len(self._body))]}
        self.sid = parse_qs(scope["query_string"].decode("latin-1")).get("sid", [""])[0]

    async def receive(self) -> Message:
        """Hand the body to the library."""
        return {"type": "http.request", "body": self._body, "more_body": False}


async def read_poll(scope: Scope, receive: Receive, max_bytes: int) -> Poll | None:
    """Read a request; None where the client did not wait for an answer."""
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return None
        body += event.get("body", b"")
        if len(body) > max_bytes:
            return Poll(scope, None)
        if not event.get("more_body"):
            return Poll(scope, bytes(body))


def _packets_of(body: bytes) -> list[str] | None:
    """Return the packets of a body without the binary ones; None where it is something else."""
    if not body:
        return []
    try:
        packets = body.decode().split(_SEPARATOR)
    except UnicodeDecodeError:
        return None
    if len(packets) > MAX_PACKETS:
        return None
    sound = [packet for packet in packets if _PACKET.match(packet)]
    binary = sum(packet.startswith(_BINARY) for packet in packets)
    return sound if len(sound) + binary == len(packets) else None
