"""The commands of limits and quotas."""

import contextlib
import io
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.commands import Run
from tests.processes import PROGRAM


@pytest.fixture(autouse=True)
def everywhere(place: Path) -> Path:
    """Every test is in a folder of its own."""
    return place


class TestLimits:
    def test_the_page_is_written_and_checked(self, run: Run, place: Path) -> None:
        file = place / "docs/reference/limits.md"
        file.parent.mkdir(parents=True)
        assert run("limits", "--check").status == 1
        assert run("limits", "--write").status == 0
        assert run("limits", "--check").status == 0
        assert file.read_text() == run("limits").out
        assert "| `accounts.login_by_address_and_email` |" in file.read_text()
        assert "| `workspaces.members` |" in file.read_text()

    def test_a_policy_that_there_is_not_is_told(self, run: Run, place: Path) -> None:
        (place / "courtyard.toml").write_text(
            '[limits.policies]\naccounts.login_by_address = "5/minute"\n"accounts.logins" = "5/minute"\n'
            "[limits.quotas]\nworkspaces.chairs = 4\n"
        )
        result = run("config", "check")
        assert (result.status, len(result.err.splitlines())) == (2, 2)
        assert "there is no policy accounts.logins" in result.err
        assert "there is no quota workspaces.chairs" in result.err
        served = subprocess.run([*PROGRAM, "serve", "--port", "0"], capture_output=True, text=True, check=False)
        assert (served.returncode, served.stderr) == (2, result.err)
        assert "there is no policy accounts.logins" in run("doctor").out


class TestQuotas:
    @pytest.fixture(autouse=True)
    def workspace(self, place: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
        """A workspace with one member, in an empty folder."""
        assert not [*place.iterdir()]
        monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
        options = ("--email", "ada@example.org", "--name", "Ada", "--workspace", "help-line", "--password-stdin")
        assert run("create-admin", *options).status == 0

    def test_they_are_shown_set_and_counted_anew(self, run: Run) -> None:
        shown = "workspaces.members: 1 of {} members\nfiles.bytes: 0 of unlimited bytes\n"
        assert run("quotas", "show", "help-line").out == shown.format("unlimited")
        for limit, told in (("3", "3"), ("0", "0"), ("unlimited", "unlimited"), ("default", "unlimited")):
            assert run("quotas", "set", "help-line", "workspaces.members", limit) == (0, "", "")
            assert run("quotas", "show", "help-line").out == shown.format(told)
        with contextlib.closing(sqlite3.connect("courtyard-data/courtyard.sqlite3")) as database, database:
            database.execute("UPDATE quota SET used = 7")
        assert run("quotas", "recount", "help-line", "workspaces.members") == (0, "1\n", "")
        assert run("quotas", "show", "help-line").out == shown.format("unlimited")

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (("show", "nowhere"), "there is no workspace nowhere"),
            (("set", "help-line", "workspaces.chairs", "3"), "there is no quota workspaces.chairs"),
            (("set", "help-line", "workspaces.members", "few"), "a number, unlimited, or default"),
            (("set", "help-line", "workspaces.members", "-1"), "No such option"),
            (("set", "help-line", "workspaces.members", "9" * 30), "a number, unlimited, or default"),
        ],
    )
    def test_what_cannot_be_is_refused(self, arguments: tuple[str, ...], told: str, run: Run) -> None:
        result = run("quotas", *arguments)
        assert result.status == 2
        assert told in " ".join(result.err.split())
