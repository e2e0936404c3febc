"""The OpenAPI 3.1 document, from the declarations of the routes.

Made here and not by the framework, whose generator leaves out the bounds of parameters, the meanings of fields and
everything that our decorators know: permissions, problems, versions, idempotency.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any
from uuid import UUID

from courtyard import __version__
from courtyard.kernel.application import Application
from courtyard.kernel.errors import Problem, ProblemDocument
from courtyard.kernel.http import PUBLIC
from courtyard.site.json_schema import NULL, REFERENCE, Schema, Schemas, not_null

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

PROBLEM_TYPE = "application/problem+json"
DESCRIPTION = """\
What every answer has in common:

- JSON with names in snake_case, times in UTC (RFC 3339), ids as UUIDs. Unknown fields of a body are refused.
- Problems are `application/problem+json` (RFC 9457) with a stable `code`; bad input has a pointer to each field.
- Lists are `{"items": […], "next": cursor or null}`; the cursor goes into the query of the next page.
- `Idempotency-Key` on a POST: the same request under the same key is carried out once and answered the same again.
- `ETag` is the version of a thing. `If-Match` with it refuses a change of what somebody else has changed since.
- `RateLimit-Policy` and `RateLimit` say what is limited, and how much is left; 429 has `Retry-After`.
- `X-Request-ID` names the request in the logs; one that is sent along is taken over.

