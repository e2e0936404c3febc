"""Reports of faults, as a receiver that speaks Sentry's protocol gets them; and what is in none of the ways out."""

import gzip
import json
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typing_extensions import override

from courtyard.kernel.redaction import redacted_prose
from tests.factories import problem
from tests.faults.load import Server
from tests.kernel.telemetry.collector import collecting
from tests.kernel.telemetry.faulty import CANARY, PATH
from tests.processes import PROGRAM, Process

CANARIES = (CANARY, CANARY.replace("-", ""), "planted-cookie", "planted-query", "planted-body", "planted-bearer")


class Sink:
    """What was received.

    Attributes:
        dsn: for the settings.
        bodies: each envelope, as it was.
    """

    def __init__(self, port: int) -> None:
        self.dsn = f"http://planted-public-key@127.0.0.1:{port}/7"
        self.paths: list[str] = []
        self.bodies: list[bytes] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events in the envelopes: a header, then for each item a header and a payload (Sentry's protocol)."""
        found = []
        for body in self.bodies:
            _, *items = body.split(b"\n")
            for header, payload in zip(items[::2], items[1::2], strict=False):
                if json.loads(header)["type"] == "event":
                    found.append(json.loads(payload))
        return found


@contextmanager
def sinking() -> Iterator[Sink]:
    """Run a receiver on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            sink.paths.append(self.path)
            sink.bodies.append(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sink = Sink(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
async def ending() -> AsyncIterator[list[Process]]:
    """Processes that end with the test, however that ends."""
    started: list[Process] = []
    yield started
    for each in reversed(started):
        await each.kill()


@pytest.mark.slow
@pytest.mark.parametrize("log_format", ["json", "console"])
async def test_a_fault_is_reported_and_no_secret_leaves(tmp_path: Path, log_format: str, ending: list[Process]) -> None:
    with sinking() as sink, collecting() as collector:
        settings = {
            "TELEMETRY__ERRORS__DSN": sink.dsn,
            "TELEMETRY__ERRORS__ENVIRONMENT": "trial",
            "TELEMETRY__TRACES__ENDPOINT": collector.url,
            "TELEMETRY__ACCESS_LOG": "true",
            "TELEMETRY__LOG_LEVEL": "DEBUG",
            "TELEMETRY__LOG_FORMAT": log_format,
        }
        server = Server(tmp_path, "server", settings)
        ending.append(server)
        server.arguments = [sys.executable, "-m", "tests.kernel.telemetry.faulty", *server.arguments[len(PROGRAM) :]]
        await server.start()
        async with httpx2.AsyncClient(trust_env=False, cookies={"courtyard_access": "planted-cookie"}) as client:
            headers = {"Authorization": "Bearer planted-bearer"}
            failed = await client.get(f"{server.url}/?password=planted-query", headers=headers)
            document = problem(failed, 500, "internal_error")
            await client.post(
                f"{server.url}/api/v1/sessions", json={"email": "a@b.example", "password": "planted-body"}
            )
            metrics = (await client.get(f"{server.url}/metrics")).text
        spans = await collector.wait_for(lambda spans: any(one.name == "GET /" for one in spans))
        # A stop sends what is still to be sent.
        await server.stop()
    assert set(sink.paths) == {"/api/7/envelope/"}
    logged, raised = sink.events
    assert logged["logentry"]["message"] == "sample.fault"
    assert logged["extra"]["harmless"] == "kept"
    assert "path" not in logged["extra"]
    assert (raised["logentry"]["message"], raised["environment"]) == ("http.fault", "trial")
    assert raised["release"].startswith("courtyard@")
    assert raised["tags"]["request_id"] == raised["tags"]["trace_id"] == document["request_id"]
    assert [one["type"] for one in raised["exception"]["values"]] == ["ValueError", "RuntimeError"]
    cause, fault = raised["exception"]["values"]
    assert cause["value"] == "{'password': [redacted], 'name': 'Ada'}"
    assert fault["value"] == "no login with token=[redacted] at 3, secret: [redacted]"
    frames = [frame for one in (cause, fault) for frame in (one.get("stacktrace") or {}).get("frames", ())]
    assert frames[-1]["function"] == "front_page"
    assert all("vars" not in frame for frame in frames)
    assert "request" not in raised
    (failed_span,) = [one for one in spans if one.name == "GET /"]
    assert failed_span.failed
    assert "courtyard_faults_logged_total 2.0" in metrics
    log = server.output.read_text()
    assert log.count("sample.fault") == 1
    assert "RuntimeError" in log
    ways_out = {
        "log": log.encode(),
        "reports": b"".join(sink.bodies),
        "spans": b"".join(collector.bodies),
        "metrics": metrics.encode(),
    }
    # A line of the program is no secret; it stands in the report as the place of the fault.
    assert f"/{PATH}".encode() not in ways_out["reports"]
    found = [(way, canary) for way, text in ways_out.items() for canary in CANARIES if canary.encode() in text]
    assert found == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("password=hunter2", "password=[redacted]"),
        ("{'api_key': 'a b c', 'name': 'Ada'}", "{'api_key': [redacted], 'name': 'Ada'}"),
        ('{"refresh_token":"x"}', '{"refresh_token":[redacted]}'),
        ("Key (email)=(a@b.example) already exists.", "Key (email)=(a@b.example) already exists."),
        ("line 3, in handler: TimeoutError: 30", "line 3, in handler: TimeoutError: 30"),
        ("postgresql://courtyard:hunter2@host/name", "postgresql://[redacted]@host/name"),
    ],
)
def test_what_stands_behind_a_secret_name_in_prose_is_left_out(text: str, left: str) -> None:
    assert redacted_prose(text) == left


def test_prose_of_any_length_is_read_in_time() -> None:
    for part in ("a=", "password", "a:'", "-_", "password: "):
        redacted_prose(part * (65_536 // len(part)))
