"""One connected client: who it is, what it listens to, and the way out to it."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from engineio.packet import MESSAGE, NOOP, Packet
from typing_extensions import override

from courtyard.kernel.context import Principal
from courtyard.kernel.events import Frame
from courtyard.kernel.realtime.wire import Wire, text_frame

# What may wait in the transport for a client that does not read.
MAX_WAITING_BYTES = 1_048_576


class EngineSocket(Protocol):
    """What is used of the Engine.IO socket beneath."""

    sid: str
    # The library's queue of packets, which a task of its own sends.
    queue: Any
    # Whether the WebSocket transport is in use.
    upgraded: bool
    # Where there is one, the short way out.
    wire: Wire | None


class Connection:
    """A Socket.IO connection.

    Attributes:
        id: the id of the socket in its namespace.
        principal: who is connected.
        address: of the client, as far as trusted proxies tell; empty where there is none.
        socket: the Engine.IO socket beneath.
        topics: what it listens to, or is about to.
        until: when the first role ends that it was allowed something by, None for never.
        closed: whether it has ended, or is about to be cut. Nothing goes out any more: what it missed, it is sent
            when it comes back.

    Args:
        sid: the id.
        socket: the Engine.IO socket.
        principal: who is connected.
        address: of the client.
        max_queued: how many messages may wait for a slow client before it is cut.
        cut: called with the connection and the reason when that is reached.
    """

    __slots__ = (
        "_cut",
        "_last_mark",
        "_max_queued",
        "_wire",
        "address",
        "closed",
        "id",
        "principal",
        "socket",
        "topics",
        "until",
    )

    def __init__(
        self,
        sid: str,
        socket: EngineSocket,
        principal: Principal,
        address: str,
        max_queued: int,
        cut: "Callable[[Connection, str], None]",
    ) -> None:
        self.id = sid
        self.principal = principal
        self.address = address
        self.socket = socket
        self.topics: set[tuple[UUID, str]] = set()
        self.until: datetime | None = None
        self.closed = False
        self._max_queued = max_queued
        self._cut = cut
        self._last_mark: _Mark | None = None
        # A socket that is a WebSocket from the beginning has nothing in its queue that must go out first.
        self._wire = getattr(socket, "wire", None) if socket.upgraded else None

    def holds_until(self, moment: datetime | None) -> None:
        """Take note that something was allowed by a role that ends at a moment; None for one that does not."""
        if moment is not None and (self.until is None or moment < self.until):
            self.until = moment

    def deliver(self, frame: Frame) -> None:
        """Send a frame, in the order of the calls. What goes out is made once for all who get it."""
        if self.closed:
            return
        if self._wire is None:
            self._queue(frame)
            return
        if frame.bytes is None:
            frame.bytes = text_frame(b'42["%s",%s]' % (frame.name.encode(), frame.json))
        if self._wire.write_frame(frame.bytes) > MAX_WAITING_BYTES:
            self._cut(self, "too_slow")

    async def ready(self) -> None:
        """Return when few enough frames wait that another one will not cut the client."""
        if self._wire is not None:
            await self._wire.drained()
        elif self.socket.queue.qsize() > self._max_queued // 2:
            await self.socket.queue.join()

    def _queue(self, frame: Frame) -> None:
        """Send through the library: while the client polls, and until what was queued then has gone out."""
        if frame.packet is None:
            frame.packet = Packet(MESSAGE, f'2["{frame.name}",{frame.json.decode()}]')
        queue = self.socket.queue
        if queue.qsize() >= self._max_queued:
            self._cut(self, "too_slow")
            return
        queue.put_nowait(frame.packet)
        if self.socket.upgraded and getattr(self.socket, "wire", None) is not None:
            self._last_mark = _Mark(self._passed)
            queue.put_nowait(self._last_mark)

    def _passed(self, mark: "_Mark") -> None:
        if mark is self._last_mark:
            # Everything that was queued is with the transport, so the short way cannot overtake it.
            self._wire = self.socket.wire


class _Mark(Packet):  # type: ignore[misc]  # the library has no types
    """A packet that does nothing at the client, and tells when all before it has been sent."""

    def __init__(self, passed: "Callable[[_Mark], None]") -> None:
        super().__init__(NOOP)
        self._passed = passed

    @override
    def encode(self, b64: bool = False) -> Any:
        self._passed(self)
        return super().encode(b64)
