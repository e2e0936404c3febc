"""What the audit log is told of a request: put together only when an entry is written."""

from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from litestar.types import Scope

from courtyard.kernel.http.exchange import Exchange, StrictRequest
from courtyard.kernel.redaction import redacted
from courtyard.kernel.trail import Described

# A longer body is not taken apart to find what is secret in it, so nothing of it is kept.
MAX_BODY_BYTES = 65_536
MAX_URL = 2_000
MAX_HEADERS = 100


def described(request: StrictRequest) -> Described:
    """Return a request as it came in; what is secret in its URL is left out already."""
    scope = request.scope
    path_arguments = dict(request.path_params)
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_HEADERS)
    return Described(
        method=request.method,
        url=_url(scope, path_arguments, query),
        headers=_headers(scope),
        arguments={**_grouped(query), **path_arguments},
        body=_body(request.exchange),
        address=request.exchange.address or None,
    )


def _url(scope: Scope, path_arguments: dict[str, Any], query: list[tuple[str, str]]) -> str:
    path = quote(scope["path"])
    for name, value in path_arguments.items():
        if (kept := redacted({name: value})[name]) != value:
            path = path.replace(quote(str(value)), str(kept))
    if query:
        path += "?" + urlencode([(name, redacted({name: value})[name]) for name, value in query], safe="[]")
    return path[:MAX_URL]


def _headers(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in list(scope["headers"])[:MAX_HEADERS]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _grouped(query: list[tuple[str, str]]) -> dict[str, str | list[str]]:
    grouped: dict[str, str | list[str]] = {}
    for name, value in query:
        before = grouped.get(name)
        if before is None:
            grouped[name] = value
        else:
            grouped[name] = [*before, value] if isinstance(before, list) else [before, value]
    return grouped


def _body(exchange: Exchange) -> Any:  # noqa: ANN401 - whatever JSON holds
    # Only what has been read: an entry waits for no client.
    body = exchange.body
    if not body:
        return None
    if len(body) > MAX_BODY_BYTES:
        return f"[{len(body)} bytes]"
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return f"[{len(body)} bytes that are not JSON]"
