"""Traces of a real server process, as a collector receives them."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from courtyard.kernel.database.tracing import name_of
from courtyard.kernel.telemetry import NOTHING, continue_from, current_trace_id, current_traceparent, span
from tests.factories import ok, problem
from tests.faults.load import ProcessFactory, Server
from tests.kernel.telemetry.collector import Collector, ReceivedSpan, collecting
from tests.services import Databases, Kind
from tests.sockets import Socket

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
KEY = "planted-key-of-the-collector"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector."""
    with collecting() as started:
        yield started


@pytest.fixture
async def traced(
    collector: Collector, databases: Databases, database_kind: Kind, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Server]:
    """A server process that sends its spans to the collector."""
    settings = {
        "DATABASE__URL": await databases.new(database_kind),
        "TELEMETRY__TRACES__ENDPOINT": collector.url,
        "TELEMETRY__TRACES__HEADERS": f"x-api-key={KEY}",
        "TELEMETRY__ACCESS_LOG": "true",
        **getattr(request, "param", {}),
    }
    server = Server(tmp_path, "server", settings)
    await server.start()
    yield server
    await server.close()


def lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.output.read_text().splitlines()]


def has(name: str, count: int = 1) -> Callable[[list[ReceivedSpan]], bool]:
    return lambda spans: sum(one.name == name for one in spans) >= count


def children(spans: list[ReceivedSpan], parent: ReceivedSpan) -> list[str]:
    return [one.name for one in spans if one.parent == parent.id and one.trace == parent.trace]


@pytest.mark.slow
async def test_a_request_and_its_statements(traced: Server, collector: Collector, database_kind: Kind) -> None:
    make = ProcessFactory(traced)
    workspace = await make.workspace()
    route = "/api/v1/workspaces/{workspace}"
    answer = await workspace.owner.http.get(workspace.path, headers={"traceparent": TRACEPARENT})
    ok(answer)
    assert answer.headers["x-request-id"] == TRACE
    spans = await collector.wait_for(has(f"GET {route}"))
    (server,) = [one for one in spans if one.name == f"GET {route}"]
    assert (server.trace, server.parent, server.kind, server.failed) == (TRACE, PARENT, "server", False)
    assert server.attributes == {
        "http.request.method": "GET",
        "http.route": route,
        "http.response.status_code": 200,
        "courtyard.request_id": TRACE,
    }
    assert server.resource["service.name"] == "courtyard"
    (made,) = [one for one in spans if one.name == "POST /api/v1/workspaces"]
    assert (made.parent, made.trace != TRACE) == ("", True)
    statements = children(spans, made)
    assert statements[-1] == "COMMIT"
    assert "INSERT workspace" in statements
    (inserted,) = [one for one in spans if one.name == "INSERT workspace"]
    assert inserted.kind == "client"
    assert inserted.attributes == {"db.system.name": database_kind}
    # One id leads through the answer, the log and the trace.
    logged = [line for line in lines(traced) if line["event"] == "http.request" and line["route"] == route]
    assert [(line["request_id"], line["trace_id"]) for line in logged] == [(TRACE, TRACE)]
    assert collector.headers[0]["x-api-key"] == KEY
    await make.close()


@pytest.mark.slow
async def test_what_is_refused_and_what_has_an_id_already(traced: Server, collector: Collector) -> None:
    make = ProcessFactory(traced)
    refused = problem(await make.nobody.get("/me"), 401, "unauthenticated")
    await make.nobody.get("/nowhere/secret-in-a-path?token=secret-in-a-query", headers={"X-Request-ID": "my-own-id"})
    # What is malformed is not gone on with.
    for odd in ("00-zz-00f067aa0ba902b7-01", "x" * 5_000, f"00-{'0' * 32}-{PARENT}-01"):
        await make.nobody.get("/me", headers={"traceparent": odd, "X-Request-ID": "odd-parent"})
    spans = await collector.wait_for(has("GET /api/v1/me", 4))
    first, *odd_ones = [one for one in spans if one.name == "GET /api/v1/me"]
    assert first.trace == refused["request_id"]
    assert first.attributes["courtyard.problem"] == "unauthenticated"
    assert not first.failed
    assert all(one.parent == "" for one in odd_ones)
    (unrouted,) = [one for one in spans if one.name == "GET"]
    assert unrouted.attributes["courtyard.request_id"] == "my-own-id"
    assert not any(b"secret-in-a" in body for body in collector.bodies)
    await make.close()


