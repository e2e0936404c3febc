"""Whatever a client does, no fault is logged."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True)
def expected_faults(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The names of the errors that a test provokes; no others may be logged."""
    expected: list[str] = []
    with capture_logs() as entries, caplog.at_level(logging.WARNING):
        yield expected
    logged: list[Any] = [entry for entry in entries if entry["log_level"] == "error" or "exc_info" in entry]
    logged += [record for phase in ("setup", "call") for record in caplog.get_records(phase)]
    unexpected = [fault for fault in logged if not any(name in repr(fault) for name in expected)]
    assert not unexpected
    assert len(logged) >= len(expected)
