"""`courtyard accounts`."""

import io
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from courtyard.kernel.ids import new_id
from tests.commands import Run

EMAIL = "ada@example.org"


class Ada(NamedTuple):
    """Somebody with a password and a session."""

    id: str
    session_id: str


@pytest.fixture
def database(place: Path) -> Path:
    """The database of the installation in this folder."""
    return place / "courtyard-data/courtyard.sqlite3"


@pytest.fixture
def ada(run: Run, database: Path, monkeypatch: pytest.MonkeyPatch) -> Ada:
    """Somebody who owns nothing but a session."""
    monkeypatch.setenv("COURTYARD_SECURITY__ARGON2_MEMORY_KIB", "64")
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    words = ["--email", EMAIL, "--name", "Ada", "--workspace", "line", "--password-stdin"]
    assert run("create-admin", *words).status == 0
    session_id = new_id()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM membership")
        ((account_id,),) = connection.execute("SELECT id FROM account").fetchall()
        ((moment,),) = connection.execute("SELECT created_at FROM account").fetchall()
        later = moment + 86_400 * 10**6 if isinstance(moment, int) else "2999-01-01 00:00:00.000000"
        values = {
            "id": session_id.bytes if isinstance(account_id, bytes) else str(session_id),
            "account_id": account_id,
            "refresh_digest": b"",
            "device": "Browser \x1b[31mof Ada",
            "address": "192.0.2.0/24",
            "methods": json.dumps(["password"]),
            **dict.fromkeys(("created_at", "authenticated_at", "refreshed_at"), moment),
            "expires_at": later,
        }
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO session ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608
    shown = run("accounts", "list").out
    return Ada(shown.split()[0], str(session_id))


def test_accounts_are_listed_and_found(run: Run, ada: Ada) -> None:
    line = f"{ada.id}  person   active       {EMAIL}  Ada\n"
    assert run("accounts", "list").out == line
    assert run("accounts", "list", "--search", "ADA@").out == line
    assert run("accounts", "list", "--search", "%").out == ""
    for who in (EMAIL, "ADA@Example.org", ada.id):
        out = run("accounts", "show", who).out
        assert re.search(r"^password +yes$", out, re.MULTILINE)
        assert re.search(r"^sessions +1$", out, re.MULTILINE)


def test_whoever_is_not_there_is_named(run: Run, ada: Ada) -> None:
    for who in ("bob@example.org", str(new_id())):
        result = run("accounts", "show", who)
        assert result.status == 2
        assert f"There is no account {who}" in result.err
    assert ada.id


def test_sessions_are_listed_without_what_a_terminal_obeys_and_ended(run: Run, ada: Ada) -> None:
    out = run("accounts", "sessions", EMAIL).out
    assert ada.session_id in out
    assert "192.0.2.0/24" in out
    assert "Browser ?[31mof Ada" in out
    assert run("accounts", "end-sessions", EMAIL).status == 0
    assert run("accounts", "sessions", EMAIL).out == ""


def test_an_account_is_deactivated_and_let_back_in(run: Run, ada: Ada) -> None:
    assert run("accounts", "deactivate", ada.id).out == f"{EMAIL} is deactivated.\n"
    assert "deactivated" in run("accounts", "list").out
    assert run("accounts", "sessions", EMAIL).out == ""
    assert run("accounts", "deactivate", ada.id).status == 2
    assert run("accounts", "reactivate", EMAIL).out == f"{EMAIL} is active.\n"
    assert "active" in run("accounts", "show", EMAIL).out


def test_a_change_of_the_password_is_forced(run: Run, ada: Ada) -> None:
    assert run("accounts", "force-password-change", ada.id).status == 0
    assert "must be changed" in run("accounts", "show", EMAIL).out


def test_who_has_lost_the_authenticator_is_let_in_without(
    run: Run, ada: Ada, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("accounts", "remove-authenticator", EMAIL, "--yes").status == 2
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO totp (account_id, secret, last_step, created_at, confirmed_at, failures)"
            " SELECT id, x'00', 0, created_at, created_at, 0 FROM account"
        )
        connection.execute(
            "INSERT INTO recovery_code (account_id, digest, created_at) SELECT id, x'00', created_at FROM account"
        )
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run("accounts", "remove-authenticator", EMAIL).status == 1
    assert re.search(r"authenticator apps +1\n", run("accounts", "show", EMAIL).out)
    assert run("accounts", "remove-authenticator", ada.id, "--yes").out == f"{EMAIL} logs in without a code now.\n"
    assert re.search(r"authenticator apps +0\n", run("accounts", "show", EMAIL).out)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM recovery_code").fetchone() == (0,)
        assert connection.execute("SELECT template, recipient FROM mail").fetchall() == [
            ("accounts.second_factor_changed", EMAIL)
        ]
        noted = connection.execute("SELECT name, origin FROM audit_entry ORDER BY id DESC LIMIT 1").fetchone()
    assert noted == ("accounts:totp:removed", "cli")


def test_an_account_is_deleted_by_who_is_sure(run: Run, ada: Ada, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert run("accounts", "delete", EMAIL).status == 1
    assert EMAIL in run("accounts", "list").out
    assert run("accounts", "delete", EMAIL, "--yes").status == 0
    assert "deleted" in run("accounts", "show", ada.id).out
    assert run("accounts", "show", EMAIL).status == 2
