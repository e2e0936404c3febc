"""Logs, metrics, traces and error reports of the process. Stands on the settings alone."""

from courtyard.kernel.settings import Settings
from courtyard.kernel.telemetry.declared import DECLARED, REGISTRY, Reading, counter, gauge, histogram
from courtyard.kernel.telemetry.faults import configure_faults, end_faults
from courtyard.kernel.telemetry.logs import configure_logs, redact, request_id_of_logs
from courtyard.kernel.telemetry.metrics import (
    AUDIT_ENTRIES,
    EVENTS,
    FAULTS,
    FILE_BYTES,
    FILES_REMOVED,
    FILES_UPLOADED,
    LIMITS_DROPPED,
    LIMITS_REFUSED,
    LIMITS_STORE_FAILURES,
    MAILS,
    PICTURES,
    REQUESTS,
    SOCKET_EVENTS,
    SOCKETS,
    SOCKETS_CUT,
    STORAGE_FAILURES,
    TASK_SECONDS,
    TASK_WAIT_SECONDS,
    TASKS,
    TASKS_SENT,
    WEBHOOKS,
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


def begin_telemetry(settings: Settings) -> None:
    """Set up logs, reports of faults and traces of this process: a server, a worker, a scheduler."""
    configure_logs(settings)
    configure_faults(settings)
    configure_traces(settings)


async def end_telemetry() -> None:
    """Send what is still to be sent, as the last thing that a process does."""
    await end_traces()
    await end_faults()


__all__ = [
    "AUDIT_ENTRIES",
    "DECLARED",
    "EVENTS",
    "FAULTS",
    "FILES_REMOVED",
    "FILES_UPLOADED",
    "FILE_BYTES",
    "LIMITS_DROPPED",
    "LIMITS_REFUSED",
    "LIMITS_STORE_FAILURES",
    "MAILS",
    "NOTHING",
    "PICTURES",
    "REGISTRY",
    "REQUESTS",
    "SOCKETS",
    "SOCKETS_CUT",
    "SOCKET_EVENTS",
    "STORAGE_FAILURES",
    "TASKS",
    "TASKS_SENT",
    "TASK_SECONDS",
    "TASK_WAIT_SECONDS",
    "TRACEPARENT",
    "WEBHOOKS",
    "Reading",
    "Span",
    "begin_telemetry",
    "configure_faults",
    "configure_logs",
    "continue_from",
    "counter",
    "current_trace_id",
    "current_traceparent",
    "end_faults",
    "end_telemetry",
    "gauge",
    "histogram",
    "redact",
    "request_id_of_logs",
    "span",
    "trace_to",
    "traces_are_on",
]
