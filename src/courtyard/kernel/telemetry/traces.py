"""Traces of this process: spans by OpenTelemetry, sent to a collector, where the settings name one.

Without one nothing of OpenTelemetry is imported, and a span costs a look at a variable. What a span says comes from
closed sets, such as the template of a route or the name of a table: never a path, a value, an address or a person.
"""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from typing_extensions import override

from courtyard import __version__
from courtyard.kernel.ids import new_id
from courtyard.kernel.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

Kind: TypeAlias = Literal["internal", "server", "client", "producer", "consumer"]
Value: TypeAlias = str | int | float | bool

Attributes: TypeAlias = Mapping[str, Value]

TRACEPARENT = b"traceparent"
LONGEST_TRACEPARENT = 100
# How long a stop waits for the last spans to be sent.
FLUSH_SECONDS = 5.0
MAX_BATCH = 512
# How long a span waits for company on its way.
SEND_MILLISECONDS = 1_000


class Span:
    """Something that takes time; used with `with`. This one is of what is not traced: it does nothing."""

    __slots__ = ()

    def __enter__(self) -> Self:
        """Begin: what begins inside is part of it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End. An exception that passes by makes it a failed one, told by its type alone."""

    def rename(self, name: str) -> None:
        """Call it what is known only now."""

    def set(self, name: str, value: Value) -> None:
        """Say something about it."""

    def fail(self, kind: str) -> None:
        """Mark it as failed, by the code of a problem or the type of an error."""


NOTHING = Span()


class _Tracer:
    """Makes spans; all that this module has of OpenTelemetry is in here."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import context, trace  # noqa: PLC0415 - loaded where there are traces
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415

        self.provider = provider
        self.context = context
        self.trace = trace
        self._tracer = provider.get_tracer("courtyard", __version__)
        self._propagator = tracecontext.TraceContextTextMapPropagator()
        self._kinds = {
            "internal": trace.SpanKind.INTERNAL,
            "server": trace.SpanKind.SERVER,
            "client": trace.SpanKind.CLIENT,
            "producer": trace.SpanKind.PRODUCER,
            "consumer": trace.SpanKind.CONSUMER,
        }

    def start(self, name: str, kind: Kind, parent: Any, attributes: Attributes | None) -> Span:  # noqa: ANN401
        """Return a span that has begun. `parent` is a context of OpenTelemetry; None for the present one."""
        span = self._tracer.start_span(name, parent, self._kinds[kind], attributes)
        return _Recorded(self, span)

    def told(self, traceparent: str | None) -> Any:  # noqa: ANN401
        """Return the context that a `traceparent` tells of; an empty one where it tells nothing."""
        empty = self.context.Context()
        if traceparent is None or len(traceparent) > LONGEST_TRACEPARENT:
            return empty
        return self._propagator.extract({"traceparent": traceparent}, empty)

    def present(self) -> Any:  # noqa: ANN401
        """Return what is known of the present span."""
        return self.trace.get_current_span().get_span_context()


class _Recorded(Span):
    """A span of OpenTelemetry."""

    __slots__ = ("_span", "_token", "_tracer")

    def __init__(self, tracer: _Tracer, span: Any) -> None:  # noqa: ANN401
        self._tracer = tracer
        self._span = span
        self._token: Any = None

    @override
    def __enter__(self) -> Self:
        self._token = self._tracer.context.attach(self._tracer.trace.set_span_in_context(self._span))
        return self

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, asyncio.CancelledError):
            self.fail(getattr(error, "code", None) or kind.__name__)
        self._span.end()
        self._tracer.context.detach(self._token)

    @override
    def rename(self, name: str) -> None:
        self._span.update_name(name)

    @override
    def set(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)

    @override
    def fail(self, kind: str) -> None:
        self._span.set_attribute("error.type", kind)
        self._span.set_status(self._tracer.trace.StatusCode.ERROR)


_tracer: _Tracer | None = None


def configure_traces(settings: Settings) -> None:
    """Begin to send spans to the collector that the settings name; without one, none are made."""
    traces = settings.telemetry.traces
    if traces.endpoint is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    headers = {name: value.get_secret_value() for name, value in traces.headers.items()}
    exporter = OTLPSpanExporter(traces.endpoint, headers=headers, timeout=traces.timeout_seconds)
    trace_to(exporter, settings)


def trace_to(exporter: "SpanExporter", settings: Settings) -> None:
    """Hand spans to an exporter from now on."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    global _tracer  # noqa: PLW0603 - of the process, as its logs and metrics are
    traces = settings.telemetry.traces
    resource = Resource.create(
        {
            "service.name": traces.service_name,
            "service.version": __version__,
            "service.instance.id": new_id().hex,
        }
    )
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(traces.sample)), resource=resource, shutdown_on_exit=False
    )
    batch = min(MAX_BATCH, traces.queued_spans)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=traces.queued_spans,
            max_export_batch_size=batch,
            schedule_delay_millis=SEND_MILLISECONDS,
        )
    )
    _tracer = _Tracer(provider)


async def end_traces() -> None:
    """Send what is still to be sent, and make no spans any more."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        await asyncio.to_thread(_flush, tracer)


def _flush(tracer: _Tracer) -> None:
    tracer.provider.force_flush(int(FLUSH_SECONDS * 1000))
    tracer.provider.shutdown()


def traces_are_on() -> bool:
    """Return whether spans are made at all."""
    return _tracer is not None


def span(name: str, kind: Kind = "internal", attributes: Attributes | None = None) -> Span:
    """Return a part of what is traced now; nothing where that is nothing, such as a sweep."""
    if _tracer is None or not _tracer.trace.get_current_span().is_recording():
        return NOTHING
    return _tracer.start(name, kind, None, attributes)


def continue_from(
    traceparent: str | None, name: str, kind: Kind = "consumer", attributes: Attributes | None = None
) -> Span:
    """Return the first span of this process in a trace, which may have begun in another one.

    Args:
        traceparent: what `current_traceparent` returned there; None begins a new trace.
        name: from a closed set.
        kind: `server` for what somebody waits for, `consumer` for what was left behind to be done.
        attributes: what else there is to say, from closed sets.
    """
    if _tracer is None:
        return NOTHING
    return _tracer.start(name, kind, _tracer.told(traceparent), attributes)


def current_traceparent() -> str | None:
    """Return the present span as the header `traceparent` has it (W3C Trace Context), to be kept with work for later.

    At most 55 characters. None where nothing is traced.
    """
    if _tracer is None:
        return None
    present = _tracer.present()
    if not present.is_valid:
        return None
    return f"00-{present.trace_id:032x}-{present.span_id:016x}-{present.trace_flags & 1:02x}"


def current_trace_id() -> str | None:
    """Return the trace that this is part of, as 32 hexadecimal digits; None where nothing is traced."""
    if _tracer is None:
        return None
    present = _tracer.present()
    return f"{present.trace_id:032x}" if present.is_valid else None