@pytest.mark.slow
async def test_a_socket_event_is_a_trace(traced: Server, collector: Collector) -> None:
    make = ProcessFactory(traced)
    conversation = await make.conversation()
    socket = Socket(traced.url)
    await socket.connect(conversation.visitor.token)
    sent = {"workspace": conversation.workspace.slug, "conversation_id": str(conversation.id)}
    message = {"text": "planted-text-of-a-message", "client_message_id": "0193f2a0-0000-7000-8000-000000000001"}
    await socket.ok("chat.message.send", **sent, **message)
    refused = await socket.call("chat.message.send", {**sent, "text": ""})
    spans = await collector.wait_for(has("chat.message.send", 2))
    one, other = [each for each in spans if each.name == "chat.message.send"]
    assert (one.parent, other.parent, one.trace != other.trace) == ("", "", True)
    assert any("chat_" in name for name in children(spans, one)), children(spans, one)
    assert other.trace == refused["problem"]["request_id"]
    assert other.attributes["courtyard.problem"] == "invalid_input"
    assert not any(b"planted-text" in body for body in collector.bodies)
    await socket.close()
    await make.close()


@pytest.mark.slow
async def test_a_mail_is_part_of_the_trace_that_caused_it(traced: Server, collector: Collector) -> None:
    make = ProcessFactory(traced)
    await make.account("ada@example.org", "Ada")
    spans = await collector.wait_for(has("mail.deliver"))
    (mail, *_) = [one for one in spans if one.name == "mail.deliver"]
    assert mail.attributes["courtyard.outcome"] == "sent"
    (cause,) = [one for one in spans if one.trace == mail.trace and one.kind == "server"]
    assert cause.name == "POST /api/v1/accounts"
    assert not any(b"ada@example.org" in body for body in collector.bodies)
    await make.close()


@pytest.mark.slow
@pytest.mark.parametrize("traced", [{"TELEMETRY__TRACES__ACCEPT": "never"}], indirect=True)
async def test_no_word_of_others_is_taken_where_the_settings_say_so(traced: Server, collector: Collector) -> None:
    make = ProcessFactory(traced)
    await make.nobody.get("/me", headers={"traceparent": TRACEPARENT})
    (one,) = await collector.wait_for(has("GET /api/v1/me"))
    assert (one.parent, one.trace != TRACE) == ("", True)
    await make.close()


@pytest.mark.slow
@pytest.mark.parametrize("traced", [{"SERVER__TRUSTED_PROXIES": "192.0.2.1"}], indirect=True)
async def test_who_is_no_trusted_proxy_begins_a_trace_of_our_own(traced: Server, collector: Collector) -> None:
    make = ProcessFactory(traced)
    await make.nobody.get("/me", headers={"traceparent": TRACEPARENT})
    (one,) = await collector.wait_for(has("GET /api/v1/me"))
    assert (one.parent, one.trace != TRACE) == ("", True)
    await make.close()


@pytest.mark.slow
@pytest.mark.parametrize("traced", [{"TELEMETRY__TRACES__SAMPLE": "0"}], indirect=True)
async def test_what_is_not_sampled_is_not_sent(traced: Server, collector: Collector) -> None:
    make = ProcessFactory(traced)
    await make.nobody.get("/openapi.json")
    # Whoever began the trace has decided that it is kept.
    await make.nobody.get("/me", headers={"traceparent": TRACEPARENT})
    spans = await collector.wait_for(has("GET /api/v1/me"))
    assert {one.trace for one in spans} == {TRACE}
    await make.close()


def test_without_a_collector_nothing_is_traced() -> None:
    assert span("anything") is NOTHING
    assert continue_from(TRACEPARENT, "anything") is NOTHING
    assert (current_traceparent(), current_trace_id()) == (None, None)


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("SELECT a.id FROM account AS a JOIN session ON true", "SELECT account"),
        ("SELECT id FROM task FOR UPDATE SKIP LOCKED", "SELECT task"),
        ("INSERT INTO event (a) VALUES ($1) ON CONFLICT DO UPDATE SET a = $1", "INSERT event"),
        ("WITH x AS (INSERT INTO topic SELECT 1 FROM y RETURNING n) SELECT n FROM x", "INSERT topic"),
        ('UPDATE "order" SET a = 1', "UPDATE order"),
        ("DELETE FROM session WHERE a = 'DELETE'", "DELETE session"),
        ("BEGIN IMMEDIATE", "BEGIN"),
        ("select 1", "SELECT"),
    ],
)
def test_the_name_of_a_statement(sql: str, name: str) -> None:
    assert name_of(sql) == name
