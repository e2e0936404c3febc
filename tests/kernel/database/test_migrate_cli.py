from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from uuid import UUID

import pytest
import typer
from typer.testing import CliRunner, Result
from typing_extensions import override

from courtyard.kernel.application import Application
from courtyard.kernel.database import Database, Placement
from courtyard.kernel.database.cli import commands
from courtyard.kernel.settings import DatabaseSettings

DOWN = "postgresql://ada:hush@127.0.0.1:1/courtyard"


class History(Protocol):
    """A part that is made up, as the fixture `history` gives it."""

    folder: Path
    part: Application

    def revise(self, up: str, down: str = "pass") -> Path: ...


class Several(Placement):
    """A placement with a main database and others."""

    def __init__(self, urls: Sequence[str], settings: DatabaseSettings) -> None:
        self._databases = [Database(url, settings) for url in urls]

    @property
    @override
    def main(self) -> Database:
        return self._databases[0]

    @override
    async def database_of(self, workspace_id: UUID) -> Database:
        return self._databases[-1]

    @override
    def databases(self) -> Sequence[Database]:
        return self._databases


class Command:
    """Runs `courtyard migrate …` over some databases."""

    def __init__(self, parts: Sequence[Application], settings: DatabaseSettings, urls: Sequence[str]) -> None:
        self._app: typer.Typer = commands(lambda: (Several(urls, settings), parts))

    def __call__(self, *args: str, answer: str | None = None) -> Result:
        return CliRunner().invoke(self._app, args, input=answer)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'main.sqlite3'}"


@pytest.fixture
def part(history: History) -> Application:
    history.revise('op.create_table("thing", sa.Column("id", sa.Integer()))', 'op.drop_table("thing")')
    history.revise('op.add_column("thing", sa.Column("a", sa.Text()))', 'op.drop_column("thing", "a")')
    return history.part


@pytest.fixture
def migrate(part: Application, settings: DatabaseSettings, url: str) -> Command:
    return Command([part], settings, [url])


def test_status_tells_what_is_to_be_done(migrate: Command, url: str) -> None:
    before = migrate("status")
    assert before.exit_code == 1
    assert before.stdout.splitlines() == [url, "  sample           -      newest 0002, pending: 0001, 0002"]
    assert migrate("up").exit_code == 0
    after = migrate("status")
    assert after.exit_code == 0
    assert after.stdout.splitlines()[1:] == ["  sample           0002   newest"]


def test_up_shows_each_step(migrate: Command, url: str) -> None:
    result = migrate("up", "--module", "sample", "--revision", "0001")
    assert result.stdout.splitlines() == [url, "  sample 0001", "  1 done"]
    rest = migrate("up")
    assert rest.stdout.splitlines()[-2:] == ["  sample 0002", "  1 done"]
    assert migrate("up").stdout.splitlines() == [url, "  nothing to do"]
    assert migrate("up", "--revision", "0001").exit_code == 2


def test_down_asks_first(migrate: Command) -> None:
    migrate("up")
    refused = migrate("down", "sample", "-1", answer="n\n")
    assert refused.exit_code == 1
    assert "Take sample to -1 in sqlite:" in refused.output
    assert migrate("status").exit_code == 0
    assert migrate("down", "sample", "-1", answer="y\n").exit_code == 0
    assert "pending: 0002" in migrate("status").stdout
    undone = migrate("down", "sample", "base", "--yes")
    assert undone.stdout.splitlines()[-2:] == ["  sample 0001 (down)", "  1 undone"]


def test_a_fault_is_one_line(migrate: Command) -> None:
    for result in (migrate("up", "--module", "other"), migrate("new", "other", "x")):
        assert result.exit_code == 1
        assert result.stderr.startswith("there is no module other")
        assert len(result.stderr.splitlines()) == 1


def test_a_database_that_is_down_does_not_stop_the_others(
    part: Application, settings: DatabaseSettings, url: str, tmp_path: Path
) -> None:
    other = f"sqlite:///{tmp_path / 'other.sqlite3'}"
    all_three = Command([part], settings, [url, DOWN, other])
    for result in (all_three("up"), all_three("status")):
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("postgresql://ada@127.0.0.1:1/courtyard cannot be reached: ")
        assert "hush" not in result.output
    assert Command([part], settings, [url, other])("status").exit_code == 0


def test_new_and_check(migrate: Command, history: History) -> None:
    # The made-up part has no models, so its table is one too many.
    differences = migrate("check")
    assert differences.exit_code == 1
    assert "thing: column id" in differences.stderr
    drafted = migrate("new", "sample", "no things")
    assert drafted.exit_code == 0
    assert (history.folder / "0003_no_things.py").exists()
    assert migrate("check").stdout == "  the migrations make what the models say\n"
    assert migrate("check", "--live").exit_code == 1
    migrate("up")
    assert migrate("check", "--live").exit_code == 0
