"""Structured logs: JSON lines, or coloured lines on a terminal. What is secret is taken out (`redaction`)."""

import logging
import sys
from collections.abc import MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any

import msgspec
import structlog

from courtyard.kernel.redaction import REDACTED, is_secret, redacted, redacted_deep, redacted_prose
from courtyard.kernel.settings import Settings
from courtyard.kernel.telemetry.faults import FAULT_METHODS, report
from courtyard.kernel.telemetry.metrics import FAULTS
from courtyard.kernel.telemetry.traces import current_trace_id

Event = MutableMapping[str, Any]

QUIET_METHODS = frozenset({"debug", "info"})
# Ours, or numbers, in every line of the access log: looking at them would cost more than writing the line does.
PLAIN = frozenset(
    {"account_id", "event_name", "level", "method", "milliseconds", "outcome", "problem", "request_id", "route"}
    | {"status", "timestamp", "trace_id"}
)
# Of what is being answered or done now; each line says it.
request_id_of_logs: ContextVar[str | None] = ContextVar("request_id_of_logs", default=None)


def configure_logs(settings: Settings) -> None:
    """Set up structlog and the standard library's logging for this process."""
    level = logging.getLevelNamesMapping()[settings.telemetry.log_level]
    before: Sequence[structlog.typing.Processor] = (
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        identify,
        count,
        report,
    )
    after: Sequence[Any]
    factory: Any
    if settings.log_format == "json":
        after = (structlog.processors.format_exc_info, redact, _render)
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        console = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        after = (redact, console, _redact_line)
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=[*before, *after],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    # What libraries say goes the same way.
    text: Any = _text
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *after, text],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *before],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)


def identify(_logger: object, _method: str, event: Event) -> Event:
    """Say in each line which request and which trace it belongs to."""
    request_id = request_id_of_logs.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    trace_id = current_trace_id()
    if trace_id is not None:
        event.setdefault("trace_id", trace_id)
    return event


def count(_logger: object, method: str, event: Event) -> Event:
    """Count what is a fault."""
    if method in FAULT_METHODS:
        FAULTS.inc()
    return event


def redact(_logger: object, method: str, event: Event) -> Event:
    """Replace what is secret by its name or its form, at any depth, as the audit log does.

    In lines about what went wrong, which are rare and hold the words of others, values behind secret names go too.
    """
    leave_out = redacted if method in QUIET_METHODS else redacted_deep
    for name, value in event.items():
        if name in PLAIN or name == "exc_info":
            continue
        if is_secret(name):
            event[name] = REDACTED
        elif not isinstance(value, (bool, int, float, type(None))):
            event[name] = leave_out(value)
    return event


def _render(_logger: object, _method: str, event: Event) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


def _redact_line(_logger: object, _method: str, line: str) -> str:
    # The traceback is a part of it only now. What stands before it has been looked at, and its colours are in the way.
    first, newline, rest = line.partition("\n")
    return first + newline + redacted_prose(rest)


def _text(_logger: object, _method: str, line: str | bytes) -> str:
    return line.decode() if isinstance(line, bytes) else line
