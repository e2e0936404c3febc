"""Decorators for handlers: they open the context, commit once, and answer in the shape that all routes share.

    @post("/workspaces/{workspace:str}/chat/conversations", permission="chat.conversation.open")
    async def open_conversation(context: Context, data: NewConversation) -> Conversation: ...

A handler that takes a `Context` changes something and is committed when it returns; one that takes a `ReadContext`
reads. Path and query parameters and `data` are arguments like any other. A handler that takes `version` is given the
number in `If-Match`, or None.

A handler that takes `work` and `body` receives a file: it opens a context for each of its steps, `async with work() as
context`, committed at the end of the block, so that no transaction waits for a client. It deals with
`Idempotency-Key` itself.
"""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import urldefrag, urlencode

import msgspec
from litestar import Litestar, Request, Response
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, PathParameter, QueryParameter
from litestar.types import ASGIApp, Method, Receive, Scope, Send
from msgspec import Meta
from typing_extensions import override

from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DatabaseUnavailable
from courtyard.kernel.errors import (
    Forbidden,
    InvalidInput,
    MembershipSuspended,
    NotFound,
    PasswordChangeNeeded,
    PreconditionFailed,
    Problem,
    SecondFactorRequired,
    SessionNeeded,
    Unauthenticated,
    Unavailable,
    WorkspaceArchived,
    WorkspaceDeleted,
)
from courtyard.kernel.http import idempotency
from courtyard.kernel.http.admission import PUBLIC, SIGNED_IN, admit, limits_of
from courtyard.kernel.http.authentication import SAFE_METHODS
from courtyard.kernel.http.bodies import Body
from courtyard.kernel.http.contents import Content, ContentResponse
from courtyard.kernel.http.errors import (
    ContentTooLarge,
    CsrfFailed,
    HeadersTooLarge,
    IdempotencyKeyReused,
    RequestTimeout,
    UnsupportedMediaType,
)
from courtyard.kernel.http.exchange import Exchange, StrictRequest
from courtyard.kernel.http.origin import described
from courtyard.kernel.http.sending import while_there
from courtyard.kernel.limits import Policy, TooManyRequests
from courtyard.kernel.trail import Origin

API = "/api/v1"
SEE_OTHER = 303
NOT_MODIFIED = 304
# A version is a `bigint`.
_TAG = re.compile('"([0-9]{1,18})"')

_BOUNDS = ("ge", "gt", "le", "lt", "max_length", "min_length", "multiple_of", "pattern")

WorkspaceName = Annotated[
    str, Meta(min_length=1, max_length=63, pattern="^[0-9a-z-]+$(?!\\n)", description="Slug or id of the workspace.")
]

T = TypeVar("T")
Handler = Callable[..., Awaitable[Any]]

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Answer(Generic[T]):
    """An answer that is more than a body.

    Attributes:
        body: the Struct.
        cookies: to be set.
        headers: of the answer.
    """

    body: T
    cookies: Sequence[Cookie] = field(default_factory=tuple)
    headers: Sequence[tuple[bytes, bytes]] = ()


@dataclass(frozen=True)
class Stream:
    """An answer that is sent while it is made.

    Attributes:
        content: its parts. They are asked for after the commit, each when the client has taken the one before, and no
            more of them, and it is closed, when the client has gone.
        media_type: what it is.
        filename: under which a browser stores it; visible ASCII without quotes. None for what is not stored.
    """

    content: AsyncIterator[bytes]
    media_type: str
    filename: str | None = None


