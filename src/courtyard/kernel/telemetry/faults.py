"""Reports of faults to Sentry, or whatever speaks its protocol, where the settings name one.

What is logged as an error is reported, with the place in the code. No request, no body, no values of variables: only
what the log says, without what is secret (`redaction`), and without paths, which can hold anything.
"""

import asyncio
import contextlib
import sys
from collections.abc import MutableMapping
from typing import Any

from courtyard import __version__
from courtyard.kernel.redaction import redacted_deep, redacted_prose
from courtyard.kernel.settings import Settings

FAULT_METHODS = frozenset({"error", "exception", "critical"})
# What would be told of itself, on and on.
CARRIERS = ("opentelemetry", "sentry_sdk", "urllib3")
UNTOLD = frozenset({"event", "exc_info", "level", "path", "stack_info", "timestamp", "_record", "_from_structlog"})
TAGS = ("request_id", "trace_id", "logger", "task", "work")
FLUSH_SECONDS = 2.0


def configure_faults(settings: Settings) -> None:
    """Begin to report faults, where the settings say whom to."""
    errors = settings.telemetry.errors
    if errors.dsn is None:
        return
    import sentry_sdk  # noqa: PLC0415 - loaded where there are reports

    sentry_sdk.init(
        dsn=errors.dsn.get_secret_value(),
        release=f"courtyard@{__version__}",
        environment=errors.environment,
        sample_rate=errors.sample,
        # It would collect requests, arguments of the command and variables by itself.
        default_integrations=False,
        auto_enabling_integrations=False,
        send_default_pii=False,
        max_request_body_size="never",
        include_local_variables=False,
        max_breadcrumbs=0,
        traces_sample_rate=None,
        before_send=_without_secrets,
        shutdown_timeout=FLUSH_SECONDS,
    )


async def end_faults() -> None:
    """Send what is still to be sent."""
    if "sentry_sdk" in sys.modules:
        await asyncio.to_thread(sys.modules["sentry_sdk"].flush, FLUSH_SECONDS)


def report(_logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Report an entry of the log that is a fault; a processor of structlog."""
    if method not in FAULT_METHODS or "sentry_sdk" not in sys.modules:
        return event
    if str(event.get("logger", "")).startswith(CARRIERS):
        return event
    import sentry_sdk  # noqa: PLC0415 - it is loaded

    if sentry_sdk.is_initialized():
        # Whoever logs a fault goes on with what it was doing, whatever becomes of the report.
        with contextlib.suppress(Exception):
            sentry_sdk.capture_event(_report_of(event))
    return event


def _report_of(entry: MutableMapping[str, Any]) -> Any:  # noqa: ANN401 - an event of Sentry
    import sentry_sdk  # noqa: PLC0415 - it is loaded
    from sentry_sdk.utils import event_from_exception  # noqa: PLC0415

    name = str(entry.get("event", ""))
    found: Any = {}
    exception = entry.get("exc_info")
    if exception is True:
        exception = sys.exc_info()
    if isinstance(exception, BaseException) or (isinstance(exception, tuple) and exception[0] is not None):
        found, _ = event_from_exception(exception, client_options=sentry_sdk.get_client().options)
    return {
        **found,
        "level": "error",
        "logentry": {"message": name},
        "tags": {tag: str(entry[tag]) for tag in TAGS if tag in entry},
        # At once: below some depth the library makes texts of values, in which no names are left to know secrets by.
        "extra": redacted_deep({key: value for key, value in entry.items() if key not in UNTOLD and key not in TAGS}),
    }


def _without_secrets(event: Any, _hint: object) -> Any:  # noqa: ANN401 - an event of Sentry
    """Take out what is secret, at any depth, at the very end: whatever has put it in."""
    for name in ("request", "user", "breadcrumbs", "modules"):
        event.pop(name, None)
    for one in event.get("exception", {}).get("values", ()):
        one["value"] = redacted_prose(str(one.get("value", "")))
    for name in ("extra", "contexts", "logentry", "tags"):
        if name in event:
            event[name] = redacted_deep(event[name])
    return event
