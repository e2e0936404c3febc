"""The outermost layer around the framework: request id, bounds, security headers, time-out, access log, metrics."""

import asyncio
import re
import time
from uuid import UUID

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from courtyard.kernel.errors import Problem
from courtyard.kernel.http.errors import HeadersTooLarge, InternalError, RequestTimeout
from courtyard.kernel.http.exchange import Exchange, bind
from courtyard.kernel.http.problems import MEDIA_TYPE, encode_problem
from courtyard.kernel.ids import new_id
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.telemetry import (
    NOTHING,
    REQUESTS,
    TRACEPARENT,
    Span,
    continue_from,
    current_trace_id,
    request_id_of_logs,
    traces_are_on,
)

log = structlog.get_logger("courtyard.access")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
UNROUTED = "(none)"
HEAD = "HEAD"
# Where a scope says that the peer is a trusted proxy.
TRUSTED = "courtyard.trusted"
SERVER_ERROR = 500
# What machines ask for again and again.
UNTRACED = frozenset({"/health/live", "/health/ready", "/metrics"})
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
CONTENT_SECURITY_POLICY = (
    b"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    b"object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)


class Edge:
    """Wraps the application of the framework.

    Args:
        app: what answers.
        runtime: the process.
    """

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime
        server = runtime.settings.server
        self._max_header_bytes = server.max_header_bytes
        self._timeout = server.request_timeout_seconds
        self._log = runtime.settings.telemetry.access_log
        self._goes_on = runtime.settings.telemetry.traces.accept == "proxies"
        self._headers = _security_headers(https=runtime.settings.public_url.startswith("https:"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        if scope["method"] == HEAD:
            send = _without_body(send)
        with self._span(scope) if traces_are_on() and scope["path"] not in UNTRACED else NOTHING as span:
            await self._exchange(scope, receive, send, span)

    async def _exchange(self, scope: HTTPScope, receive: Receive, send: Send, span: Span) -> None:
        started = time.perf_counter()
        request_id, header_bytes = _measure(scope)
        token = request_id_of_logs.set(request_id.decode())
        client = scope["client"]
        exchange = Exchange(self._runtime, request_id.decode(), client[0] if client else "")
        method = scope["method"]
        if method == HEAD:
            # Answered as GET is, on every route that has one (RFC 9110, section 9.3.2). The web server keeps the scope
            # as it came.
            exchange.is_head = True
            scope = {**scope, "method": "GET"}
        bind(scope, exchange)
        status = 0
        deadline = exchange.deadline = asyncio.timeout(self._timeout)

        async def finish(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id),
                    *exchange.headers,
                    *self._headers,
                ]
            await send(message)
            if message.get("more_body"):
                # What is sent part by part has that long for each.
                deadline.reschedule(asyncio.get_running_loop().time() + self._timeout)

        problem: Problem | None = None
        if header_bytes > self._max_header_bytes:
            problem = HeadersTooLarge()
        else:
            try:
                async with deadline:
                    await self._app(scope, receive, finish)
            except TimeoutError:
                problem = RequestTimeout()
            except Exception:
                log.exception("http.fault", path=scope["path"])
                problem = InternalError()
        if problem is not None and status == 0:
            await _answer(problem, exchange, finish)
        scope["method"] = method
        self._account(scope, exchange, status, time.perf_counter() - started)
        if span is not NOTHING:
            _tell(span, scope, exchange, status)
        request_id_of_logs.reset(token)

    def _span(self, scope: HTTPScope) -> Span:
        """Return the span of a request, in the trace that a trusted proxy tells of, or in one of its own."""
        traceparent = None
        if self._goes_on and scope.get(TRUSTED):
            told = [value for name, value in scope["headers"] if name == TRACEPARENT]
            # More than one is as good as none (W3C Trace Context, section 3.2).
            traceparent = told[0].decode("latin-1") if len(told) == 1 else None
        return continue_from(traceparent, "HTTP", "server")

    def _account(self, scope: HTTPScope, exchange: Exchange, status: int, seconds: float) -> None:
        # The template of the route, never the path: a path holds ids, and anybody can make up new ones.
        route = scope.get("path_template") or UNROUTED
        REQUESTS.observe((known_method(scope["method"]), route, str(status)), seconds)
        if self._log:
            account_id: UUID | None = exchange.account_id
            log.info(
                "http.request",
                request_id=exchange.request_id,
                method=scope["method"],
                path=scope["path"],
                route=route,
                status=status,
                milliseconds=round(seconds * 1000, 2),
                account_id=account_id and str(account_id),
                problem=exchange.error,
            )


def _without_body(send: Send) -> Send:
    async def begin(message: Message) -> None:
        await send(message if message["type"] != "http.response.body" else {**message, "body": b""})

    return begin


def _measure(scope: HTTPScope) -> tuple[bytes, int]:
    """Return the id of a request, its own if it brings one, and how many bytes its headers have."""
    request_id, header_bytes = b"", 0
    for name, value in scope["headers"]:
        header_bytes += len(name) + len(value)
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value
    if not request_id:
        # Where there are traces, one id leads through logs, problems, the audit log and them.
        request_id = (current_trace_id() or new_id().hex).encode()
    return request_id, header_bytes


def _tell(span: Span, scope: HTTPScope, exchange: Exchange, status: int) -> None:
    route = scope.get("path_template")
    method = known_method(scope["method"])
    span.rename(f"{method} {route}" if route else method)
    if route:
        span.set("http.route", route)
    span.set("http.request.method", method)
    span.set("http.response.status_code", status)
    span.set("courtyard.request_id", exchange.request_id)
    if exchange.error is not None:
        span.set("courtyard.problem", exchange.error)
    if status >= SERVER_ERROR:
        span.fail(exchange.error or str(status))


def known_method(method: str) -> str:
    """Return a method as a label: a client can make up others (OpenTelemetry's conventions call them so)."""
    return method if method in METHODS else "_OTHER"


async def _answer(problem: Problem, exchange: Exchange, send: Send) -> None:
    exchange.error = problem.code
    body = encode_problem(problem, exchange.request_id)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _security_headers(*, https: bool) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer (OWASP Secure Headers; ASVS 5.0, V3.4)."""
    headers = [
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"x-frame-options", b"DENY"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"content-security-policy", CONTENT_SECURITY_POLICY),
    ]
    if https:
        headers.append((b"strict-transport-security", b"max-age=31536000; includeSubDomains"))
    return headers
