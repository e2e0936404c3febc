"""The Socket.IO library, put right where its server waits for ever, says too much, or trusts what comes in."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import socketio
from engineio.payload import Payload
from socketio import packet
from typing_extensions import override

from courtyard.kernel.realtime.connection import EngineSocket
from courtyard.kernel.realtime.gate import MAX_PACKETS, Receive, Scope, Send, checked, read_poll
from courtyard.kernel.realtime.wire import FrameSocket, Wire
from courtyard.kernel.settings import Settings
from courtyard.kernel.telemetry import SOCKETS_CUT

NAMESPACE = "/"
# What is kept of the request that opened a connection.
COOKIES = "cookies"
ADDRESS = "address"
# How long a client may take to agree to the end of its connection.
CLOSE_SECONDS = 10.0


class _Json:
    """The JSON of the packets, through msgspec."""

    @staticmethod
    def dumps(value: object, **_: object) -> str:
        return msgspec.json.encode(value).decode()

    @staticmethod
    def loads(text: str | bytes, **_: object) -> Any:  # noqa: ANN401
        return msgspec.json.decode(text)


def _is_fault(record: logging.LogRecord) -> bool:
    """Tell what is ours to mend from what clients do wrong, which the library logs as errors too."""
    return record.exc_info is not None


class Engine(socketio.AsyncServer):  # type: ignore[misc]  # the library has no types
    """The library's server, with every event of a client handed to one function.

    Events of one connection are answered in their order, so two messages of one person never overtake each other.
    A client cannot call the handlers of `connect` and `disconnect` by naming an event so. What is no packet, or comes
    before the client has connected, ends the connection: the library would let the client wait for an answer.
    """

    def __init__(self, settings: Settings, answer: Callable[[str, Any], Awaitable[object]]) -> None:
        realtime, origins = settings.realtime, settings.server.cors_origins
        logger = logging.getLogger("courtyard.sockets.library")
        logger.addFilter(_is_fault)
        super().__init__(
            async_mode="asgi",
            json=_Json,
            # None lets a page of this very server connect, and no other.
            cors_allowed_origins=[*origins, settings.public_url] if origins else None,
            # The requests of one client that polls go to any worker, and only one of them knows it.
            transports=list(realtime.transports) if settings.server.workers == 1 else ["websocket"],
            ping_interval=realtime.ping_interval_seconds,
            ping_timeout=realtime.ping_timeout_seconds,
            max_http_buffer_size=realtime.max_message_bytes,
            http_compression=False,
            async_handlers=False,
            logger=logger,
            engineio_logger=logger,
        )
        Payload.max_decode_packets = MAX_PACKETS
        # A copy of the library's driver with the one class exchanged: it has no other door for that.
        self.eio._async = {**self.eio._async, "websocket": FrameSocket}  # noqa: SLF001
        self._answer = answer
        self._max_bytes = realtime.max_message_bytes
        self._strangers: set[str] = set()

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WebSocket to its end, or answer a request of a client that polls."""
        if scope["type"] == "websocket":
            await self.handle_request(scope, checked(receive, self._max_bytes), send)
            return
        poll = await read_poll(scope, receive, self._max_bytes)
        if poll is None:
            return
        if poll.is_sound:
            await self.handle_request(poll.scope, poll.receive, send)
            return
        await self.cut(poll.sid)
        await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"This is not a packet.", "more_body": False})

    @override
    async def _handle_eio_connect(self, eio_sid: str, environ: Mapping[str, Any]) -> None:
        # Of the request only this is needed later; the rest is most of the memory of a connection.
        scope = environ["asgi.scope"]
        cookies = [value for name, value in scope["headers"] if name == b"cookie"]
        address = scope["client"][0] if scope.get("client") else ""
        kept = {COOKIES: b"; ".join(cookies).decode("latin-1"), ADDRESS: address}
        await super()._handle_eio_connect(eio_sid, kept)

    @override
    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        if isinstance(data, bytes):
            # A part of a binary event, which has been refused.
            return
        try:
            received: Any = self.packet_class(encoded_packet=data) if isinstance(data, str) and data else None
        except (ValueError, RecursionError):
            received = None
        match received and received.packet_type:
            case packet.CONNECT:
                await self._handle_connect(eio_sid, received.namespace, received.data)
            case packet.DISCONNECT:
                await self._handle_disconnect(eio_sid, received.namespace, self.reason.CLIENT_DISCONNECT)
            case packet.EVENT:
                await self._handle_event(eio_sid, received.namespace, received.id, received.data)
            case packet.BINARY_EVENT:
                await self._handle_event(eio_sid, received.namespace, received.id, None)
            case packet.ACK | packet.BINARY_ACK:
                pass
            case _:
                await self.cut(eio_sid)

    @override
    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or NAMESPACE)
        if sid is None or not self.manager.is_connected(sid, namespace or NAMESPACE):
            await self.cut(eio_sid)
            return
        answer = await self._answer(sid, data)
        if id is not None:
            acknowledgement = self.packet_class(packet.ACK, namespace=namespace, id=id, data=[answer])
            await self._send_packet(eio_sid, acknowledgement)

    @override
    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        await super()._handle_eio_disconnect(eio_sid, reason)
        socket = self.eio.sockets.get(eio_sid)
        if socket is not None:
            while not socket.queue.empty():
                socket.queue.get_nowait()
                socket.queue.task_done()
            # Ends the task that sends, and with it the WebSocket; a poll that waits is answered. By itself the library
            # waits until they time out.
            socket.queue.put_nowait(None)

    def socket_of(self, sid: str) -> EngineSocket | None:
        """Return the Engine.IO socket beneath a connection; None where it has ended."""
        socket: Any = self.eio.sockets.get(self.manager.eio_sid_from_sid(sid, NAMESPACE))
        return None if socket is None or socket.closed else socket

    async def cut(self, eio_sid: str, *, at_once: bool = False) -> None:
        """Close a transport: the client's library connects again by itself, and is refused if it must be.

        The library's own way is to say good-bye first, after which some clients stay away.

        Args:
            eio_sid: the Engine.IO session.
            at_once: whether to forget what waits in the transport, for a client that does not read.
        """
        socket = self.eio.sockets.get(eio_sid)
        if socket is None:
            return
        await socket.close(wait=False, abort=True, reason=self.reason.SERVER_DISCONNECT)
        wire: Wire | None = getattr(socket, "wire", None)
        if wire is not None:
            asyncio.get_running_loop().call_later(0 if at_once else CLOSE_SECONDS, wire.abort)

    async def cut_strangers(self) -> None:
        """Cut who has not said who it is since this was last called."""
        strangers = {
            eio_sid for eio_sid in self.eio.sockets if self.manager.sid_from_eio_sid(eio_sid, NAMESPACE) is None
        }
        for eio_sid in strangers & self._strangers:
            SOCKETS_CUT.labels("stranger").inc()
            await self.cut(eio_sid)
        self._strangers = strangers
