"""What every refusal looks like, and what the edge adds to every answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import NoReturn

import asyncpg
import httpx2
import pytest
import structlog
from structlog.testing import capture_logs

from courtyard.kernel.database import DatabaseUnavailable
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, ok, problem, unique
from tests.running import RunningServer
from tests.services import Databases


async def test_an_unknown_path_is_not_found(nobody: httpx2.AsyncClient) -> None:
    problem(await nobody.get("/nothing/here"), 404, "not_found")


async def test_a_path_with_another_method_says_which_there_are(nobody: httpx2.AsyncClient) -> None:
    refused = await nobody.delete("/accounts")
    problem(refused, 405, "method_not_allowed")
    assert {method.strip() for method in refused.headers["allow"].split(",")} >= {"POST"}
    assert "GET" not in refused.headers["allow"]


async def test_where_get_is_head_is_and_nowhere_else(nobody: httpx2.AsyncClient) -> None:
    head, get = await nobody.head("/nothing/here"), await nobody.get("/nothing/here")
    assert (head.status_code, head.content) == (404, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    refused = await nobody.head("/accounts")
    assert (refused.status_code, refused.content) == (405, b"")


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused(server_factory: ServerFactory, chunked: bool) -> None:  # noqa: FBT001
    server = await server_factory(server={"max_body_bytes": 2_000})

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 100

    body = pieces() if chunked else b" " * 3_000
    async with server.network_client() as client:
        headers = {"Content-Type": "application/json"}
        problem(
            await client.post("/api/v1/sessions/anonymous", content=body, headers=headers), 413, "content_too_large"
        )
        # The connection, or a new one, is good for the next request.
        ok(await client.post("/api/v1/sessions/anonymous", json={"name": "Ada"}))


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
async def test_a_body_of_another_media_type_is_refused(nobody: httpx2.AsyncClient, media_type: str) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    refused = await nobody.post("/sessions/anonymous", content=b'{"name":"Ada"}', headers=headers)
    problem(refused, 415, "unsupported_media_type")


async def test_the_media_type_may_have_parameters(nobody: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    ok(await nobody.post("/sessions/anonymous", content=b'{"name":"Ada"}', headers=headers))


async def test_headers_that_are_too_large_are_refused(server: RunningServer) -> None:
    async with server.network_client() as client:
        problem(await client.get("/api/v1/me", headers={"X-Padding": "x" * 33_000}), 431, "headers_too_large")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"email": "ada@example.org", "password": PASSWORD}, ""),
        ({"email": "no address", "password": PASSWORD, "name": "Ada"}, "/email"),
        ({"email": "ada@example.org", "password": "short", "name": "Ada"}, "/password"),
        ({"email": "ada@example.org", "password": PASSWORD, "name": 7}, "/name"),
        ({"email": "ada@example.org", "password": PASSWORD, "name": "Ada", "admin": True}, ""),
        ([], ""),
    ],
)
async def test_bad_input_is_refused_with_a_pointer_to_the_field(
    nobody: httpx2.AsyncClient, body: object, pointer: str
) -> None:
    document = problem(await nobody.post("/accounts", json=body), 400, "invalid_input")
    (fault,) = document["errors"]
    assert fault["pointer"] == pointer
    assert fault["detail"]


async def test_a_pointer_leads_into_lists(make: Factory) -> None:
    workspace = await make.workspace()
    new = {"email": "somebody@example.org", "roles": ["member", "No Role"]}
    document = problem(await workspace.owner.http.post(f"{workspace.path}/members", json=new), 400, "invalid_input")
    assert [fault["pointer"] for fault in document["errors"]] == ["/roles/1"]


async def test_a_missing_body_is_refused(nobody: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    problem(await nobody.post("/accounts", headers=headers), 400, "invalid_input")


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=many", "limit=1.5", "limit="])
async def test_a_bad_parameter_is_refused_by_its_name(make: Factory, query: str) -> None:
    person = await make.person()
    document = problem(await person.http.get(f"/workspaces?{query}"), 400, "invalid_input")
    assert [fault["parameter"] for fault in document["errors"]] == ["limit"]


async def test_a_bad_id_in_a_path_leads_nowhere(make: Factory) -> None:
    workspace = await make.workspace()
    problem(await workspace.owner.http.get(f"{workspace.conversations}/not-an-id"), 404, "not_found")


async def test_every_answer_has_the_security_headers(server: RunningServer) -> None:
    async with server.network_client() as client:
        for path in ("/api/v1/me", "/nowhere", "/health/live"):
            headers = (await client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert "default-src 'self'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert "strict-transport-security" not in headers
            assert "server" not in headers


async def test_over_https_browsers_are_told_to_stay_there(server_factory: ServerFactory) -> None:
    server = await server_factory(server={"public_url": "https://courtyard.example.org"})
    assert "max-age=" in (await server.client().get("/api/v1/me")).headers["strict-transport-security"]


async def test_a_request_id_is_made_for_each_request(nobody: httpx2.AsyncClient) -> None:
    ids = {(await nobody.get("/me")).headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


async def test_a_request_id_of_the_caller_is_kept(nobody: httpx2.AsyncClient) -> None:
    answer = await nobody.get("/me", headers={"X-Request-ID": "abc.DEF_123-z"})
    assert answer.headers["x-request-id"] == "abc.DEF_123-z"
    assert answer.json()["request_id"] == "abc.DEF_123-z"


@pytest.mark.parametrize("request_id", ["short", "x" * 65, "with space in it", "line\tbreak-here", "<script>alert(1)"])
async def test_a_request_id_that_could_do_harm_is_replaced(nobody: httpx2.AsyncClient, request_id: str) -> None:
    answer = await nobody.get("/me", headers={"X-Request-ID": request_id})
    assert answer.headers["x-request-id"] != request_id


class TestOtherOrigins:
    ORIGIN = "https://www.example.org"

    @pytest.fixture
    async def client(self, server_factory: ServerFactory) -> httpx2.AsyncClient:
        server = await server_factory(server={"cors_origins": (self.ORIGIN,)})
        return server.client(base_url=f"{server.url}/api/v1")

    async def test_a_listed_origin_may_call_with_credentials(self, client: httpx2.AsyncClient) -> None:
        answer = await client.post("/sessions/anonymous", json={"name": "Ada"}, headers={"Origin": self.ORIGIN})
        ok(answer)
        assert answer.headers["access-control-allow-origin"] == self.ORIGIN
        assert answer.headers["access-control-allow-credentials"] == "true"

    async def test_it_may_send_and_read_the_headers_of_the_api(self, client: httpx2.AsyncClient) -> None:
        asked = "authorization,content-type,idempotency-key,if-match,x-csrf-token,x-request-id"
        headers = {
            "Origin": self.ORIGIN,
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": asked,
        }
        answer = await client.options("/me", headers=headers)
        assert answer.is_success
        assert answer.headers["access-control-allow-origin"] == self.ORIGIN
        allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
        assert set(asked.split(",")) <= allowed
        methods = {name.strip() for name in answer.headers["access-control-allow-methods"].split(",")}
        assert {"GET", "POST", "PATCH", "DELETE"} <= methods or methods == {"*"}
        read = (await client.get("/me", headers={"Origin": self.ORIGIN})).headers["access-control-expose-headers"]
        assert {"etag", "retry-after", "x-request-id"} <= {name.strip().lower() for name in read.split(",")}

    async def test_another_origin_is_told_nothing(self, client: httpx2.AsyncClient) -> None:
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
        for answer in (await client.options("/me", headers=headers), await client.get("/me", headers=headers)):
            assert "access-control-allow-origin" not in answer.headers

    async def test_without_settings_no_origin_is_allowed(self, nobody: httpx2.AsyncClient) -> None:
        answer = await nobody.get("/me", headers={"Origin": self.ORIGIN})
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_fault_of_the_server_says_nothing_of_its_insides(
    make: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await make.person()

    def fail(*_: object) -> None:
        raise ValueError("the password of the database is hunter2")

    monkeypatch.setattr(make.server.runtime.identity, "forget", fail)
    with capture_logs() as logs:
        answer = await person.http.delete("/sessions/current")
    document = problem(answer, 500, "internal_error")
    assert "hunter2" not in answer.text
    (fault,) = [entry for entry in logs if entry["event"] == "http.fault"]
    assert isinstance(fault["exc_info"], ValueError)
    (access,) = [entry for entry in logs if entry["event"] == "http.request"]
    assert access["request_id"] == document["request_id"]


async def test_the_access_log_says_who_did_what_and_how_it_went(make: Factory) -> None:
    conversation = await make.conversation()
    visitor = conversation.visitor
    with capture_logs() as logs:
        answer = await visitor.http.get(f"{conversation.messages}?cursor=AAAA")
        await make.nobody.get(f"/nowhere/{unique('thing')}")
    refused, lost = (entry for entry in logs if entry["event"] == "http.request")
    assert refused.pop("milliseconds") > 0
    assert refused == {
        "event": "http.request",
        "log_level": "info",
        "request_id": answer.headers["x-request-id"],
        "method": "GET",
        "path": f"/api/v1{conversation.messages}",
        "route": "/api/v1/workspaces/{workspace}/chat/conversations/{conversation_id}/messages",
        "status": 400,
        "account_id": str(visitor.id),
        "problem": "invalid_input",
    }
    assert (lost["route"], lost["status"], lost["account_id"]) == ("(none)", 404, None)


async def test_the_access_log_can_be_turned_off(server_factory: ServerFactory) -> None:
    server = await server_factory(telemetry={"access_log": False})
    with capture_logs() as logs:
        await server.client().get("/api/v1/me")
    assert logs == []


async def test_a_request_that_takes_too_long_is_answered_and_undone(server_factory: ServerFactory) -> None:
    server = await server_factory(server={"request_timeout_seconds": 0.3})
    make = Factory(server)
    conversation = await make.conversation()
    placement = server.runtime.placement
    held = await placement.main.writers.acquire()
    try:
        await held.begin()
        # Whoever claims has to wait for this row (PostgreSQL) or for the writer (SQLite).
        if not placement.main.is_sqlite:
            await held.fetch(f"SELECT 1 FROM chat_conversation WHERE id = '{conversation.id}' FOR UPDATE", ())  # noqa: S608
        owner = conversation.workspace.owner
        late = await owner.http.post(f"{conversation.path}/claim", headers={"Idempotency-Key": "late"})
        problem(late, 503, "request_timeout")
        assert late.headers["retry-after"]
    finally:
        await held.rollback()
        placement.main.writers.release(held)
    assert ok(await owner.http.get(conversation.path))["state"] == "waiting"
    # The connection that was given up is not in the way of others, nor is the key of the request.
    claimed = ok(await owner.http.post(f"{conversation.path}/claim", headers={"Idempotency-Key": "late"}))
    assert claimed["state"] == "active"


async def test_a_database_that_does_not_answer_is_told(make: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    person = await make.person()

    async def refuse() -> NoReturn:
        raise DatabaseUnavailable("No connection to the database.")

    database = make.server.runtime.placement.main
    with monkeypatch.context() as patched:
        patched.setattr(database.readers, "acquire", refuse)
        patched.setattr(database.writers, "acquire", refuse)
        make.server.runtime.identity.forget()
        for answer in (
            await person.http.get("/me"),
            await person.http.patch("/me", json={"name": "Ada"}),
            await make.nobody.post("/sessions/anonymous", json={"name": "Ada"}),
        ):
            problem(answer, 503, "database_unavailable")
            assert int(answer.headers["retry-after"]) >= 1
    ok(await person.http.get("/me"))


@pytest.mark.services
async def test_a_restart_of_the_database_costs_no_request(databases: Databases, server_factory: ServerFactory) -> None:
    url = await databases.new("postgresql")
    make = Factory(await server_factory(database=url))
    conversation = await make.conversation()
    for _ in range(3):
        restarted = await asyncpg.connect(url)
        await restarted.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await restarted.close()
        make.server.runtime.identity.forget()
        ok(await conversation.visitor.http.get(conversation.path))
        ok(await conversation.workspace.owner.http.post(f"{conversation.path}/notes", json={"text": "hello"}))
        ok(await conversation.visitor.http.post(conversation.messages, json={"text": "hello"}))


async def test_a_caller_who_hangs_up_leaves_nothing_behind(server_factory: ServerFactory) -> None:
    server = await server_factory()
    make = Factory(server)
    conversation = await make.conversation()
    http, notes, new = conversation.workspace.owner.http, f"{conversation.path}/notes", {"text": "hello"}
    pool = server.runtime.placement.main.writers
    for delay in (0.0, 0.0005, 0.001, 0.002, 0.004):
        request = asyncio.ensure_future(http.post(notes, json=new))
        await asyncio.sleep(delay)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    assert pool.in_use == 0
    # Every connection in the pool is good for the next transaction.
    for answer in await asyncio.gather(*(http.post(notes, json=new) for _ in range(12))):
        ok(answer)


def test_logs_are_captured_with_their_processors() -> None:
    """The tests of logs above look at nothing where the configuration has been cached."""
    with capture_logs() as logs:
        structlog.get_logger("x").info("seen")
    assert [entry["event"] for entry in logs] == ["seen"]
