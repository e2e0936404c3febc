"""Structured logs: JSON lines, or coloured lines on a terminal. Secrets are taken out by their names."""

import logging
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

import msgspec
import structlog

from courtyard.kernel.settings import Settings

# Matched as parts of the names of fields, at any depth.
SECRET_NAMES = ("password", "token", "secret", "authorization", "cookie", "api_key", "csrf")
REDACTED = "[redacted]"


def configure_logs(settings: Settings) -> None:
    """Set up structlog and the standard library's logging for this process."""
    level = logging.getLevelNamesMapping()[settings.telemetry.log_level]
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    factory: Any
    if settings.log_format == "json":
        processors += [structlog.processors.format_exc_info, _render]
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    else:
        processors += [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), format="%(levelname)s %(name)s %(message)s", force=True)


def _render(_logger: object, _method: str, event: MutableMapping[str, Any]) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what is secret by its name, at any depth."""
    for name, value in event.items():
        if _is_secret(name):
            event[name] = REDACTED
        elif isinstance(value, dict):
            redact(_logger, _method, value)
    return event


# Names of fields come from the code, so there are few of them.
@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return any(part in name.lower() for part in SECRET_NAMES)