Authenticate with `Authorization: Bearer` and the access token of a session or an API key, or with the cookies of a
session that was opened with `"cookies": true`. A change that is authenticated by cookie needs the header
`X-CSRF-Token` with the `csrf_token` of that session. What happens live is told over Socket.IO: see `/asyncapi.json`.
"""
SITE = "What the server says about itself."
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The `access_token` of a session, or an API key."},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "courtyard_access",
        "description": "Set by opening a session with `cookies`.",
    },
    "csrf": {
        "type": "apiKey",
        "in": "header",
        "name": "X-CSRF-Token",
        "description": "The `csrf_token` of the session; with the cookie, for every change.",
    },
}
HEADERS = {
    "ETag": {
        "description": "The version of the thing, for `If-Match` and `If-None-Match`.",
        "schema": {"type": "string", "pattern": '^"[0-9a-f]+"$', "examples": ['"3"']},
    },
    "IdempotentReplayed": {
        "description": "There, and `true`, where the answer is that of an earlier request under the same key.",
        "schema": {"const": "true"},
    },
    "Location": {
        "description": "The page. Behind its `#` stands what it is told: `error` is the code of a problem.",
        "schema": {"type": "string", "format": "uri"},
    },
    "RateLimit": {
        "description": "What is left of each limit that was counted (`r`), and when there is more, in seconds (`t`).",
        "schema": {"type": "string", "examples": ['"accounts.login_by_address";r=59;t=60']},
    },
    "RateLimitPolicy": {
        "description": "Each limit that was counted: how much (`q`) in how many seconds (`w`).",
        "schema": {"type": "string", "examples": ['"accounts.login_by_address";q=60;w=60']},
    },
    "RetryAfter": {
        "description": "Seconds to wait before the same request is worth another try.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWWAuthenticate": {"description": "How to authenticate.", "schema": {"type": "string", "examples": ["Bearer"]}},
}
PARAMETERS = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "Made by the client once per change and kept for every retry of it, such as a UUID.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "required": False,
        "description": "The `ETag` that was read: the change is refused if there is a newer version.",
        "schema": {"type": "string", "pattern": '^(\\*|"[0-9]{1,18}")$', "maxLength": 20},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "required": False,
        "description": "The `ETag` that is known: answered with 304 if it is still the version.",
        "schema": {"type": "string"},
    },
}
FILE_BODY = {
    "required": True,
    "description": "The file as it is, or a form with one file.",
    "content": {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": {"type": "string", "format": "binary"}},
                "required": ["file"],
            }
        },
    },
}
_LIMIT_HEADERS = {"RateLimit-Policy": "RateLimitPolicy", "RateLimit": "RateLimit"}
_PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": "WWWAuthenticate"},
    429: {"Retry-After": "RetryAfter", **_LIMIT_HEADERS},
    503: {"Retry-After": "RetryAfter"},
}
_SUCCESS = {
    "GET": "What was asked for.",
    "POST": "What was made, or has been moved on.",
    "PATCH": "How it is now.",
    "PUT": "How it is now.",
    "DELETE": "It is gone.",
}
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_PLACEHOLDER = re.compile(r"{(\w+):(\w+)}")


def openapi_document(parts: Sequence[Application], site: "Sequence[HTTPRouteHandler]") -> dict[str, Any]:
    """Return the document of all routes.

    Args:
        parts: the modules of the kernel and the applications.
        site: the routes that belong to no part.
    """
    schemas = Schemas()
    document = _Document(schemas)
    described = {part.name: (part.description, part.routes) for part in parts} | {"site": (SITE, site)}
    paths: dict[str, dict[str, Any]] = {}
    for tag, (_, routes) in described.items():
        for handler in routes:
            if handler.include_in_schema is False:
                continue
            for path, method in product(handler.paths, handler.http_methods):
                operation = document.operation(handler, tag, method, path)
                paths.setdefault(template(path), {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Courtyard",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "tags": [{"name": tag, "description": text} for tag, (text, routes) in described.items() if routes],
        "paths": paths,
        "components": {
            "schemas": _with_settings(schemas, parts),
            "responses": dict(sorted(document.responses.items())),
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _with_settings(schemas: Schemas, parts: Sequence[Application]) -> dict[str, Schema]:
    """Return the components, with what can be set in a workspace as the parts declare it."""
    kinds = {part.name: part.workspace_settings for part in parts if part.workspace_settings is not None}
    sections = {name: schemas.of(kind) for name, kind in kinds.items()}
    components = schemas.components
    if "SettingsPatch" not in components:
        return components
    patches = {}
    for name, reference in sections.items():
        declared = components[reference["$ref"].removeprefix(REFERENCE)]
        values = {key: {"anyOf": [value, NULL]} for key, value in declared["properties"].items()}
        patches[name] = {"anyOf": [{"type": "object", "properties": values, "additionalProperties": False}, NULL]}
    for name, properties in (("SettingsOfWorkspace", sections), ("SettingsPatch", patches)):
        components[name]["properties"]["sections"] |= {"properties": properties, "additionalProperties": False}
    return components


class _Document:
    """Makes operations, and collects the problems that they share."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self.responses: dict[str, Any] = {}

    def operation(self, handler: "HTTPRouteHandler", tag: str, method: str, path: str) -> dict[str, Any]:
        """Return one operation, under the name of the part that it belongs to."""
        option = handler.opt
        permission = option["permission"]
        described: dict[str, Any] = {
            # Two parts may each have a function of this name.
            "operationId": f"{tag}_{handler.operation_id}",
            "tags": [tag],
            "summary": handler.summary,
            "description": handler.description,
            "x-permission": permission,
            "security": _security(permission, method),
            "parameters": list(self._parameters(handler, method, path)),
        }
        body = inspect.signature(handler.fn).parameters.get("data")
        if body is not None:
            described["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": self._schemas.of(body.annotation)}},
            }
        if handler.opt.get("receives"):
            described["requestBody"] = FILE_BODY
        described["responses"] = {**self._success(handler, method), **self._problems(option["problems"])}
        return {name: value for name, value in described.items() if value not in (None, []) or name == "security"}

    def _parameters(self, handler: "HTTPRouteHandler", method: str, path: str) -> Iterator[Schema]:
        in_path = dict(_PLACEHOLDER.findall(path))
        for name, argument in inspect.signature(handler.fn).parameters.items():
            if name in {"request", "data"}:
                continue
            declared = _declared(argument.annotation)
            schema = not_null(self._schemas.of(UUID if in_path.get(name) == "uuid" else argument.annotation))
            described: Schema = {
                "name": declared.get("query") or name,
                "in": "path" if name in in_path else "query",
                "required": argument.default is inspect.Parameter.empty,
                "description": declared.get("description") or schema.pop("description", None),
                "schema": schema,
            }
            if argument.default not in {inspect.Parameter.empty, None}:
                schema["default"] = argument.default
            yield {key: value for key, value in described.items() if value is not None}
        if handler.opt["idempotent"] or handler.opt.get("receives"):
            yield _component("parameters", "IdempotencyKey")
        if handler.opt["takes_version"]:
            yield _component("parameters", "IfMatch")
        if method == "GET" and _has_version(handler):
            yield _component("parameters", "IfNoneMatch")

    def _success(self, handler: "HTTPRouteHandler", method: str) -> dict[str, Any]:
        option = handler.opt
        answer, status = option["answer"], int(handler.status_code)
        described: dict[str, Any] = {"description": _SUCCESS[method]}
        headers: dict[str, Schema] = {}
        if option["limits"]:
            headers |= {name: _component("headers", component) for name, component in _LIMIT_HEADERS.items()}
        if option.get("redirects"):
            described["description"] = "The browser is sent to a page."
            headers["Location"] = _component("headers", "Location")
        if option["idempotent"] or option.get("receives"):
            headers["Idempotent-Replayed"] = _component("headers", "IdempotentReplayed")
        if _has_version(handler):
            headers["ETag"] = _component("headers", "ETag")
        if headers:
            described["headers"] = headers
        if answer is not None:
            schema = {"schema": self._schemas.of(answer)}
            described["content"] = dict.fromkeys(option["media_type"].split(", "), schema)
        responses = {str(status): described}
        if method == "GET" and _has_version(handler):
            responses["304"] = {
                "description": "It is still the version of `If-None-Match`.",
                "headers": {"ETag": _component("headers", "ETag")},
            }
        return responses

    def _problems(self, problems: Sequence[type[Problem]]) -> dict[str, Any]:
        by_status: dict[int, dict[str, type[Problem]]] = {}
        for problem in problems:
            by_status.setdefault(problem.status, {})[problem.code] = problem
        responses = {}
        for status, kinds in sorted(by_status.items()):
            name = "Or".join(dict.fromkeys(kind.__name__ for kind in kinds.values()))
            if name not in self.responses:
                self.responses[name] = self._problem(status, kinds)
            responses[str(status)] = _component("responses", name)
        return responses

    def _problem(self, status: int, kinds: Mapping[str, type[Problem]]) -> dict[str, Any]:
        described: dict[str, Any] = {
            "description": "\n".join(
                f"- `{code}`: {' '.join((kind.__doc__ or kind.title).split())}" for code, kind in kinds.items()
            ),
            "content": {PROBLEM_TYPE: {"schema": problem_schema(self._schemas, list(kinds), status)}},
        }
        headers = _PROBLEM_HEADERS.get(status, {})
        if headers:
            described["headers"] = {name: _component("headers", component) for name, component in headers.items()}
        return described


