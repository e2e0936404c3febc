"""The section of the settings about logs, metrics, traces and error reports."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from courtyard.kernel.settings_sections import Section, table


def _collector(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be an address such as http://127.0.0.1:4318/v1/traces, without a password in it")
    return value


def _dsn(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    project = parts.path.rpartition("/")[2]
    if parts.scheme not in {"http", "https"} or not (parts.hostname and parts.username and project.isdigit()):
        raise ValueError("must be an address such as https://<key>@sentry.example.org/1")
    return value


CollectorUrl = Annotated[str, Field(max_length=2_000), AfterValidator(_collector)]
Headers = Annotated[
    dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")], SecretStr],
    BeforeValidator(table),
    Field(max_length=16),
]
Dsn = Annotated[SecretStr, AfterValidator(_dsn)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class TraceSettings(Section):
    """Traces, in the protocol of OpenTelemetry (OTLP over HTTP)."""

    endpoint: CollectorUrl | None = Field(
        None,
        description="Where spans are sent, such as `http://127.0.0.1:4318/v1/traces`. Not set: there are no traces.",
    )
    headers: Headers = Field(
        {}, description="Headers for the collector, such as a key. In one line: `x-api-key=…,x-team=…`."
    )
    sample: float = Field(1.0, ge=0, le=1, description="Part of the traces that begin here and are kept.")
    accept: Literal["proxies", "never"] = Field(
        "proxies",
        description="Whose `traceparent` a request goes on with: that of trusted proxies, or nobody's.",
    )
    service_name: Label = Field("courtyard", description="What these processes are called in traces.")
    timeout_seconds: float = Field(10, ge=0.1, le=300, description="Longest time for one delivery to the collector.")
    queued_spans: int = Field(
        4_096, ge=64, le=1_000_000, description="Spans that wait for the collector; with more, new ones are lost."
    )


class ErrorSettings(Section):
    """Reports of faults, in the protocol of Sentry."""

    dsn: Dsn | None = Field(None, description="Address of a project of Sentry. Not set: faults are in the logs alone.")
    environment: Label = Field("production", description="What the reports call this installation.")
    sample: float = Field(1.0, ge=0, le=1, description="Part of the faults that is reported.")


class TelemetrySettings(Section):
    """Logs, metrics, traces and error reports."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is written.")
    log_format: Literal["console", "json"] | None = Field(
        None, description="Not set: `json` in production, `console` in development."
    )
    access_log: bool = Field(default=True, description="Whether every request is logged.")
    metrics_token: SecretStr | None = Field(
        None, description="Bearer token for `/metrics`. Not set: only this machine may read it."
    )
    worker_metrics_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port on which a worker or a scheduler serves `/metrics`. Not set: it does not.",
    )
    traces: TraceSettings = TraceSettings()
    errors: ErrorSettings = ErrorSettings()


def telemetry_refusals(settings: TelemetrySettings) -> Iterator[str]:
    """Name what is set and needs packages that are not installed."""
    wanted = (
        ("telemetry.traces.endpoint", settings.traces.endpoint, "opentelemetry.exporter.otlp.proto.http"),
        ("telemetry.errors.dsn", settings.errors.dsn, "sentry_sdk"),
    )
    for name, value, package in wanted:
        if value is not None and not _is_installed(package):
            yield f"{name} needs more packages: pip install 'courtyard[telemetry]'"


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        # The one that it would be in.
        return False
