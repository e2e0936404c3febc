from typer.testing import CliRunner

from courtyard.cli import app
from courtyard.kernel.telemetry import DECLARED
from courtyard.site import metrics_page


def test_every_metric_is_on_the_page_with_its_type_labels_and_meaning() -> None:
    page = metrics_page()
    for one in DECLARED.values():
        assert f"## `{one.written}`\n\n{one.description}\n\nType: {one.kind}\n" in page
    assert "| `outcome` | `sent`, `postponed`, `refused`, `expired` |" in page


def test_the_command_prints_it() -> None:
    result = CliRunner().invoke(app, ["metrics"])
    assert result.exit_code == 0
    assert result.stdout == metrics_page()
