"""What the settings of telemetry may say."""

import sys

import pytest

from courtyard.kernel.settings import Settings, SettingsError, TelemetrySettings, load_settings, refusals
from courtyard.kernel.settings_telemetry import ErrorSettings, TraceSettings


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "grpc://collector:4317", "http://name:password@collector/v1"])
def test_what_is_no_collector(endpoint: str) -> None:
    with pytest.raises(ValueError, match="must be an address such as"):
        TraceSettings(endpoint=endpoint)


@pytest.mark.parametrize("dsn", ["https://sentry.example.org/1", "https://key@sentry.example.org/", "key"])
def test_what_is_no_address_of_a_project(dsn: str) -> None:
    with pytest.raises(ValueError, match="must be an address such as") as refused:
        ErrorSettings.model_validate({"dsn": dsn})
    assert "key@" not in str(refused.value).replace("<key>@", "")


def test_headers_in_one_line_are_secret() -> None:
    settings = TraceSettings.model_validate({"headers": "x-api-key=planted, x-team=one"})
    assert {name: value.get_secret_value() for name, value in settings.headers.items()} == {
        "x-api-key": "planted",
        "x-team": "one",
    }
    assert "planted" not in repr(settings)


@pytest.mark.parametrize(
    ("package", "section", "name"),
    [
        ("opentelemetry.exporter", {"traces": {"endpoint": "http://127.0.0.1:4318/v1/traces"}}, "traces.endpoint"),
        ("sentry_sdk", {"errors": {"dsn": "https://key@sentry.example.org/1"}}, "errors.dsn"),
    ],
)
def test_packages_that_are_missing_are_named(
    package: str, section: dict[str, object], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.model_construct(telemetry=TelemetrySettings.model_validate(section))
    assert list(refusals(settings)) == []
    for loaded in [each for each in sys.modules if each.startswith(package)]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SettingsError) as refused:
        load_settings(make_secrets=False, telemetry=section)
    assert refused.value.faults == (f"telemetry.{name} needs more packages: pip install 'courtyard[telemetry]'",)
