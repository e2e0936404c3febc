"""The Socket.IO server: connects, keeps and cuts connections, and answers their events one after the other."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import socketio
import structlog

from courtyard.kernel.context import Context, Principal, ReadContext
from courtyard.kernel.errors import FieldError, InvalidInput, PasswordChangeNeeded, Problem, Unauthenticated
from courtyard.kernel.events import Background, Signal
from courtyard.kernel.ids import new_id
from courtyard.kernel.limits import Subject, TooManyRequests, key_of
from courtyard.kernel.realtime.connection import Connection
from courtyard.kernel.realtime.engine import ADDRESS, COOKIES, Engine
from courtyard.kernel.realtime.errors import EventTimeout, InternalSocketError, UnknownEvent
from courtyard.kernel.realtime.handlers import SocketHandler
from courtyard.kernel.realtime.presence import MemoryPresence, Presence, RedisPresence
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.schema import pointer_of
from courtyard.kernel.telemetry import (
    SOCKET_EVENTS,
    SOCKETS,
    SOCKETS_CUT,
    Span,
    continue_from,
    current_trace_id,
    request_id_of_logs,
)
from courtyard.kernel.trail import Described, Origin

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

log = structlog.get_logger("courtyard.sockets")

PATH = "/socket.io"
ACCESS_COOKIE = "courtyard_access"
# So that what nobody told is found within a second, the time to ask and to cut included.
SESSION_CHECK_SECONDS = 0.5
# How long a client may take to say who it is.
CONNECT_SECONDS = 20.0
# What an event is called that nobody answers.
UNKNOWN = "(unknown)"
SERVER_ERROR = 500


class Realtime:
    """Everything about sockets in one process.

    Args:
        runtime: the process.
        handlers: the events that clients may send.
    """

    def __init__(self, runtime: Runtime, handlers: Sequence[SocketHandler[Any, Any]]) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self._handlers = {handler.event: handler for handler in handlers}
        self._connections: dict[str, Connection] = {}
        self._background = Background()
        store = MemoryPresence() if runtime.redis is None else RedisPresence(runtime.redis, settings.redis.prefix)
        self.presence = Presence(store, runtime.dispatcher, runtime.clock, settings.realtime.presence_grace_seconds)
        self._engine = Engine(settings, self.answer)
        self._engine.on("connect", self._connect)
        self._engine.on("disconnect", self._disconnect)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer a request below `PATH`."""
        await self._engine.serve(scope, receive, send)

    def start(self) -> None:
        """Begin to look after presence, sessions, and connections that come to nothing."""
        self.presence.start()
        self._background.every(SESSION_CHECK_SECONDS, self._check_sessions)
        self._background.every(CONNECT_SECONDS, self._engine.cut_strangers)

    async def stop(self) -> None:
        """Cut everybody; clients come back to another process by themselves."""
        await self._background.end()
        for eio_sid in list(self._engine.eio.sockets):
            await self._engine.cut(eio_sid)
        await self.presence.stop()
        await self._engine.shutdown()

    async def _connect(self, sid: str, environ: Mapping[str, Any], auth: object = None) -> None:
        try:
            async with asyncio.timeout(self._runtime.settings.server.request_timeout_seconds):
                principal = await self._principal_of(environ, auth)
        except Exception as error:
            problem = self._problem_of(error, "connect", new_id().hex)
            raise socketio.exceptions.ConnectionRefusedError(problem.code, problem.document()) from error
        socket = self._engine.socket_of(sid)
        if socket is None:
            # It has gone meanwhile, and the library did not tell, because it was not yet there.
            raise socketio.exceptions.ConnectionRefusedError
        limit = self._runtime.settings.realtime.max_queued_messages
        self._connections[sid] = Connection(sid, socket, principal, environ[ADDRESS], limit, self._cut)
        SOCKETS.inc()

    async def _principal_of(self, environ: Mapping[str, Any], auth: object) -> Principal:
        token = auth.get("token") if isinstance(auth, Mapping) else None
        if token is None:
            token = _cookie_of(environ[COOKIES], ACCESS_COOKIE)
        if not isinstance(token, str):
            raise Unauthenticated("Connect with `auth: {token}` or with the cookie of a login.")
        return await self._runtime.identity.authenticate(self._runtime, token)

    async def _disconnect(self, sid: str, _reason: str) -> None:
        connection = self._connections.pop(sid, None)
        if connection is None:
            return
        SOCKETS.dec()
        connection.closed = True
        for key in connection.topics:
            self._runtime.dispatcher.unsubscribe(connection, *key)
            self.presence.lose(*key, connection.principal.account_id, sid)

    def _cut(self, connection: Connection, reason: str) -> None:
        if connection.closed:
            return
        connection.closed = True
        SOCKETS_CUT.labels(reason).inc()
        self._background.spawn(self._engine.cut(connection.socket.sid, at_once=reason == "too_slow"))

    def heard(self, signal: Signal) -> None:
        """Take the signal that a session has ended, or that the rights of an account have changed.

        A topic asks for the right to it when somebody subscribes, so whose rights have changed has to do so anew.
        """
        self._runtime.identity.forget()
        for connection in list(self._connections.values()):
            principal = connection.principal
            if signal.kind == "ended" and principal.session_id.bytes == signal.body:
                self._cut(connection, "session_ended")
            elif signal.kind == "rights_changed" and principal.account_id.bytes == signal.body:
                self._cut(connection, "rights_changed")

    async def _check_sessions(self) -> None:
        """Cut the connections of sessions that have ended, or whose rights have changed, without a signal.

        A role that was given for a time ends without one.
        """
        sessions = {connection.principal.session_id for connection in self._connections.values()}
        living = await self._runtime.identity.living(self._runtime, sessions)
        now = self._runtime.clock.now()
        for connection in list(self._connections.values()):
            principal = connection.principal
            # Who connected while this was asked is looked at the next time.
            if principal.session_id not in sessions:
                continue
            epoch = living.get(principal.session_id)
            if epoch is None:
                self._cut(connection, "session_ended")
            elif epoch > principal.rights_epoch or (connection.until is not None and connection.until <= now):
                self._cut(connection, "rights_changed")

    async def answer(self, sid: str, data: Any) -> dict[str, Any]:  # noqa: ANN401
        """Answer one event; never raises.

        Args:
            sid: the connection.
            data: name of the event and its arguments, as they came in.

        Returns:
            `{"data": …}` or `{"problem": …}`.
        """
        # A connection lasts for long, so each of its events is a trace.
        with continue_from(None, UNKNOWN, "server") as span:
            request_id = current_trace_id() or new_id().hex
            token = request_id_of_logs.set(request_id)
            answer = await self._answer(sid, data, request_id, span)
            request_id_of_logs.reset(token)
        return answer

    async def _answer(self, sid: str, data: Any, request_id: str, span: Span) -> dict[str, Any]:  # noqa: ANN401
        started = time.perf_counter()
        event, outcome = UNKNOWN, "ok"
        try:
            handler, argument = self._handler_of(data)
            event = handler.event
            span.rename(event)
            async with asyncio.timeout(self._runtime.settings.server.request_timeout_seconds):
                answer = {"data": await self._carry_out(self._connections[sid], handler, argument, request_id)}
        except Exception as error:  # noqa: BLE001 - an event without an acknowledgement is a client that waits
            problem = self._problem_of(error, event, request_id)
            outcome = problem.code
            span.set("courtyard.problem", outcome)
            if problem.status >= SERVER_ERROR:
                span.fail(outcome)
            answer = {"problem": problem.document(request_id)}
        seconds = time.perf_counter() - started
        SOCKET_EVENTS.observe((event, outcome), seconds)
        if self._runtime.settings.telemetry.access_log:
            log.info(
                "sockets.event",
                request_id=request_id,
                event_name=event,
                outcome=outcome,
                milliseconds=round(seconds * 1000, 2),
            )
        return answer

    @staticmethod
    def _problem_of(error: Exception, event: str, request_id: str) -> Problem:
        if isinstance(error, Problem):
            return error
        if isinstance(error, TimeoutError):
            return EventTimeout()
        log.error("sockets.fault", event_name=event, request_id=request_id, exc_info=error)
        return InternalSocketError()

    def _handler_of(self, data: Any) -> tuple[SocketHandler[Any, Any], object]:  # noqa: ANN401
        if not isinstance(data, list) or not data or not isinstance(data[0], str):
            raise InvalidInput("An event is a name and one object, without binary parts.")
        handler = self._handlers.get(data[0])
        if handler is None:
            raise UnknownEvent
        if len(data) != 2:  # noqa: PLR2004 - the name and the payload
            raise InvalidInput("An event is a name and one object.")
        return handler, data[1]

    async def _count(
        self, connection: Connection, handler: SocketHandler[Any, Any], payload: object, context: ReadContext
    ) -> None:
        limits, principal, access = self._runtime.limits, connection.principal, context.workspace
        for policy in handler.limits:
            if not limits.is_on(policy):
                continue
            subject = Subject(connection.address, principal.account_id, principal.session_id, access.workspace_id)
            value = None if policy.field is None else getattr(payload, policy.field, None)
            key = key_of(policy, subject, value)
            standing = await limits.hit(policy, key)
            if not standing.allowed:
                context.note_limit(policy.name, key)
                raise TooManyRequests(policy.name, standing.reset_seconds)

    async def _carry_out(
        self, connection: Connection, handler: SocketHandler[Any, Any], argument: object, request_id: str
    ) -> Any:  # noqa: ANN401
        try:
            payload = handler.decode(argument)
        except msgspec.ValidationError as error:
            message = str(error)
            fault = FieldError(message.partition(" - at ")[0], pointer=pointer_of(message))
            raise InvalidInput(errors=[fault]) from error
        runtime = self._runtime
        principal = await runtime.identity.renew(runtime, connection.principal)
        if principal.must_change_password:
            raise PasswordChangeNeeded
        access = await runtime.identity.access(runtime, principal, payload.workspace)
        access.require_open(changes=issubclass(handler.context_type, Context))
        connection.holds_until(access.until)
        origin = Origin("socket", partial(_described, connection, handler.event, argument))
        context = handler.context_type(runtime, principal, access, request_id, origin)
        extra: dict[str, Any] = {}
        if handler.takes_connection:
            extra["connection"] = connection
        if handler.takes_presence:
            extra["presence"] = self.presence
        if not isinstance(context, Context):
            try:
                await self._count(connection, handler, payload, context)
                return await handler.function(context, data=payload, **extra)
            except Problem as problem:
                await context.keep_refusals(problem)
                raise
        try:
            await self._count(connection, handler, payload, context)
            result = await handler.function(context, data=payload, **extra)
            await context.commit()
        except Problem as problem:
            await (context.commit() if problem.commits else context.rollback())
            await context.keep_refusals(problem)
            raise
        except BaseException:
            await context.rollback()
            raise
        return result


def _described(connection: Connection, event: str, argument: object) -> Described:
    """Return what the audit log is told of an event."""
    return Described(method="EVENT", url=event, body=argument, address=connection.address)


def _cookie_of(header: str, wanted: str) -> str | None:
    """Return the value of a cookie; those of others may be as odd as they like."""
    for part in header.split(";"):
        name, equals, value = part.strip().partition("=")
        if equals and name == wanted:
            return value
    return None