@dataclass(frozen=True)
class Redirect:
    """An answer that sends a browser to a page (303 See Other; RFC 9110, section 15.4.4).

    Attributes:
        location: the address of the page.
        cookies: to be set.
        fragment: what scripts of the page are told behind the `#`, which reaches no server and no log. It takes the
            place of what stands there.
        problem: why what was asked for was not done. The page is told, in the fragment: `error` is the code, and the
            further members of the problem follow. What was changed is undone, unless the problem keeps it.
    """

    location: str
    cookies: Sequence[Cookie] = field(default_factory=tuple)
    fragment: Mapping[str, str] = field(default_factory=dict)
    problem: Problem | None = None

    @property
    def address(self) -> str:
        """The location with its fragment."""
        told = dict(self.fragment)
        if self.problem is not None:
            extra = {
                name: ",".join(value) if isinstance(value, list) else str(value)
                for name, value in self.problem.extra.items()
            }
            told |= {"error": self.problem.code, **extra}
        return f"{urldefrag(self.location).url}#{urlencode(told)}" if told else self.location


def get(path: str, *, permission: str, **options: Any) -> Callable[[Handler], HTTPRouteHandler]:
    """Declare a handler that reads, or that sends a browser elsewhere. See `_route` for the options."""
    return _route("GET", path, permission, status=200, **options)


def post(
    path: str,
    *,
    permission: str,
    status: int = 201,
    idempotent: bool = True,
    **options: Any,
) -> Callable[[Handler], HTTPRouteHandler]:
    """Declare a handler that makes something or moves it on; it takes `Idempotency-Key` unless told otherwise."""
    return _route("POST", path, permission, status=status, idempotent=idempotent, **options)


def patch(path: str, *, permission: str, **options: Any) -> Callable[[Handler], HTTPRouteHandler]:
    """Declare a handler that changes fields (JSON merge patch, RFC 7396)."""
    return _route("PATCH", path, permission, status=200, **options)


def put(path: str, *, permission: str, **options: Any) -> Callable[[Handler], HTTPRouteHandler]:
    """Declare a handler that sets something as a whole."""
    return _route("PUT", path, permission, status=200, **options)


def delete(path: str, *, permission: str, **options: Any) -> Callable[[Handler], HTTPRouteHandler]:
    """Declare a handler that removes something."""
    return _route("DELETE", path, permission, status=204, **options)


def _route(  # noqa: PLR0913 - everything that can be said of a route
    method: Method,
    path: str,
    permission: str,
    *,
    status: int,
    idempotent: bool = False,
    problems: Sequence[type[Problem]] = (),
    limits: Sequence[Policy] = (),
    absolute: bool = False,
    while_restricted: bool = False,
    media_types: Sequence[str] = ("application/json",),
    while_closed: bool = False,
) -> Callable[[Handler], HTTPRouteHandler]:
    """Make a function into a route.

    Args:
        method: of HTTP.
        path: below `/api/v1`.
        permission: the rule, by its name, or `PUBLIC` or `SIGNED_IN`. It is documented and walked by a test; the
            service is what enforces it.
        status: of success; that of a handler which returns a `Redirect` is 303.
        idempotent: whether `Idempotency-Key` counts.
        problems: what the route may answer with, beside what every such route may.
        limits: rate limits of its own, beside the general one.
        absolute: whether the path is not below `/api/v1`.
        while_restricted: whether it answers somebody who has to change the password first.
        media_types: what the answer can be.
        while_closed: whether it goes on in a workspace that is archived or deleted: the service decides.
    """

    def decorate(function: Handler) -> HTTPRouteHandler:
        hints = get_type_hints(function, include_extras=True)
        rule = _Rule(
            public=permission == PUBLIC,
            # An API key acts in workspaces, where its scopes bind it. Of its account it only reads.
            api_keys=permission != SIGNED_IN or method in SAFE_METHODS,
            while_restricted=while_restricted,
            while_closed=while_closed,
        )
        redirects = hints.get("return") is Redirect
        success = SEE_OTHER if redirects else status
        if "work" in hints:
            endpoint = _staged(function, success, rule)
        else:
            endpoint = _endpoint(function, hints, success, rule, idempotent=idempotent)
        _sign(endpoint, function, hints, path)
        takes_version = "version" in hints
        all_limits = limits_of(path, permission, limits, has_body="data" in hints)
        summary, _, description = inspect.getdoc(function).partition("\n\n") if function.__doc__ else ("", "", "")  # type: ignore[union-attr]
        known = [
            *_common_problems(
                method,
                path,
                permission,
                has_body="data" in hints or "body" in hints,
                idempotent=idempotent,
                takes_version=takes_version,
            ),
            *problems,
        ]
        handler = _RouteHandler(
            path if absolute else API + path,
            http_method=method,
            status_code=success,
            opt={
                "permission": permission,
                "decoder": msgspec.json.Decoder(hints["data"]) if "data" in hints else None,
                "idempotent": idempotent,
                "takes_version": takes_version,
                "problems": known,
                "limits": all_limits,
                "answer": _body_of(hints),
                "redirects": redirects,
                "receives": "body" in hints,
                "media_type": ", ".join(media_types),
            },
            summary=summary.rstrip("."),
            description=" ".join(description.split("Raises:")[0].split()) or None,
            operation_id=function.__name__,
            guards=[admit],
        )
        return handler(endpoint)

    return decorate


