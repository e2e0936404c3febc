"""`courtyard workspaces`."""

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from courtyard.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process on an installation of its own, in which `help-line` is a workspace."""
    for name in os.environ:
        if name.startswith("COURTYARD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURTYARD_SECURITY__ARGON2_MEMORY_KIB", "64")

    def run(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        # Typer puts a hook of its own in place, which this process must not keep.
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        monkeypatch.setattr(sys, "argv", ["courtyard", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        status = left.value.code
        assert isinstance(status, int)
        return status, out, err

    who = ("--email", "ada@example.org", "--name", "Ada", "--workspace", "help-line", "--password-stdin")
    assert run("create-admin", *who, typed="correct horse battery\n")[0] == 0
    return run


def told(run: Run, *arguments: str, **options: str) -> str:
    status, out, err = run("workspaces", *arguments, **options)
    assert (status, err) == (0, "")
    return out


def test_a_workspace_is_archived_and_opened(run: Run) -> None:
    (line,) = told(run, "list").splitlines()
    workspace_id, state, slug, name = line.split()
    assert (state, slug, name) == ("open", "help-line", "help-line")
    assert told(run, "archive", "help-line") == "help-line is archived.\n"
    assert told(run, "list").split()[1] == "archived"
    assert told(run, "unarchive", workspace_id) == "help-line is open.\n"
    assert told(run, "list").split()[1] == "open"


def test_a_workspace_is_deleted_and_restored(run: Run) -> None:
    assert told(run, "delete", "help-line", "--yes") == "help-line is closed.\n"
    assert "removed at " in told(run, "list")
    assert told(run, "restore", "help-line") == "help-line is back.\n"
    assert told(run, "list").split()[1] == "open"
    status, out, err = run("workspaces", "restore", "help-line")
    assert (status, out, err) == (2, "", "courtyard: Not found\n")


def test_a_workspace_is_removed_at_once(run: Run) -> None:
    assert told(run, "delete", "help-line", "--now", "--yes") == "help-line is gone.\n"
    assert told(run, "list") == ""


def test_whoever_does_not_confirm_deletes_nothing(run: Run) -> None:
    status, out, _ = run("workspaces", "delete", "help-line", "--now", typed="n\n")
    assert status == 1
    assert "for good?" in out
    assert told(run, "list").split()[1] == "open"


@pytest.mark.parametrize("command", ["archive", "unarchive", "restore"])
def test_a_workspace_that_there_is_not_is_one_line(run: Run, command: str) -> None:
    status, out, err = run("workspaces", command, "nothing")
    assert (status, out, err) == (2, "", "courtyard: Not found. There is no workspace nothing\n")
