"""A task goes on with the trace of what asked for it."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from courtyard.kernel.context import Context
from courtyard.kernel.telemetry import continue_from, current_trace_id, current_traceparent, end_telemetry, trace_to
from tests.deploy.cluster import Beside
from tests.factories import ok
from tests.faults.load import ProcessFactory, Server
from tests.kernel.tasks import probe
from tests.kernel.tasks.conftest import House
from tests.kernel.tasks.crews import ROOT, install_probe
from tests.kernel.telemetry.collector import collecting
from tests.processes import Process
from tests.running import MovableClock, make_settings
from tests.services import Databases, Kind


@pytest.fixture
async def house(
    databases: Databases, database_kind: Kind, tmp_path: Path
) -> AsyncIterator[tuple[House, Callable[[], tuple[ReadableSpan, ...]]]]:
    """A process that runs tasks and makes spans, and what it has made."""
    url = await databases.new(database_kind)
    settings = make_settings(tmp_path, url)
    exporter = InMemorySpanExporter()
    trace_to(exporter, settings)
    started = House(tmp_path, url, MovableClock())
    await started.start()
    yield started, exporter.get_finished_spans
    await started.stop()
    await end_telemetry()


async def test_a_task_and_its_statements_are_part_of_the_trace(
    house: tuple[House, Callable[[], tuple[ReadableSpan, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, spans = house
    seen: list[str | None] = []

    async def script(context: Context) -> None:
        seen.append(current_trace_id())
        probe.effect(context, "traced")

    monkeypatch.setitem(probe.SCRIPTS, "traced", script)
    with continue_from(None, "POST /api/v1/sample", "server"):
        trace, parent = current_trace_id(), current_traceparent()
        await process.enqueue(probe.act, "traced")
    await process.until("done")
    await process.stop()
    await end_telemetry()
    assert seen == [trace]
    # Servers of other tests that live in this process make spans too, as their schedules come due.
    (task,) = [one for one in spans() if (one.attributes or {}).get("courtyard.task") == "probe.act"]
    assert task.name == "task"
    assert task.parent is not None
    assert parent == f"00-{trace}-{task.parent.span_id:016x}-01"
    beneath = {one.name for one in spans() if one.parent is not None and one.parent.span_id == task.context.span_id}
    assert "COMMIT" in beneath
    assert any(name.startswith("INSERT") for name in beneath)


@pytest.fixture
async def ending() -> AsyncIterator[list[Process]]:
    """Processes that end with the test, however that ends."""
    started: list[Process] = []
    yield started
    for each in reversed(started):
        await each.kill()


@pytest.mark.slow
async def test_one_trace_spans_the_processes(
    databases: Databases, database_kind: Kind, tmp_path: Path, ending: list[Process]
) -> None:
    with collecting() as collector:
        settings = {
            "DATABASE__URL": await databases.new(database_kind),
            "APPLICATIONS": "chat,probe",
            "TASKS__RUNNER": "worker",
            "TASKS__SWEEP_SECONDS": "0.1",
            "TELEMETRY__TRACES__ENDPOINT": collector.url,
        }
        server = Server(tmp_path, "server", settings)
        assert server._environment is not None
        server._environment["PYTHONPATH"] = os.pathsep.join([str(install_probe(tmp_path)), str(ROOT)])
        worker = Beside(server, "worker", "worker")
        ending += [server, worker]
        await server.start()
        await worker.start()
        make = ProcessFactory(server)
        workspace = await make.workspace()
        answer = await workspace.owner.http.post(f"{workspace.path}/probe/effects", json={"key": "across"})
        ok(answer)
        route = "POST /api/v1/workspaces/{workspace}/probe/effects"
        # The mails by which people register are tasks too.
        spans = await collector.wait_for(
            lambda spans: (
                {route, "probe.leave"}
                <= {one.name for one in spans} | {one.attributes.get("courtyard.task") for one in spans}
            )
        )
        (task,) = [one for one in spans if one.attributes.get("courtyard.task") == "probe.leave"]
        (request,) = [one for one in spans if one.id == task.parent]
        assert request.name == route
        assert task.trace == request.trace == answer.headers["x-request-id"]
        # They come from two processes.
        assert task.resource["service.instance.id"] != request.resource["service.instance.id"]
        await make.close()
        await worker.stop()
        await server.close()