@dataclass(frozen=True)
class _Rule:
    """Who comes as far as the handler of a route."""

    public: bool
    api_keys: bool
    while_restricted: bool
    while_closed: bool


def _endpoint(
    function: Handler, hints: dict[str, Any], success: int, rule: _Rule, *, idempotent: bool
) -> Callable[..., Awaitable["JsonResponse"]]:
    """Wrap a handler in what happens at the edge, under the signature that the framework is to see."""
    context_type: type[ReadContext] = hints["context"]
    takes_request, takes_version = "request" in hints, "version" in hints
    changes = issubclass(context_type, Context)

    async def endpoint(request: StrictRequest, **arguments: Any) -> "JsonResponse":
        exchange = request.exchange
        context = await _open(context_type, exchange, request, rule)
        arguments.pop("workspace", None)
        if takes_request:
            arguments["request"] = request
        if takes_version:
            arguments["version"] = _version_of(request)
        if not changes:
            return await _read(context, request, function, arguments, success)
        return await _carry_out(context, request, function, arguments)

    async def _carry_out(
        context: Context, request: StrictRequest, function: Handler, arguments: dict[str, Any]
    ) -> "JsonResponse":
        # The key of somebody who is not signed in counts where that is no matter, and is not even looked at elsewhere.
        takes_key = idempotent and (rule.public or context.principal is not None)
        key = idempotency.key_of(request) if takes_key else None
        try:
            if key is not None and (answer := await idempotency.claim(context, request, key)) is not None:
                await context.rollback()
                return JsonResponse(answer.status, answer.body, [(b"idempotent-replayed", b"true")])
            result = await function(context=context, **arguments)
            response = _response(request, result, success)
            if key is not None:
                await idempotency.keep(context, key, success, response.body)
            await _conclude(context, result)
        except Problem as problem:
            await _refuse(context, problem)
            raise
        except BaseException:
            await context.rollback()
            raise
        return response

    return endpoint


def _staged(function: Handler, success: int, rule: _Rule) -> Callable[..., Awaitable["JsonResponse"]]:
    """Wrap a handler that opens its contexts itself."""

    async def endpoint(request: StrictRequest, **arguments: Any) -> "JsonResponse":
        arguments.pop("workspace", None)

        @asynccontextmanager
        async def work() -> AsyncIterator[Context]:
            context = await _open(Context, request.exchange, request, rule)
            try:
                yield context
                await context.commit()
            except Problem as problem:
                await _refuse(context, problem)
                raise
            except BaseException:
                await context.rollback()
                raise

        return _response(request, await function(work=work, body=Body(request), **arguments), success)

    return endpoint


async def _conclude(context: Context, result: object) -> None:
    if isinstance(result, Redirect) and result.problem is not None:
        await _refuse(context, result.problem)
    else:
        await context.commit()


