"""`courtyard audit`: what it says, and with which status it leaves."""

import asyncio
import csv
import getpass
import io
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from courtyard import site
from courtyard.cli import app
from courtyard.kernel.accounts import NewAccount, create_person
from courtyard.kernel.audit.tasks import Keeper
from courtyard.kernel.clock import Clock
from courtyard.kernel.context import Context
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import load_settings
from courtyard.kernel.trail import Origin
from courtyard.kernel.workspaces import DatabaseIdentity, NewWorkspace, found_workspace
from courtyard.server import parts
from tests.factories import PASSWORD
from tests.running import MovableClock


class Result(NamedTuple):
    status: int
    out: str


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `courtyard audit` on data of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURTYARD_SECURITY__ARGON2_TIME_COST", "1")
    monkeypatch.setenv("COURTYARD_SECURITY__ARGON2_MEMORY_KIB", "64")

    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(app, ["audit", *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Result(result.exit_code, result.stdout)

    return run


async def fill(clock: Clock | None = None) -> None:
    """Make an account and its workspace, and seal what that leaves."""
    settings = load_settings()
    runtime = Runtime.create(settings, parts(settings), DatabaseIdentity(), clock=clock)
    try:
        await site.prepare(runtime)
        context = Context(runtime, None, None, "fill", Origin("cli"))
        owner = await create_person(context, NewAccount(email="ada@example.org", name="=Ada", password=PASSWORD))
        await found_workspace(context, NewWorkspace(slug="help-line", name="Help"), owner.id)
        await context.commit()
        await Keeper(runtime).turn()
    finally:
        await runtime.close()


def tamper(sql: str) -> None:
    with closing(sqlite3.connect("courtyard-data/courtyard.sqlite3")) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute(sql)
        connection.commit()


def test_a_sound_log_is_told_to_be_so(run: Run) -> None:
    asyncio.run(fill())
    result = run("verify")
    assert result.status == 0
    installation, workspace = result.out.splitlines()
    assert re.fullmatch(r"database 1, installation: 1 entries, head 1 [0-9a-f]{16}: sound", installation)
    assert workspace.endswith("sound")
    assert run("verify", "--workspace", "help-line").out.splitlines() == [workspace]
    documents = [json.loads(line) for line in run("verify", "--json").out.splitlines()]
    assert [(one["entries"], one["sound"], one["faults"]) for one in documents] == [(1, True, []), (3, True, [])]


def test_a_fault_is_named_and_told_by_the_status(run: Run) -> None:
    asyncio.run(fill())
    tamper("UPDATE audit_entry SET actor_kind = 'system' WHERE name = 'workspaces:membership:created'")
    result = run("verify")
    assert result.status == 1
    assert "1 faults" in result.out
    assert re.search(r"  edited: number 2, entry [0-9a-f-]{36}: the entry is not what was sealed", result.out)
    found = [json.loads(line)["faults"] for line in run("verify", "--json").out.splitlines()]
    assert [[fault["kind"] for fault in faults] for faults in found] == [[], ["edited"]]


def test_a_command_says_who_of_this_machine_gave_it(run: Run) -> None:
    arguments = ["--email", "ada@example.org", "--name", "Ada", "--workspace", "help-line", "--password-stdin"]
    made = CliRunner().invoke(app, ["create-admin", *arguments], input=f"{PASSWORD}\n")
    assert made.exit_code == 0, made.output
    (account,) = (json.loads(line) for line in run("export").out.splitlines())
    assert (account["name"], account["actor_kind"], account["origin"]) == ("accounts:account:created", "cli", "cli")
    assert account["request"]["arguments"] == {"command": "create-admin", "user": getpass.getuser()}


def test_entries_are_listed_and_exported(run: Run) -> None:
    asyncio.run(fill())
    (line,) = run("list").out.splitlines()
    assert re.search(r"accounts:account:created +cli +account [0-9a-f-]{36}$", line)
    assert len(run("list", "--workspace", "help-line").out.splitlines()) == 3
    assert run("list", "--name", "accounts:session:opened").out == ""
    (document,) = (json.loads(one) for one in run("export").out.splitlines())
    assert document["after"]["password_hash"] == "[redacted]"
    rows = list(csv.DictReader(io.StringIO(run("export", "--format", "csv", "--workspace", "help-line").out)))
    assert [row["object_type"] for row in rows] == ["role_grant", "membership", "workspace"]


def test_what_is_old_is_removed_and_that_is_noted(run: Run) -> None:
    clock = MovableClock()
    clock.move(days=-40)
    asyncio.run(fill(clock))
    assert run("prune", "--days", "50").out == "0 entries removed\n"
    assert run("prune").out == "0 entries removed\n"
    assert run("prune", "--days", "30").out == "4 entries removed\n"
    (line,) = run("list").out.splitlines()
    assert "audit:log:pruned" in line
    assert run("verify").status == 0
