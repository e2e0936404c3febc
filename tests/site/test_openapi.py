import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from courtyard import site
from courtyard.kernel.http import PUBLIC
from courtyard.server import openapi_document
from tests.factories import Factory, ok
from tests.services import PARTS
from tests.sockets import Json

# The files of the explorer are a part of its page.
HANDLERS = [
    *(handler for handler in site.ROUTES if handler.operation_id != "get_explorer_file"),
    *(handler for part in PARTS for handler in part.routes),
]
METHODS = {"get", "post", "patch", "delete", "put"}
CHANGES = METHODS - {"get"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def function_of(operation: dict[str, Any]) -> str:
    (tag,) = operation["tags"]
    part, _, function = operation["operationId"].partition("_")
    assert part == tag
    return str(function)


def operation_of(document: dict[str, Any], function: str) -> dict[str, Any]:
    (found,) = [one for _, _, one in operations(document) if function_of(one) == function]
    return found


def resolved(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in part:
        return part
    found: Any = document
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return resolved(document, found)


def nodes(part: Json) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from nodes(value)
    elif isinstance(part, list):
        for value in part:
            yield from nodes(value)


def parameters(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in (resolved(document, part) for part in operation.get("parameters", ()))}


def test_the_document_is_valid(openapi: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(openapi).validate()
    for schema in openapi["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


async def test_what_is_served_is_what_the_command_writes(client: httpx2.AsyncClient, openapi: dict[str, Any]) -> None:
    served = ok(await client.get("/openapi.json"))
    assert served == openapi == openapi_document()


def test_every_route_is_in_it_with_its_permission(openapi: dict[str, Any]) -> None:
    declared = {
        (re.sub(r":\w+}", "}", path), method.lower()): handler.opt["permission"]
        for handler in HANDLERS
        for path in handler.paths
        for method in handler.http_methods
    }
    assert {(path, method): one["x-permission"] for path, method, one in operations(openapi)} == declared


def test_operations_have_ids_of_their_own(openapi: dict[str, Any]) -> None:
    ids = [one["operationId"] for _, _, one in operations(openapi)]
    assert len(ids) == len(set(ids))


def test_security_says_what_a_change_by_cookie_needs(openapi: dict[str, Any]) -> None:
    for _, method, operation in operations(openapi):
        by_cookie: dict[str, list[str]] = {"cookie": [], "csrf": []} if method in CHANGES else {"cookie": []}
        expected = [] if operation["x-permission"] == PUBLIC else [{"bearer": []}, by_cookie]
        assert operation["security"] == expected
    assert openapi["components"]["securitySchemes"]["csrf"]["name"] == "X-CSRF-Token"


def test_headers_that_an_operation_takes(openapi: dict[str, Any]) -> None:
    expected = {
        handler.operation_id: (
            handler.opt["idempotent"] or bool(handler.opt.get("receives")),
            handler.opt["takes_version"],
        )
        for handler in HANDLERS
    }
    for _, _, operation in operations(openapi):
        names = parameters(openapi, operation)
        assert ("Idempotency-Key" in names, "If-Match" in names) == expected[function_of(operation)]
    assert any(idempotent for idempotent, _ in expected.values())
    assert any(takes_version for _, takes_version in expected.values())


def test_a_result_with_a_version_has_an_etag(openapi: dict[str, Any]) -> None:
    responses = operation_of(openapi, "get_workspace")["responses"]
    assert "ETag" in responses["200"]["headers"]
    assert "content" not in responses["304"]
    assert "If-None-Match" in parameters(openapi, operation_of(openapi, "get_workspace"))
    assert "ETag" not in operation_of(openapi, "list_members")["responses"]["200"]["headers"]


def test_every_declared_problem_is_in_it(openapi: dict[str, Any]) -> None:
    for handler in HANDLERS:
        responses = operation_of(openapi, str(handler.operation_id))["responses"]
        for problem in handler.opt["problems"]:
            response = resolved(openapi, responses[str(problem.status)])
            assert f"`{problem.code}`" in response["description"]
            (media_type,) = response["content"]
            assert media_type == "application/problem+json"
            document, narrowed = response["content"][media_type]["schema"]["allOf"]
            assert document == {"$ref": "#/components/schemas/ProblemDocument"}
            assert problem.code in narrowed["properties"]["code"]["enum"]
            assert narrowed["properties"]["status"] == {"enum": [problem.status]}


def test_a_path_has_the_parameters_that_it_names(openapi: dict[str, Any]) -> None:
    for path, _, operation in operations(openapi):
        in_path = {name: one for name, one in parameters(openapi, operation).items() if one["in"] == "path"}
        assert set(re.findall(r"{(\w+)}", path)) == set(in_path)
        assert all(one["required"] for one in in_path.values())
        assert all(one["schema"]["type"] == "string" for one in in_path.values())
    found = parameters(openapi, operation_of(openapi, "get_conversation"))
    assert found["conversation_id"]["schema"] == {"type": "string", "format": "uuid"}
    assert found["workspace"]["schema"]["maxLength"] == 63
    assert found["workspace"]["description"] == "Slug or id of the workspace."


def test_parameters_of_a_query(openapi: dict[str, Any]) -> None:
    found = parameters(openapi, operation_of(openapi, "list_conversations"))
    assert found["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}
    # What may be left out is no null: a query has none.
    assert set(found["state"]["schema"]["enum"]) == {"waiting", "active", "closed"}
    assert found["cursor"]["schema"]["maxLength"] == 300
    assert not any(found[name]["required"] for name in ("limit", "state", "cursor"))


def input_schemas(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every schema that input has to fit, down to its leaves."""
    waiting: list[dict[str, Any]] = []
    for _, _, operation in operations(document):
        # An `If-None-Match` of any form is answered: it is another version.
        taken = parameters(document, operation)
        waiting += [one["schema"] for name, one in taken.items() if name != "If-None-Match"]
        if "requestBody" in operation:
            # A file is bounded by what its kind says, not by a schema.
            waiting += [
                content["schema"]
                for media_type, content in operation["requestBody"]["content"].items()
                if media_type == "application/json"
            ]
    seen: list[dict[str, Any]] = []
    while waiting:
        schema = resolved(document, waiting.pop())
        if any(schema is one for one in seen):
            continue
        seen.append(schema)
        yield schema
        waiting += [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *schema.get("allOf", ())]
        waiting += [schema["items"]] if "items" in schema else []


# What Web Authentication defines, and adds to from level to level: browsers send it as it is.
FROM_BROWSERS = {"Attestation", "AttestationResponse", "Assertion", "AssertionResponse"}


def test_no_input_is_without_bounds(openapi: dict[str, Any]) -> None:
    kinds = set()
    for schema in input_schemas(openapi):
        kind = schema.get("type")
        kinds.add(kind)
        if kind == "string":
            assert {"maxLength", "format"} & schema.keys(), schema
        elif kind in {"integer", "number"}:
            assert {"minimum", "maximum"} <= schema.keys(), schema
        elif kind == "array":
            assert "maxItems" in schema, schema
        elif kind == "object":
            is_open = schema.get("title") in FROM_BROWSERS
            # Settings have the names that the parts of the installation give them: the service looks at these.
            is_bounded = "maxProperties" in schema
            assert is_open or is_bounded or schema["additionalProperties"] is False, schema
    assert {"string", "integer", "array", "object"} <= kinds


def test_every_body_is_required(openapi: dict[str, Any]) -> None:
    bodies = [operation["requestBody"] for _, _, operation in operations(openapi) if "requestBody" in operation]
    assert bodies
    assert all(body["required"] for body in bodies)


def test_examples_fit_their_schemas(openapi: dict[str, Any], validator: Json) -> None:
    found = 0
    for schema in nodes(openapi["components"]):
        for example in schema["examples"] if isinstance(schema.get("examples"), list) else ():
            validator(openapi, schema).validate(example)
            found += 1
    assert found


def test_what_may_be_null_and_what_is_a_time_is_said(openapi: dict[str, Any]) -> None:
    properties = openapi["components"]["schemas"]["Conversation"]["properties"]
    assert {"type": "null"} in properties["claimed_at"]["anyOf"]
    assert {"type": "string", "format": "date-time"} in properties["claimed_at"]["anyOf"]
    assert properties["created_at"] == {"type": "string", "format": "date-time"}
    assert properties["message_count"]["description"] == "The number of the newest message."


async def test_answers_fit_what_is_documented(
    make: Factory, nobody: httpx2.AsyncClient, openapi: dict[str, Any], validator: Json
) -> None:
    workspace = await make.workspace()
    volunteer = await make.member(workspace)
    conversation = await make.conversation(workspace, claimed_by=volunteer, subject="Hello")
    http = volunteer.http
    key = {"Idempotency-Key": str(uuid4())}
    sent = await http.post(conversation.messages, json={"text": "Hello"}, headers=key)
    answers = {
        "send_message": [
            sent,
            await http.post(conversation.messages, json={"text": "Hello"}, headers=key),
            await http.post(conversation.messages, json={"text": "Other"}, headers=key),
            await http.post(conversation.messages, json={"text": ""}),
            await http.post(conversation.messages, content="x", headers={"Content-Type": "text/plain"}),
            await nobody.post(conversation.messages, json={"text": "Hello"}),
        ],
        "get_conversation": [
            await http.get(conversation.path),
            await http.get(f"{workspace.conversations}/{uuid4()}"),
            await http.get(f"{workspace.conversations}/nonsense"),
        ],
        "claim_conversation": [
            await http.post(f"{conversation.path}/claim"),
            await workspace.owner.http.post(f"{conversation.path}/claim"),
        ],
        "list_messages": [await http.get(conversation.messages), await http.get(f"{conversation.messages}?cursor=!")],
        "list_members": [await http.get(f"{workspace.path}/members")],
        "change_workspace": [
            await http.patch(workspace.path, json={"name": "Mine"}),
            await workspace.owner.http.patch(workspace.path, json={"name": "A"}, headers={"If-Match": '"9"'}),
            await workspace.owner.http.patch(
                workspace.path, json={"name": "A"}, headers={"If-Match": f'"{"9" * 5_000}"'}
            ),
            await workspace.owner.http.patch(workspace.path, json={"name": "A"}, headers={"If-Match": '"1"'}),
        ],
        "get_me": [await http.get("/me")],
        "get_workspace": [await http.get(workspace.path, headers={"If-None-Match": '"2"'})],
    }
    statuses = set()
    for operation_id, responses in answers.items():
        documented = operation_of(openapi, operation_id)["responses"]
        for response in responses:
            statuses.add(response.status_code)
            said = resolved(openapi, documented[str(response.status_code)])
            if response.status_code == 304:
                assert "content" not in said
                continue
            media_type = response.headers["content-type"]
            validator(openapi, said["content"][media_type]["schema"]).validate(response.json())
            for name in said.get("headers", {}):
                # The limits are turned off here; tests of their own look at them.
                assert name in response.headers or name in {"Idempotent-Replayed", "RateLimit", "RateLimit-Policy"}
    assert statuses == {200, 201, 304, 400, 401, 403, 404, 409, 412, 415, 422}


def test_the_file_in_the_repository_has_no_path_of_a_machine(openapi: dict[str, Any]) -> None:
    text = json.dumps(openapi)
    assert "localhost" not in text
    assert "/home" not in text


@pytest.mark.parametrize("name", ["openapi.json", "asyncapi.json"])
async def test_a_browser_that_has_it_is_not_sent_it_again(name: str, client: httpx2.AsyncClient) -> None:
    first = await client.get(f"/{name}")
    again = await client.get(f"/{name}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