async def _refuse(context: Context, problem: Problem) -> None:
    await (context.commit() if problem.commits else context.rollback())
    await context.keep_refusals(problem)


async def _read(
    context: ReadContext, request: StrictRequest, function: Handler, arguments: dict[str, Any], success: int
) -> "JsonResponse":
    try:
        return _response(request, await function(context=context, **arguments), success)
    except Problem as problem:
        await context.keep_refusals(problem)
        raise


async def _open(kind: type[ReadContext], exchange: Exchange, request: StrictRequest, rule: _Rule) -> Any:  # noqa: ANN401
    runtime, principal = exchange.runtime, exchange.principal
    if principal is not None:
        if principal.must_change_password and not rule.while_restricted:
            raise PasswordChangeNeeded
        if not rule.api_keys and principal.by_api_key:
            raise SessionNeeded
    named = request.path_params.get("workspace")
    access = None if named is None else await runtime.identity.access(runtime, principal, named)
    if access is not None and not rule.while_closed:
        access.require_open(changes=issubclass(kind, Context))
    origin = Origin("http", partial(described, request))
    return kind(runtime, principal, access, exchange.request_id, origin)


def _response(request: StrictRequest, result: Any, success: int) -> "JsonResponse":  # noqa: ANN401
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(result, Redirect):
        if result.problem is not None:
            request.exchange.error = result.problem.code
        location = (b"location", result.address.encode())
        cookies = [cookie.to_encoded_header() for cookie in result.cookies]
        return JsonResponse(SEE_OTHER, b"", [location, (b"cache-control", b"no-store"), *cookies])
    if isinstance(result, Answer):
        headers += [*result.headers, *(cookie.to_encoded_header() for cookie in result.cookies)]
        result = result.body
    if isinstance(result, Stream):
        return StreamResponse(success, result, is_head=request.exchange.is_head)
    if isinstance(result, Content):
        return ContentResponse(request, result)  # type: ignore[return-value]  # another way to answer
    if result is None:
        return JsonResponse(success, b"", headers)
    version = getattr(result, "version", None)
    if version is not None:
        etag = f'"{version}"'
        headers.append((b"etag", etag.encode()))
        if request.method == "GET" and _lists(request.headers.get("if-none-match", ""), etag):
            return JsonResponse(NOT_MODIFIED, b"", headers)
    return JsonResponse(success, _encode(result), headers)


