"""Schemathesis over the OpenAPI document: good and bad requests of every kind, each answered as documented.

No fault of the server, no status or content type that the document does not have, every answer as its schema says,
nothing accepted that the schema refuses, and nothing answered without the login that it needs.
"""

import asyncio
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from courtyard import site
from tests.factories import Factory, ok, unique
from tests.kernel.workspaces.acting import grant, make_role
from tests.running import RunningServer
from tests.services import PARTS

if TYPE_CHECKING:
    from schemathesis import APIOperation, Case

DOCUMENT = site.openapi_document(PARTS)
LABELS = [f"{method.upper()} {path}" for path, item in DOCUMENT["paths"].items() for method in item]
EXAMPLES = 8
BAD_REQUEST = 400
FLOAT = re.compile(r"Expected `int( \| null)?`, got `float`")


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
                faults = [fault.get("parameter") or fault["detail"] for fault in document.get("errors", [])]
                # To JSON Schema 30.0 is an integer. Here it is none.
                fine = faults == ["cursor"] or (len(faults) == 1 and FLOAT.fullmatch(faults[0]))
                assert document["code"] != "invalid_input" or fine, document

        send()


@pytest.mark.slow
# The server is in this process too, and makes the boundaries of its mails with `random`: no strategy does.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.parametrize("label", LABELS)
async def test_every_operation_answers_as_documented(make: Factory, label: str) -> None:
    workspace = await make.workspace()
    conversation = await make.conversation(workspace, message={"text": "hello"})
    member = await make.member(workspace, "member")
    role = await make_role(workspace, workspace.owner, "chat.message.send")
    granted = ok(await grant(workspace, workspace.owner, member, "chat.volunteer", conversation))
    entry = ok(await workspace.owner.http.get(f"{workspace.path}/audit?limit=1"))["items"][0]
    http, new = workspace.owner.http, {"roles": ["member"]}
    invitation = ok(
        await http.post(f"{workspace.path}/invitations", json={**new, "email": f"{unique('invited')}@example.org"})
    )
    link = ok(await http.post(f"{workspace.path}/invitation-links", json=new))
    service = ok(await http.post(f"{workspace.path}/services", json={**new, "name": "Bot"}))
    key = ok(await http.post(f"{workspace.path}/services/{service['id']}/keys", json={"name": "Key"}))
    known = {
        "entry_id": entry["id"],
        "workspace": workspace.slug,
        "role": role,
        "grant_id": granted["id"],
        "conversation_id": str(conversation.id),
        "account_id": str(member.id),
        "name": "explorer.js",
        "provider": "company",
        "invitation_id": invitation["id"],
        "link_id": link["link"]["id"],
        "service_id": service["id"],
        "key_id": key["api_key"]["id"],
    }
    walk = Walk(make.server, workspace.owner.headers, known)
    await asyncio.to_thread(walk.run, label)


@pytest.mark.slow
def test_every_operation_of_the_document_is_walked() -> None:
    assert set(LABELS) == set(operations())
    assert len(LABELS) > 25
