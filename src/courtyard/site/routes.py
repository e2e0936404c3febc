"""HTTP: the front page, the explorer, the documents, health and metrics. None of them looks at who asks.

They are plain handlers of the framework, without the context that our own decorators open: a login that has expired
must not keep anybody from the front page, and health must not depend on what it reports.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from openapi_ui_bundles import swagger_ui

from courtyard.kernel.crypto import same
from courtyard.kernel.errors import NotFound, Problem, Unauthenticated
from courtyard.kernel.http import PUBLIC, HeadersTooLarge, RequestTimeout, StrictRequest
from courtyard.site.asyncapi import asyncapi_document
from courtyard.site.errors import NotReady
from courtyard.site.front import STATIC, front_page
from courtyard.site.health import readiness
from courtyard.site.openapi import openapi_document
from courtyard.site.schemas import Live, Ready
from courtyard.site.workers import Workers

JSON, HTML, TEXT = "application/json", "text/html", "text/plain"
BUNDLE = Path(swagger_ui.static_path)
EXPLORER_FILES = {
    "explorer.js": (STATIC, "text/javascript"),
    "favicon-32x32.png": (BUNDLE, "image/png"),
    "swagger-ui-bundle.js": (BUNDLE, "text/javascript"),
    "swagger-ui.css": (BUNDLE, "text/css"),
}
# What the state of the application has under this name.
WORKERS = "workers"


def _get(
    path: str,
    media_type: str,
    answer: Any,  # noqa: ANN401 - a type
    *problems: type[Problem],
    has_version: bool = False,
    documented: bool = True,
) -> Callable[[Callable[..., Awaitable[Response[bytes]]]], HTTPRouteHandler]:
    """Declare a route for everybody.

    Args:
        path: the whole of it.
        media_type: of the answer.
        answer: its type.
        problems: what it may answer with.
        has_version: whether the answer has an `ETag`.
        documented: whether it is in the OpenAPI document.
    """

    def decorate(function: Callable[..., Awaitable[Response[bytes]]]) -> HTTPRouteHandler:
        summary, _, description = (function.__doc__ or "").partition("\n\n")
        handler = HTTPRouteHandler(
            path,
            http_method="GET",
            opt={
                "permission": PUBLIC,
                "idempotent": False,
                "takes_version": False,
                "limits": (),
                "problems": (HeadersTooLarge, RequestTimeout, *problems),
                "has_version": has_version,
                "answer": answer,
                "media_type": media_type,
            },
            summary=summary.rstrip("."),
            description=" ".join(description.split()) or None,
            operation_id=function.__name__,
            tags=["site"],
            include_in_schema=documented,
        )
        return handler(function)

    return decorate


@_get("/", HTML, str, has_version=True)
async def get_front_page(request: StrictRequest) -> Response[bytes]:
    """See what runs here."""
    return _content(request, front_page(request.exchange.runtime), HTML)


@_get("/explorer", HTML, str, has_version=True)
async def get_explorer(request: StrictRequest) -> Response[bytes]:
    """Explore the HTTP interface in a browser."""
    return _content(request, (STATIC / "explorer.html").read_bytes(), HTML)


@_get("/explorer/{name:str}", "*/*", str, NotFound, has_version=True, documented=False)
async def get_explorer_file(request: StrictRequest, name: FromPath[str]) -> Response[bytes]:
    """Get a file of the explorer."""
    if name not in EXPLORER_FILES:
        raise NotFound
    folder, media_type = EXPLORER_FILES[name]
    return _content(request, await asyncio.to_thread((folder / name).read_bytes), media_type)


@_get("/openapi.json", JSON, dict[str, Any], has_version=True)
async def get_openapi(request: StrictRequest) -> Response[bytes]:
    """Get the OpenAPI document of the HTTP interface."""
    return _document(request, "openapi", lambda: openapi_document(request.exchange.runtime.parts, ROUTES))


@_get("/asyncapi.json", JSON, dict[str, Any], has_version=True)
async def get_asyncapi(request: StrictRequest) -> Response[bytes]:
    """Get the AsyncAPI document of what happens live."""
    return _document(request, "asyncapi", lambda: asyncapi_document(request.exchange.runtime.parts))


@_get("/health/live", JSON, Live)
async def get_live(request: StrictRequest) -> Response[bytes]:
    """Ask whether the process answers."""
    del request
    return _fresh(msgspec.json.encode(Live("live")), JSON)


@_get("/health/ready", JSON, Ready, NotReady)
async def get_ready(request: StrictRequest) -> Response[bytes]:
    """Ask whether everything that the server needs is there.

    Databases answer and are up to date, and so does Redis where there is one.
    """
    return _fresh(msgspec.json.encode(await readiness(request.exchange.runtime)), JSON)


@_get("/metrics", TEXT, str, NotFound, Unauthenticated)
async def get_metrics(request: StrictRequest) -> Response[bytes]:
    """Get the metrics of this process for Prometheus.

    Where the settings have a token for it, that token is the bearer token here. Where they have none, only this
    machine is answered.
    """
    runtime = request.exchange.runtime
    token = runtime.settings.telemetry.metrics_token
    if token is not None:
        shown = request.headers.get("authorization", "")
        if not same(shown, f"Bearer {token.get_secret_value()}"):
            raise Unauthenticated("The metrics have a token of their own.")
    elif not request.is_from_this_machine:
        raise NotFound
    workers: Workers = request.app.state[WORKERS]
    return _fresh(await workers.exposition(), f"{TEXT}; version=0.0.4")


def _fresh(body: bytes, media_type: str) -> Response[bytes]:
    """Answer with what may be another thing in a moment."""
    return Response(body, media_type=media_type, headers={"Cache-Control": "no-store"})


def _content(request: StrictRequest, body: bytes, media_type: str) -> Response[bytes]:
    """Answer with what stays the same until the next version, unless the browser has it already."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(b"", status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)


def _document(request: StrictRequest, name: str, make: Callable[[], dict[str, Any]]) -> Response[bytes]:
    """Answer with a document, which is made when it is first asked for."""
    state = request.app.state
    if name not in state:
        state[name] = msgspec.json.encode(make())
    return _content(request, state[name], JSON)


ROUTES = (
    get_front_page,
    get_explorer,
    get_explorer_file,
    get_openapi,
    get_asyncapi,
    get_live,
    get_ready,
    get_metrics,
)