def template(path: str) -> str:
    """Return the path of a route as documents write it: `/workspaces/{workspace}`."""
    return _PLACEHOLDER.sub(r"{\1}", path)


def problem_schema(schemas: Schemas, codes: Sequence[str], *statuses: int) -> Schema:
    """Return the schema of a problem that has one of these codes and statuses."""
    allowed = {"code": {"enum": list(codes)}, "status": {"enum": list(statuses)}}
    return {"allOf": [schemas.of(ProblemDocument), {"properties": allowed}]}


def _security(permission: str, method: str) -> list[dict[str, list[str]]]:
    if permission == PUBLIC:
        return []
    return [{"bearer": []}, {"cookie": [], "csrf": []} if method in _UNSAFE else {"cookie": []}]


def _has_version(handler: "HTTPRouteHandler") -> bool:
    option = handler.opt
    return option.get("has_version", False) or "version" in getattr(option["answer"], "__struct_fields__", ())


def _declared(annotation: Any) -> Mapping[str, Any]:  # noqa: ANN401 - any annotation
    """Return what a parameter says to the framework alone: another name in the query, a description."""
    for item in getattr(annotation, "__metadata__", ()):
        if hasattr(item, "query"):
            return {"query": item.query or item.name, "description": item.description}
    return {}


def _component(section: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{section}/{name}"}
