"""What is sent to a receiver says which trace it belongs to."""

from datetime import UTC, datetime
from pathlib import Path

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from courtyard.kernel.ids import new_id
from courtyard.kernel.telemetry import continue_from, current_trace_id, end_telemetry, trace_to
from courtyard.kernel.webhooks.service.sending import send
from tests.running import make_settings


async def test_a_delivery_carries_its_trace(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/a.sqlite3")
    exporter = InMemorySpanExporter()
    trace_to(exporter, settings)
    try:
        with continue_from(None, "task"):
            trace = current_trace_id()
            # Refused before it is dialled, as any private address is: the headers are those that were to be sent.
            outcome = await send(settings, "http://127.0.0.1:9/", ["a2V5"], new_id(), datetime.now(UTC), "{}")
    finally:
        await end_telemetry()
    (sent,) = [one for one in exporter.get_finished_spans() if one.name == "webhook.send"]
    assert outcome.request_headers["traceparent"] == f"00-{trace}-{sent.context.span_id:016x}-01"
    assert sent.attributes is not None
    assert sent.attributes["error.type"] == "Unreachable"
