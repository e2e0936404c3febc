"""A collector of traces: an HTTP server that takes spans as OpenTelemetry sends them, and keeps them."""

import asyncio
import gzip
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from typing_extensions import override


class ReceivedSpan(msgspec.Struct, frozen=True):
    """A span as it came in. Ids are hexadecimal; `parent` is empty for the first of a trace."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    failed: bool
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """What was received, and how.

    Attributes:
        url: for the settings.
        spans: in the order in which they came in.
        headers: of each request, with names in lower case.
        bodies: of each request, as they were.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[ReceivedSpan] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    async def wait_for(self, wanted: Callable[[list[ReceivedSpan]], bool]) -> list[ReceivedSpan]:
        """Return all spans when those that are wanted have come."""
        async with asyncio.timeout(20):
            while not wanted(list(self.spans)):  # noqa: ASYNC110 - another thread receives
                await asyncio.sleep(0.02)
        return list(self.spans)

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """Take one request apart."""
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        self.headers.append(headers)
        self.bodies.append(body)
        for group in request.resource_spans:
            resource = _plain(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [
                    ReceivedSpan(
                        name=one.name,
                        trace=one.trace_id.hex(),
                        id=one.span_id.hex(),
                        parent=one.parent_span_id.hex(),
                        kind=one.SpanKind.Name(one.kind).removeprefix("SPAN_KIND_").lower(),
                        failed=one.status.code == one.status.STATUS_CODE_ERROR,
                        attributes=_plain(one.attributes),
                        resource=resource,
                    )
                    for one in scope.spans
                ]


def _plain(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        plain[pair.key] = None if kind is None else getattr(pair.value, kind)
    return plain


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        @override
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.take({name.lower(): value for name, value in self.headers.items()}, body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}/v1/traces")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
