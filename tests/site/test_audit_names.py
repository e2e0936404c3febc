from typer.testing import CliRunner

from courtyard.cli import app
from courtyard.kernel.application import Application
from courtyard.kernel.trail import AuditNames
from courtyard.site import audit_names_page
from tests.services import PARTS


def test_every_name_is_on_the_page_with_what_happened() -> None:
    page = audit_names_page(PARTS)
    for name, sentence in AuditNames(PARTS).described.items():
        assert f"| `{name}` | {sentence} |" in page


def test_names_stand_under_their_first_word() -> None:
    part = Application(name="shop", description="", audit_names={"shop:price:raised": "A price was raised."})
    page = audit_names_page([part])
    assert page.endswith(
        "## shop\n\n| name | what happened |\n| --- | --- |\n| `shop:price:raised` | A price was raised. |\n"
    )


def test_the_command_prints_it() -> None:
    result = CliRunner().invoke(app, ["audit-names"])
    assert result.exit_code == 0
    assert result.stdout == audit_names_page(PARTS)
