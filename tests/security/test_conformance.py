"""Schemathesis over the OpenAPI document: good and bad requests of every kind, each answered as documented.

No fault of the server, no status or content type that the document does not have, every answer as its schema says,
nothing accepted that the schema refuses, and nothing answered without the login that it needs.
"""

import asyncio
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from courtyard import site
from tests.factories import Factory
from tests.running import RunningServer
from tests.services import PARTS

if TYPE_CHECKING:
    from schemathesis import APIOperation, Case

DOCUMENT = site.openapi_document(PARTS)
LABELS = [f"{method.upper()} {path}" for path, item in DOCUMENT["paths"].items() for method in item]
EXAMPLES = 8
BAD_REQUEST = 400


@cache
def operations() -> Mapping[str, "APIOperation[Any, Any, Any, Any]"]:
    """Return what Schemathesis makes of the document. It loads slowly, and only these tests need it."""
    import schemathesis  # noqa: PLC0415
    from schemathesis.core.result import Ok  # noqa: PLC0415

    schema = schemathesis.openapi.from_dict(DOCUMENT)
    # A tag in `If-Match` that is none matches nothing.
    schema.config.checks.negative_data_rejection.expected_statuses.append("412")
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    return {operation.label: operation for operation in found}


class Walk:
    """Requests to one operation, on behalf of the owner of a workspace.

    Args:
        server: where.
        headers: that authenticate.
        known: path parameters of things that are there.
    """

    def __init__(self, server: RunningServer, headers: dict[str, str], known: Mapping[str, str]) -> None:
        self._url = server.url
        self._headers = headers
        self._known = known

    def run(self, label: str) -> None:
        """Send requests and check the answers. Blocks, so it has a thread of its own."""
        from schemathesis import GenerationMode  # noqa: PLC0415

        operation = operations()[label]
        here = {name: value for name, value in self._known.items() if f"{{{name}}}" in operation.path}
        with requests.Session() as session:
            session.trust_env = False
            self._send(session, operation.as_strategy(GenerationMode.POSITIVE, path_parameters=here or None), good=True)
            self._send(session, operation.as_strategy(GenerationMode.POSITIVE), good=True)
            # Where there is nothing to be got wrong, nothing can be generated.
            if operation.body or operation.query or operation.path_parameters:
                self._send(session, operation.as_strategy(GenerationMode.NEGATIVE), good=False)

    def _send(self, session: requests.Session, cases: SearchStrategy["Case[Any]"], *, good: bool) -> None:
        from schemathesis.checks import positive_data_acceptance  # noqa: PLC0415

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(cases)
        def send(case: "Case[Any]") -> None:
            answer = case.call_and_validate(
                base_url=self._url, session=session, headers=self._headers, excluded_checks=[positive_data_acceptance]
            )
            if good and answer.status_code == BAD_REQUEST:
                # What the schema allows is refused for what it means alone, such as a role that there is not.
                document = answer.json()
                faults = [fault.get("parameter") for fault in document.get("errors", [])]
                assert document["code"] != "invalid_input" or faults == ["cursor"], document

        send()


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
async def test_every_operation_answers_as_documented(make: Factory, label: str) -> None:
    workspace = await make.workspace()
    conversation = await make.conversation(workspace, message={"text": "hello"})
    member = await make.member(workspace, "member")
    known = {
        "workspace": workspace.slug,
        "conversation_id": str(conversation.id),
        "account_id": str(member.id),
        "name": "explorer.js",
    }
    walk = Walk(make.server, workspace.owner.headers, known)
    await asyncio.to_thread(walk.run, label)


@pytest.mark.slow
def test_every_operation_of_the_document_is_walked() -> None:
    assert set(LABELS) == set(operations())
    assert len(LABELS) > 25