class JsonResponse:
    """An answer that is encoded already. The framework's own response costs more than encoding a page does."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.body = body
        self.headers = headers

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the answer."""
        headers = self.headers
        if self.body:
            length = str(len(self.body)).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", length), *headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class StreamResponse(JsonResponse):
    """An answer that is sent part by part."""

    __slots__ = ("_content", "_is_head")

    def __init__(self, status: int, stream: Stream, *, is_head: bool) -> None:
        headers = [(b"content-type", stream.media_type.encode())]
        if stream.filename is not None:
            headers.append((b"content-disposition", f'attachment; filename="{stream.filename}"'.encode()))
        super().__init__(status, b"", [*headers, (b"cache-control", b"no-store")])
        self._content = stream.content
        self._is_head = is_head

    @override
    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, as far as the client waits for it."""
        await while_there(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        async with aclosing(self._content) as parts:  # type: ignore[type-var]
            await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
            # What may have no end is not begun where nobody wants it.
            if not self._is_head:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class _RouteHandler(HTTPRouteHandler):
    """A route whose function has made the response itself."""

    @override
    async def to_response(self, app: Litestar, data: Any, request: Request[Any, Any, Any]) -> ASGIApp:
        response: ASGIApp = data
        return response


def _lists(header: str, etag: str) -> bool:
    """Return whether `If-None-Match` has a tag, in the weak comparison (RFC 9110, section 13.1.2)."""
    return any(tag.strip().removeprefix("W/") in {etag, "*"} for tag in header.split(","))


def _version_of(request: StrictRequest) -> int | None:
    """Return the version that `If-Match` names; None where there is no such header, or it takes any.

    Raises:
        PreconditionFailed: it is not a tag that this server gave out.
    """
    header = request.headers.get("if-match")
    if header is None or header.strip() == "*":
        return None
    tag = _TAG.fullmatch(header.strip())
    if tag is None:
        raise PreconditionFailed
    return int(tag[1])


def _sign(endpoint: Callable[..., Any], function: Handler, hints: dict[str, Any], path: str) -> None:
    """Give the wrapper the arguments of the handler, with the request in place of what the edge provides."""
    inner = inspect.signature(function).parameters
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("request", keyword_only, annotation=StrictRequest)]
    if "{workspace:str}" in path:
        annotation = _marked("workspace", WorkspaceName, path)
        parameters.append(inspect.Parameter("workspace", keyword_only, annotation=annotation))
    for name, parameter in inner.items():
        if name not in {"context", "request", "version", "work", "body"}:
            parameters.append(parameter.replace(kind=keyword_only, annotation=_marked(name, hints[name], path)))
    result = Response[_body_of(hints)]  # type: ignore[valid-type, misc]
    endpoint.__name__ = function.__name__
    endpoint.__doc__ = function.__doc__
    endpoint.__module__ = function.__module__
    endpoint.__signature__ = inspect.Signature(parameters, return_annotation=result)  # type: ignore[attr-defined]
    endpoint.__annotations__ = {
        **{parameter.name: parameter.annotation for parameter in parameters},
        "return": result,
    }


def _marked(name: str, annotation: Any, path: str) -> Any:  # noqa: ANN401
    """Say in the type of an argument where it comes from, as the framework wants it.

    What is marked so has its bounds in the mark: the framework looks at no other then.
    """
    if name == "data":
        return JSONBody[annotation]  # type: ignore[misc]
    said = getattr(annotation, "__metadata__", ())
    if any(isinstance(mark, QueryParameter) for mark in said):
        return annotation
    # Behind `| None` the bounds are those of the other member.
    inner = (one for member in get_args(annotation) for one in getattr(member, "__metadata__", ()))
    metas = [one for one in (*said, *inner) if isinstance(one, Meta)]
    bounds = {bound: value for meta in metas for bound in _BOUNDS if (value := getattr(meta, bound)) is not None}
    mark = PathParameter if f"{{{name}:" in path else QueryParameter
    return Annotated[annotation, mark(**bounds)]


def _body_of(hints: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the type of what a handler answers with, None for nothing."""
    answer = hints.get("return")
    body = get_args(answer)[0] if get_origin(answer) is Answer else answer
    if body is Stream or Content in {body, *get_args(body)}:
        return str
    return None if body is type(None) or body is Redirect else body


def _common_problems(
    method: Method, path: str, permission: str, *, has_body: bool, idempotent: bool, takes_version: bool
) -> list[type[Problem]]:
    known: list[type[Problem]] = [
        InvalidInput,
        HeadersTooLarge,
        TooManyRequests,
        Unavailable,
        DatabaseUnavailable,
        RequestTimeout,
    ]
    if permission != PUBLIC:
        known += [Unauthenticated, PasswordChangeNeeded]
        if permission == SIGNED_IN and method not in SAFE_METHODS:
            known += [SessionNeeded]
        if method not in SAFE_METHODS:
            known += [CsrfFailed]
    if permission not in {PUBLIC, SIGNED_IN}:
        known += [Forbidden, NotFound, MembershipSuspended, SecondFactorRequired]
    elif "{" in path:
        known += [NotFound]
    if "{workspace:" in path:
        known += [WorkspaceDeleted] if method in SAFE_METHODS else [WorkspaceDeleted, WorkspaceArchived]
    if has_body:
        known += [ContentTooLarge, UnsupportedMediaType]
    if idempotent:
        known += [IdempotencyKeyReused]
    if takes_version:
        known += [PreconditionFailed]
    return known
