"""`courtyard files`."""

from pathlib import Path

import pytest

from tests.commands import Run


@pytest.fixture
def storage(place: Path, run: Run) -> Path:
    """An installation, and where its files are."""
    assert run("migrate", "up").status == 0
    return place / "courtyard-data" / "files"


def test_a_storage_that_works_is_said_to(storage: Path, run: Run) -> None:
    checked = run("files", "check")
    assert (checked.status, checked.out) == (0, "0 files, 0 faults, 0 stored without a file\n")
    assert [path for path in storage.rglob("*") if path.is_file()] == []


def test_a_storage_that_does_not_is_a_line_and_a_status(storage: Path, run: Run) -> None:
    storage.parent.mkdir(exist_ok=True)
    storage.write_text("not a folder")
    checked = run("files", "check")
    assert (checked.status, checked.out) == (2, "")
    assert checked.err == "courtyard: The storage of files is temporarily unavailable\n"


def test_a_sweep_says_what_it_has_removed(storage: Path, run: Run) -> None:
    swept = run("files", "sweep")
    assert (swept.status, swept.out) == (0, "0 files, 0 orphans, 0 unfinished writes removed\n")
    assert [path for path in storage.rglob("*") if path.is_file()] == []
