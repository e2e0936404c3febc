"""`courtyard workspaces database` and `courtyard workspaces move`, as somebody types them."""

import contextlib
import io
import json
import re
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.commands import Result, Run


@pytest.fixture
def data(place: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of an installation with the workspace `west`."""
    monkeypatch.setenv("COURTYARD_SECURITY__ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("COURTYARD_SECURITY__ARGON2_TIME_COST", "1")
    assert run("migrate", "up").status == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("correct horse battery\n"))
    made = run("create-admin", "--email=a@example.org", "--name=A", "--workspace=west", "--password-stdin")
    assert made.status == 0, made.err
    return place / "courtyard-data"


@pytest.fixture
def shard(place: Path) -> str:
    """The URL of a database that is not there yet."""
    return f"sqlite:///{place}/west.sqlite3"


def rows(path: Path, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(statement).fetchall()


def refused(result: Result, title: str) -> str:
    """Return the reason, which stands behind a title."""
    assert (result.status, result.err.count("\n")) == (2, 1), result.err
    assert result.err.startswith(f"courtyard: {title}. ")
    return result.err.removeprefix(f"courtyard: {title}. ").rstrip("\n")


class TestDatabase:
    """`courtyard workspaces database`."""

    def test_one_that_will_do(self, run: Run, data: Path, shard: str) -> None:
        assert data.is_dir()
        checked = run("workspaces", "database", "check", "--database", shard)
        assert checked == Result(0, f"{shard} can take a workspace.\n", "")

    def test_one_that_will_not(self, run: Run, data: Path, place: Path) -> None:
        with contextlib.closing(sqlite3.connect(place / "other.sqlite3")) as database:
            database.execute("CREATE TABLE songs (id integer)")
        for url, said in (
            (f"sqlite:///{place}/none/west.sqlite3", f"path: there is no folder {place}/none\n"),
            (
                f"sqlite:///{place}/other.sqlite3",
                "database: is not empty, and not of Courtyard (1 tables: songs…)\n",
            ),
            (f"sqlite:///{data}/courtyard.sqlite3", "database: is the main database\n"),
            ("mysql://west@h/west", "url: must be "),
        ):
            result = run("workspaces", "database", "check", "--database", url)
            assert (result.status, result.out) == (1, "")
            assert result.err.startswith(said)
            given = run("workspaces", "database", "set", "west", "--database", url)
            assert refused(given, "The database cannot take a workspace").startswith(said.rstrip("\n"))
        assert run("workspaces", "database", "show", "west").out == "main\n"

    def test_given_shown_and_taken_back(
        self, run: Run, data: Path, shard: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{shard}\n"))
        given = run("workspaces", "database", "set", "west", "--database=-")
        assert (given.status, given.out.splitlines()[-1]) == (0, f"west lives in {shard}.")
        shown = run("workspaces", "database", "show", "west").out
        assert re.fullmatch(rf"{shard} \(since \d{{4}}-\d\d-\d\d \d\d:\d\d UTC\)\n", shown)
        ((uri,),) = rows(data / "courtyard.sqlite3", "SELECT uri FROM workspace_placement")
        assert isinstance(uri, bytes)
        assert b"west.sqlite3" not in uri
        assert run("migrate", "status").status == 0
        assert run("workspaces", "database", "unset", "west") == Result(0, "west lives in the main database.\n", "")
        assert run("workspaces", "database", "show", "west").out == "main\n"

    def test_nobody_of_this_name(self, run: Run, data: Path, shard: str) -> None:
        assert data.is_dir()
        for command in (("show", "east"), ("unset", "east"), ("set", "east", "--database", shard)):
            assert refused(run("workspaces", "database", *command), "Not found") == "There is no workspace east"


@pytest.mark.slow
class TestMove:
    """`courtyard workspaces move`."""

    def test_there_and_back(self, run: Run, data: Path, place: Path, shard: str) -> None:
        moved = run("workspaces", "move", "west", "--database", shard, "--pause=5")
        assert (moved.status, moved.err) == (0, "")
        assert re.search(r"^  switched after \d+\.\d s$", moved.out, re.MULTILINE)
        assert run("workspaces", "database", "show", "west").out.startswith(shard)
        audited = rows(data / "courtyard.sqlite3", "SELECT count(*) FROM audit_entry WHERE name LIKE 'placements:%'")
        assert audited == [(1,)]
        assert "--clean` first" in refused(
            run("workspaces", "move", "west", "--database=main"), "The workspace cannot be moved"
        )
        assert run("workspaces", "move", "west", "--clean").status == 0
        back = run("workspaces", "move", "west", "--database=main")
        assert (back.status, back.err) == (0, "")
        assert run("workspaces", "database", "show", "west").out == "main\n"
        assert (place / "west.sqlite3").exists()

    def test_nothing_to_do(self, run: Run, data: Path) -> None:
        assert data.is_dir()
        title = "The workspace cannot be moved"
        assert (
            refused(run("workspaces", "move", "west", "--database=main"), title) == "the workspace lives there already"
        )
        for option in ("--roll-back", "--clean"):
            assert refused(run("workspaces", "move", "west", option), title) == "there is no move"
        assert "say where to: --database or --storage" in run("workspaces", "move", "west").err
        assert "--roll-back or --clean" in run("workspaces", "move", "west", "--roll-back", "--clean").err
        assert "'--pause'" in run("workspaces", "move", "west", "--database=main", "--pause=1").err
        assert refused(run("workspaces", "move", "east", "--clean"), "Not found") == "There is no workspace east"

    def test_where_it_cannot_go_it_does_not(self, run: Run, data: Path, place: Path) -> None:
        assert data.is_dir()
        result = run("workspaces", "move", "west", "--database", f"sqlite:///{place}/none/west.sqlite3")
        assert refused(result, "The database cannot take a workspace") == f"path: there is no folder {place}/none"
        # Nothing was begun that would have to be undone.
        assert refused(run("workspaces", "move", "west", "--roll-back"), "The workspace cannot be moved")

    def test_files_to_a_storage_of_its_own_and_back(self, run: Run, data: Path, place: Path) -> None:
        (place / "west.json").write_text(json.dumps({"kind": "local", "path": f"{place}/west"}))
        moved = run("workspaces", "move", "west", "--storage=west.json")
        assert (moved.status, moved.err) == (0, "")
        ((written,),) = rows(data / "courtyard.sqlite3", "SELECT written FROM workspace_storage")
        assert isinstance(written, bytes)
        assert b"local" not in written
        assert run("workspaces", "move", "west", "--clean").status == 0
        assert run("workspaces", "move", "west", "--storage=shared").status == 0

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("{", "Invalid JSON"),
            ('{"kind": "floppy"}', "kind: "),
            ('{"kind": "s3"}', "bucket: a bucket is needed"),
            ('{"kind": "local", "bucket": "west"}', "bucket: a bucket is needed"),
        ],
    )
    def test_a_storage_that_is_not_to_be_understood(
        self, run: Run, data: Path, given: str, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert data.is_dir()
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        result = run("workspaces", "move", "west", "--storage=-")
        assert (result.status, said in " ".join(result.err.split())) == (2, True), result.err

    def test_a_storage_that_does_not_answer(self, run: Run, data: Path, place: Path) -> None:
        assert data.is_dir()
        (place / "file").write_text("in the way")
        (place / "west.json").write_text(json.dumps({"kind": "local", "path": f"{place}/file/west"}))
        result = run("workspaces", "move", "west", "--storage=west.json")
        assert (result.status, result.err) == (2, "courtyard: The storage of files is temporarily unavailable\n")
