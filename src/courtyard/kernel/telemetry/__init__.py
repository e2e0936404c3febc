"""Logs, metrics, traces and error reports of the process. Stands on the settings alone."""

from courtyard.kernel.telemetry.logs import configure_logs, redact, request_id_of_logs
from courtyard.kernel.telemetry.metrics import (
    LIMITS_DROPPED,
    LIMITS_REFUSED,
    LIMITS_STORE_FAILURES,
    MAILS,
    REGISTRY,
    REQUESTS,
    SOCKET_EVENTS,
    SOCKETS,
    SOCKETS_CUT,
)
from courtyard.kernel.telemetry.traces import (
    NOTHING,
    TRACEPARENT,
    Span,
    configure_traces,
    continue_from,
    current_trace_id,
    current_traceparent,
    end_traces,
    span,
    trace_to,
    traces_are_on,
)

__all__ = [
    "LIMITS_DROPPED",
    "LIMITS_REFUSED",
    "LIMITS_STORE_FAILURES",
    "MAILS",
    "NOTHING",
    "REGISTRY",
    "REQUESTS",
    "SOCKETS",
    "SOCKETS_CUT",
    "SOCKET_EVENTS",
    "TRACEPARENT",
    "Span",
    "configure_logs",
    "configure_traces",
    "continue_from",
    "current_trace_id",
    "current_traceparent",
    "end_traces",
    "redact",
    "request_id_of_logs",
    "span",
    "trace_to",
    "traces_are_on",
]
