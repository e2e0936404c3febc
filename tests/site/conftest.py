"""The documents of the default applications, and a client at the root of a server."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import jsonschema_rs
import pytest

from courtyard.site import asyncapi_document, openapi_document
from tests.running import RunningServer
from tests.services import PARTS


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[httpx2.AsyncClient]:
    """A client without a login; paths begin at `/`."""
    async with server.client() as opened:
        yield opened


@pytest.fixture(scope="session")
def openapi() -> dict[str, Any]:
    return openapi_document(PARTS)


@pytest.fixture(scope="session")
def asyncapi() -> dict[str, Any]:
    return asyncapi_document(PARTS)


@pytest.fixture(scope="session")
def validator() -> Callable[[dict[str, Any], dict[str, Any]], jsonschema_rs.Draft202012Validator]:
    """Makes validators of schemas that refer to the components of a document."""

    def make(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
        whole = {**schema, "components": {"schemas": document["components"]["schemas"]}}
        return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)

    return make
