"""`courtyard backup`, as somebody types it."""

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.buckets import S3Server, s3_server
from tests.commands import Result, Run
from tests.services import postgres_database

PASSPHRASE = "correct horse battery"
ARCHIVE = r"\d{8}T\d{6}Z\.courtyard-backup"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def data(place: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of an installation with an account, and a passphrase in the settings."""
    monkeypatch.setenv("COURTYARD_SECURITY__ARGON2_MEMORY_KIB", "64")
    monkeypatch.setenv("COURTYARD_SECURITY__ARGON2_TIME_COST", "1")
    monkeypatch.setenv("COURTYARD_BACKUP__PASSPHRASE", PASSPHRASE)
    assert run("migrate", "up").status == 0
    monkeypatch.setattr("typer.prompt", lambda *_, **__: PASSPHRASE)
    made = run("create-admin", "--email=ada@example.org", "--name=Ada", "--workspace=home")
    assert made.status == 0, made.err
    return place / "courtyard-data"


def addresses(data: Path) -> list[str]:
    with closing(sqlite3.connect(data / "courtyard.sqlite3")) as database:
        return [row[0] for row in database.execute("SELECT email FROM account")]


def made(result: Result) -> str:
    """Return what the command has said it has made."""
    assert (result.status, result.err) == (0, "")
    return result.out.splitlines()[-1]


def test_made_listed_read_and_restored(run: Run, data: Path) -> None:
    created = run("backup", "create", "kept")
    path = made(created)
    assert created.out.splitlines()[:-1] == [f"  sqlite:///{data}/courtyard.sqlite3", "  0 files"]
    assert re.fullmatch(rf"{data.parent}/kept/{ARCHIVE}", path)
    size = Path(path).stat().st_size
    assert run("backup", "list", "kept") == Result(0, f"{Path(path).name}  {size}\n", "")
    verified = run("backup", "verify", path)
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\d \d\d:\d\d UTC, Courtyard \S+: 1 databases, 0 files, \d+ bytes\n"
        rf"  database 0: sqlite:///{data}/courtyard.sqlite3, the main one\n"
        r"  storage 0: the shared one\n",
        verified.out,
    )

    refused = run("backup", "restore", path)
    assert refused.status == 2
    assert refused.err == (
        f"courtyard: The backup cannot be used. sqlite:///{data}/courtyard.sqlite3 is not empty "
        "(it is of this installation): --force replaces what is in it\n"
    )
    secrets = (data / "secrets.toml").read_text()
    shutil.rmtree(data)
    restored = run("backup", "restore", path)
    assert restored == Result(
        0,
        f"  sqlite:///{data}/courtyard.sqlite3\n  0 files\n"
        "Restored. `courtyard migrate up` brings it to this version.\n",
        "",
    )
    assert addresses(data) == ["ada@example.org"]
    assert (data / "secrets.toml").read_text() == secrets
    assert run("migrate", "status").status == 0
    assert run("backup", "restore", path, "--force").status == 0


def test_only_what_is_kept_stays(run: Run, data: Path) -> None:
    folder = data.parent / "kept"
    folder.mkdir()
    old = [f"2026{month:02}01T030000Z.courtyard-backup" for month in range(1, 7)]
    for name in (*old, "notes.txt"):
        (folder / name).write_text("old")
    created = run("backup", "create", "kept", "--keep=1", "--keep-monthly=3")
    assert f"  removed {old[0]}" in created.out
    assert sorted(path.name for path in folder.iterdir()) == sorted([*old[-2:], Path(made(created)).name, "notes.txt"])
    assert [line.split()[0] for line in run("backup", "list", "kept").out.splitlines()][1:] == [old[-1], old[-2]]


@pytest.mark.services
def test_a_bucket_that_the_settings_name(run: Run, data: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.bucket(prefix="house")
    assert bucket.secret_access_key is not None
    secret = bucket.secret_access_key.get_secret_value()
    for name in ("kind", "bucket", "prefix", "endpoint", "region", "access_key_id"):
        monkeypatch.setenv(f"COURTYARD_BACKUP__STORAGE__{name.upper()}", getattr(bucket, name))
    monkeypatch.setenv("COURTYARD_BACKUP__STORAGE__SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("COURTYARD_BACKUP__KEEP_LAST", "1")
    name = made(run("backup", "create"))
    assert re.fullmatch(ARCHIVE, name)
    assert run("backup", "list").out.startswith(f"{name}  ")
    assert run("backup", "verify", name).status == 0
    shutil.rmtree(data)
    assert run("backup", "restore", name).status == 0
    assert addresses(data) == ["ada@example.org"]
    missing = run("backup", "verify", "20260101T000000Z.courtyard-backup")
    assert missing.err == "courtyard: The backup cannot be used. there is no 20260101T000000Z.courtyard-backup\n"


class TestRefusals:
    """Each has its reason in a line, and the status 2."""

    @pytest.fixture
    def path(self, run: Run, data: Path) -> Path:
        del data
        return Path(made(run("backup", "create", "kept")))

    def refused(self, result: Result) -> str:
        assert (result.status, result.err.count("\n")) == (2, 1)
        return result.err.removeprefix("courtyard: The backup cannot be used. ").rstrip("\n")

    def test_what_is_damaged(self, run: Run, path: Path) -> None:
        whole = path.read_bytes()
        for content, reason in (
            (b"", "it is not a backup of Courtyard"),
            (b"PK" + whole, "it is not a backup of Courtyard"),
            (whole[:-1], "it is cut off or damaged behind 0 MiB"),
            (whole[: len(whole) // 3], "it is cut off or damaged behind 0 MiB"),
        ):
            path.write_bytes(content)
            assert self.refused(run("backup", "verify", str(path))) == reason
        assert self.refused(run("backup", "restore", str(path), "--force")) == reason

    def test_another_passphrase(self, run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COURTYARD_BACKUP__PASSPHRASE", "another passphrase")
        reason = "the passphrase is another one, or the header is damaged"
        assert self.refused(run("backup", "verify", str(path))) == reason
        Path("right").write_text(f"{PASSPHRASE}\nnot this line\n")
        assert run("backup", "verify", str(path), "--passphrase-file=right").status == 0

    def test_a_short_passphrase(self, run: Run, data: Path) -> None:
        (data / "short").write_text("eleven char\n")
        result = run("backup", "create", "kept", f"--passphrase-file={data}/short")
        assert self.refused(result) == "the passphrase is shorter than 12 characters"
        assert not Path("kept").exists()

    def test_no_place(self, run: Run, data: Path) -> None:
        assert data.is_dir()
        for command in ("create", "list"):
            assert self.refused(run("backup", command)) == "no place: name a folder, or set backup.storage"

    def test_no_such_file(self, run: Run, data: Path) -> None:
        assert data.is_dir()
        result = run("backup", "verify", "kept/none")
        assert (result.status, result.err) == (2, "courtyard: kept/none: No such file or directory\n")

    def test_choices_that_cannot_be_followed(self, run: Run, path: Path) -> None:
        restore = ("backup", "restore", str(path), "--force")
        reason = self.refused(run(*restore, "--database=1=sqlite:////tmp/x"))
        assert reason == "there is no database 1 in it: they are 0 to 0"
        reason = self.refused(run(*restore, "--database=0=sqlite:////tmp/x"))
        assert reason == "where number 0 goes is what the settings say; it can only be kept"
        assert "is not a number" in run(*restore, "--database=main").err
        Path("storage.json").write_text(json.dumps({"kind": "floppy"}))
        assert "kind" in run(*restore, "--storage=1=storage.json").err

    @pytest.mark.services
    def test_programs_that_are_missing(self, run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """`pg_dump` is not found, or does not come through."""
        with postgres_database() as url:
            monkeypatch.setenv("COURTYARD_DATABASE__URL", url)
            monkeypatch.setenv("COURTYARD_BACKUP__PASSPHRASE", PASSPHRASE)
            assert run("migrate", "up").status == 0
            path = os.environ["PATH"]
            monkeypatch.setenv("PATH", str(place))
            result = run("backup", "create", "kept")
            assert self.refused(result) == (
                "pg_dump is not installed: it comes with the client programs of PostgreSQL "
                "(`apt-get install postgresql-client`)"
            )
            program = place / "pg_dump"
            program.write_text("#!/bin/sh\necho pg_dump: error: server version mismatch >&2\nexit 1\n")
            program.chmod(0o700)
            monkeypatch.setenv("PATH", f"{place}:{path}")
            result = run("backup", "create", "kept")
            assert result.status == 2
            assert result.err.startswith("courtyard: A database cannot be copied. postgresql://")
            assert result.err.endswith(": pg_dump: error: server version mismatch\n")
            assert list(Path("kept").iterdir()) == []
