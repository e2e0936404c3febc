"""The trace of a change goes on to the receivers of webhooks: through any process, and however often they are told."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from courtyard.kernel.ids import new_id
from courtyard.kernel.telemetry import continue_from, current_trace_id, end_telemetry, trace_to
from courtyard.kernel.webhooks.service.sending import send
from tests.conftest import ServerFactory
from tests.deploy.cluster import Beside
from tests.factories import Factory, ok
from tests.faults.load import ProcessFactory, Server
from tests.kernel.tasks.crews import own_vhost
from tests.kernel.telemetry.collector import Collector, ReceivedSpan, collecting
from tests.kernel.webhooks.conftest import LOCAL, LONG, listening, name
from tests.processes import Process
from tests.running import MovableClock, make_settings
from tests.services import Databases, Kind
from tests.sockets import Socket

POSTED = "POST /api/v1/workspaces/{workspace}/chat/conversations/{conversation_id}/messages"
# What it takes to tell a receiver of a message, each beneath the one before.
WAY = ("webhook.begin", "task", "webhook.send")


@pytest.fixture
def exporter(tmp_path: Path) -> InMemorySpanExporter:
    """The spans of this process."""
    kept = InMemorySpanExporter()
    trace_to(kept, make_settings(tmp_path, f"sqlite:///{tmp_path}/a.sqlite3"))
    return kept


@pytest.fixture(autouse=True)
async def untraced() -> AsyncIterator[None]:
    """Nothing is traced after a test."""
    yield
    await end_telemetry()


async def test_a_delivery_carries_its_trace(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/a.sqlite3")
    with continue_from(None, "task"):
        trace = current_trace_id()
        # Refused before it is dialled, as any private address is: the headers are those that were to be sent.
        outcome = await send(settings, "http://127.0.0.1:9/", ["a2V5"], new_id(), datetime.now(UTC), "{}")
    await end_telemetry()
    (sent,) = [one for one in exporter.get_finished_spans() if one.name == "webhook.send"]
    assert outcome.request_headers["traceparent"] == f"00-{trace}-{sent.context.span_id:016x}-01"
    assert sent.attributes is not None
    assert sent.attributes["error.type"] == "Unreachable"


async def test_what_is_tried_again_days_later_is_of_the_same_trace(
    databases: Databases, database_kind: Kind, server_factory: ServerFactory, clock: MovableClock,
    exporter: InMemorySpanExporter,
) -> None:  # fmt: skip
    settings: dict[str, Any] = {
        "database": await databases.new(database_kind),
        "webhooks": {"allowed_networks": LOCAL, "sweep_seconds": 0.02, "timeout_seconds": 5},
        "tasks": {"sweep_seconds": 0.02},
        "security": LONG,
    }
    make = Factory(await server_factory(clock=clock, **settings))
    workspace = await make.workspace()
    conversation = await make.conversation(workspace)
    async with listening() as receiver:
        await name(workspace, receiver.url, "chat.message.sent")
        receiver.status = 500
        answer = await conversation.visitor.http.post(conversation.messages, json={"text": "once more"})
        ok(answer)
        await receiver.reach(1)
        clock.move(seconds=7)
        await receiver.reach(2)
    await make.server.app.tasks.stop(5)
    await end_telemetry()
    sends = [one for one in exporter.get_finished_spans() if one.name == "webhook.send"]
    trace = answer.headers["x-request-id"]
    told = [f"00-{trace}-{one.context.span_id:016x}-01" for one in sends]
    assert [one.headers["traceparent"] for one in receiver.told] == told
    assert len(told) == 2


@pytest.fixture
async def ending() -> AsyncIterator[AsyncExitStack]:
    """What ends with the test, the last first, however that ends."""
    async with AsyncExitStack() as stack:
        yield stack


def way_of(spans: list[ReceivedSpan], root: ReceivedSpan) -> list[ReceivedSpan]:
    """Return the spans that lead from a change to the receiver, which is told of it once."""
    way = [root]
    for each in WAY:
        way += [one for one in spans if one.name == each and one.parent == way[-1].id]
    return way


def is_told(spans: list[ReceivedSpan], root: str) -> bool:
    roots = [one for one in spans if one.name == root]
    return bool(roots) and len(way_of(spans, roots[-1])) == 1 + len(WAY)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["worker", pytest.param("celery", marks=pytest.mark.services)])
async def test_one_trace_spans_request_statements_task_and_webhook(
    runner: str, databases: Databases, database_kind: Kind, tmp_path: Path, ending: AsyncExitStack
) -> None:
    collector: Collector = ending.enter_context(collecting())
    receiver = await ending.enter_async_context(listening())
    settings = {
        "DATABASE__URL": await databases.new(database_kind),
        "TASKS__RUNNER": runner,
        "TASKS__SWEEP_SECONDS": "0.1",
        "WEBHOOKS__ALLOWED_NETWORKS": ",".join(LOCAL),
        "WEBHOOKS__SWEEP_SECONDS": "0.05",
        "TELEMETRY__TRACES__ENDPOINT": collector.url,
    }
    if runner == "celery":
        settings["TASKS__BROKER_URL"] = await ending.enter_async_context(own_vhost())
    server = Server(tmp_path, "server", settings)
    worker = Beside(server, "worker", "worker")
    started: tuple[Process, ...] = (server, worker)
    for each in started:
        ending.push_async_callback(each.kill)
        await each.start()
    ending.push_async_callback(server.close)
    make = ProcessFactory(server)
    ending.push_async_callback(make.close)
    workspace = await make.workspace()
    await name(workspace, receiver.url, "chat.message.sent")
    conversation = await make.conversation(workspace)
    answer = await conversation.visitor.http.post(conversation.messages, json={"text": "by HTTP"})
    ok(answer)
    spans = await collector.wait_for(lambda spans: is_told(spans, POSTED))
    (request,) = [one for one in spans if one.name == POSTED]
    assert request.trace == answer.headers["x-request-id"]
    check(spans, request)
    socket = Socket(server.url)
    ending.push_async_callback(socket.close)
    await socket.connect(conversation.visitor.token)
    to = {"workspace": workspace.slug, "conversation_id": str(conversation.id)}
    await socket.ok("chat.message.send", **to, text="by a socket")
    spans = await collector.wait_for(lambda spans: is_told(spans, "chat.message.send"))
    (event,) = [one for one in spans if one.name == "chat.message.send"]
    check(spans, event)
    assert event.trace != request.trace
    # Each message is told with its own trace, and nothing else is.
    assert [one.headers["traceparent"].split("-")[1] for one in receiver.told] == [request.trace, event.trace]


def check(spans: list[ReceivedSpan], root: ReceivedSpan) -> None:
    """Look at what leads from a message to its receiver: one trace, in two processes, with the statements of each."""
    way = way_of(spans, root)
    assert {one.trace for one in way} == {root.trace}
    _, begin, task, sent = way
    assert task.attributes["courtyard.task"] == "webhooks.deliver"
    assert sent.attributes["http.response.status_code"] == 204
    process = {one.id: one.resource["service.instance.id"] for one in way}
    assert process[root.id] == process[begin.id] != process[task.id] == process[sent.id]
    for each, table in ((root, " chat_conversation"), (begin, " webhook_delivery"), (task, " webhook_attempt")):
        found = {one.trace for one in spans if one.parent == each.id and one.name.endswith(table)}
        assert found == {root.trace}, (each.name, table)
