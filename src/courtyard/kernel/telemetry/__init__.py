"""Logs and metrics of the process. Stands on the settings alone."""

from courtyard.kernel.telemetry.logs import REDACTED, configure_logs, redact
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

__all__ = [
    "LIMITS_DROPPED",
    "LIMITS_REFUSED",
    "LIMITS_STORE_FAILURES",
    "MAILS",
    "REDACTED",
    "REGISTRY",
    "REQUESTS",
    "SOCKETS",
    "SOCKETS_CUT",
    "SOCKET_EVENTS",
    "configure_logs",
    "redact",
]
