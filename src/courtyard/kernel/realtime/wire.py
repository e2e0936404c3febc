"""The short way out: a WebSocket frame that is made once and written to the transport of everyone who gets it.

Through the library each packet waits in a queue, wakes a task with a timer, and is framed anew for each recipient.
Frames of a server are not masked (RFC 6455, section 5.1) and compression is off, so the bytes are the same for all.
Where the server is not ours, or the client polls, packets go through the library's queue.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from engineio.async_drivers import asgi
from typing_extensions import override
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

# The key in `scope["extensions"]` under which the server offers its wire.
EXTENSION = "courtyard.wire"


class Wire(Protocol):
    """One client's transport."""

    def write_frame(self, frame: bytes) -> int:
        """Write a whole frame and return how many bytes wait; after the end of the connection it is dropped."""
        ...

    async def drained(self) -> None:
        """Return when few bytes wait."""
        ...

    def abort(self) -> None:
        """End the connection without a word, and forget what waits."""
        ...


class FrameProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, which is a wire as well."""

    @override
    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.handshake_initiated and not self.close_sent:
            # The application's task was made, and has not begun: it will see this.
            self.scope["extensions"][EXTENSION] = self  # type: ignore[assignment]

    def write_frame(self, frame: bytes) -> int:
        """Write a whole frame and return how many bytes wait; after the end of the connection it is dropped."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return 0
        self.transport.write(frame)
        return self.transport.get_write_buffer_size()

    async def drained(self) -> None:
        """Return when few bytes wait."""
        await self.writable.wait()

    def abort(self) -> None:
        """End the connection without a word, and forget what waits."""
        self.transport.abort()


class FrameSocket(asgi.WebSocket):  # type: ignore[misc]  # the library has no types
    """The library's WebSocket, which leaves the wire at the Engine.IO socket that it serves."""

    async def __call__(self, environ: Mapping[str, Any]) -> str:
        """Serve the socket to its end."""
        socket = self.handler.__self__
        socket.wire = environ["asgi.scope"].get("extensions", {}).get(EXTENSION)
        ended: str = await super().__call__(environ)
        return ended


def text_frame(text: bytes) -> bytes:
    """Return the WebSocket frame of a text, as a server sends it."""
    return Frame(Opcode.TEXT, text).serialize(mask=False)
