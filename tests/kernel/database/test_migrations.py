import ast
import asyncio
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import insert, text

from courtyard.kernel.application import Application
from courtyard.kernel.database import Database, migrator
from courtyard.kernel.database.authoring import check, irregularities
from courtyard.kernel.database.catalogue import Catalogue, catalogue
from courtyard.kernel.database.migrations import MigrationError, address, pending, states
from courtyard.kernel.database.migrator import connected, downgrade, upgrade
from courtyard.kernel.settings import DatabaseSettings

SQLITE_ONLY = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
THINGS = 'op.create_table("thing", sa.Column("id", sa.Integer(), primary_key=True))'
NO_THINGS = 'op.drop_table("thing")'


class History(Protocol):
    """A part that is made up, as the fixture `history` gives it."""

    folder: Path
    part: Application

    def revise(self, up: str, down: str = "pass") -> Path: ...


async def ask(database: Database, sql: str) -> list[Sequence[Any]]:
    async with connected(database) as connection:
        rows = (await connection.execute(text(sql))).all()
    return [tuple(row) for row in rows]


async def do(database: Database, *statements: str) -> None:
    async with connected(database) as connection:
        for sql in statements:
            await connection.execute(text(sql))
        await connection.commit()


async def content_of(database: Database) -> Catalogue:
    async with connected(database) as connection:
        found = await connection.run_sync(catalogue)
    return {name: lines for name, lines in found.items() if not name.startswith("alembic_version_")}


def file_of(database: Database) -> Path:
    return Path(database.url.removeprefix("sqlite:///"))


def is_there(database: Database) -> bool:
    return file_of(database).exists()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def fill(database: Database, parts: Sequence[Application], rows: dict[str, Any]) -> None:
    """Put a row into every table."""
    async with connected(database) as connection:
        for part in parts:
            for model in part.models:
                # Filled by a trigger.
                if model.__tablename__ != "audit_pending":
                    await connection.execute(insert(model).values(rows[model.__tablename__]))
        await connection.commit()


# ------------------------------------------------------------------------------------------ the histories


def test_every_history_is_one_line_of_numbers(parts: list[Application]) -> None:
    assert [fault for part in parts for fault in irregularities(part)] == []


def test_revisions_import_no_models(parts: list[Application]) -> None:
    files = [path for part in parts if part.migrations for path in part.migrations.glob("*.py")]
    assert len(files) >= len(parts)
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                assert all(name.split(".")[0] in {"sqlalchemy", *sys.stdlib_module_names} for name in names), path
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                allowed = {"alembic", "sqlalchemy", *sys.stdlib_module_names}
                if module == "courtyard.kernel.database":
                    assert {alias.name for alias in node.names} <= {"Json", "UtcDateTime"}, path
                else:
                    assert node.level == 0, path
                    assert module.split(".")[0] in allowed, path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("0003_gap.py", 'revision = "0003"\ndown_revision = "0001"\n'),
        ("0001_twice.py", 'revision = "0001"\ndown_revision = None\n'),
        ("0002_other_head.py", 'revision = "0002"\ndown_revision = None\n'),
        ("0002_other_id.py", 'revision = "abc"\ndown_revision = "0001"\n'),
        ("0002_to_nowhere.py", 'revision = "0002"\ndown_revision = "0009"\n'),
        ("not_numbered.py", 'revision = "0002"\ndown_revision = "0001"\n'),
    ],
)
def test_a_history_that_is_not_one_line_is_told(history: History, name: str, content: str) -> None:
    history.revise(THINGS)
    (history.folder / name).write_text(content)
    (fault,) = irregularities(history.part)
    assert fault.startswith("sample: ")


# ------------------------------------------------------------------------------------------- up and down


@pytest.mark.slow
async def test_up_down_and_up_again_with_data_in_the_tables(
    database: Database, parts: list[Application], rows: dict[str, Any]
) -> None:
    assert await upgrade(database, parts) == sum(len(state.revisions) for state in await states(database, parts))
    assert await check(parts, database) == []
    await fill(database, parts, rows)
    for part in reversed(parts):
        mine = {model.__tablename__ for model in part.models}
        before = await content_of(database)
        await downgrade(database, parts, module=part.name, revision="base")
        # What is of others is not touched, with all that is in it.
        after = await content_of(database)
        assert after == {name: lines for name, lines in before.items() if name not in mine}
        for table in after:
            ((count,),) = await ask(database, f'SELECT count(*) FROM "{table}"')  # noqa: S608
            assert count >= 1
    assert await content_of(database) == {}
    await upgrade(database, parts)
    assert await check(parts, database) == []
    await fill(database, parts, rows)


@pytest.mark.slow
async def test_every_revision_goes_down_to_what_was_before(database: Database, parts: list[Application]) -> None:
    await upgrade(database, [])
    for part in parts:
        for state in await states(database, [part]):
            for revision in state.pending:
                before = await content_of(database)
                await upgrade(database, parts, module=part.name, revision=revision)
                after = await content_of(database)
                await downgrade(database, parts, module=part.name, revision="-1")
                assert await content_of(database) == before
                await upgrade(database, parts, module=part.name, revision=revision)
                assert await content_of(database) == after


async def test_going_up_and_down_step_by_step(database: Database, history: History) -> None:
    history.revise(THINGS, NO_THINGS)
    for name in ("a", "b", "c"):
        history.revise(f'op.add_column("thing", sa.Column("{name}", sa.Text()))', f'op.drop_column("thing", "{name}")')
    told: list[str] = []
    one = [history.part]

    assert await upgrade(database, one, module="sample", revision="0002", say=told.append) == 2
    assert [line for line in told if "copying" not in line] == ["sample 0001", "sample 0002"]
    (state,) = await pending(database, one)
    assert (state.current, state.newest, state.pending) == ("0002", "0004", ("0003", "0004"))
    assert await upgrade(database, one) == 2
    assert await pending(database, one) == []
    assert await downgrade(database, one, module="sample", revision="0003") == 1
    assert await downgrade(database, one, module="sample", revision="-2") == 2
    assert (await states(database, one))[0].current == "0001"
    # What is reached already is left alone.
    assert await upgrade(database, one, module="sample", revision="0001") == 0
    assert await downgrade(database, one, module="sample", revision="0003") == 0
    assert await downgrade(database, one, module="sample", revision="-9") == 1
    assert (await states(database, one))[0].current is None
    with pytest.raises(MigrationError, match="no revision 0009; it has: 0001, 0002"):
        await upgrade(database, one, module="sample", revision="0009")
    with pytest.raises(MigrationError, match="no revision -x"):
        await downgrade(database, one, module="sample", revision="-x")
    with pytest.raises(MigrationError, match="no module other with tables; there are: sample"):
        await upgrade(database, one, module="other")


async def test_a_database_beside_the_main_one_has_the_tables_of_workspaces_alone(
    database: Database, parts: list[Application]
) -> None:
    await upgrade(database, parts, main=False)
    assert await pending(database, parts, main=False) == []
    assert [state.module for state in await pending(database, parts)] == [
        "accounts",
        "workspaces",
        "placements",
        "relocation",
    ]
    assert not {"account", "session", "workspace", "membership"} & {*await content_of(database)}
    assert await check(parts, database, main=False) == []


async def test_a_revision_that_fails_leaves_nothing_and_those_before_it_stay(
    database: Database, history: History
) -> None:
    history.revise(THINGS)
    history.revise(
        """
        op.execute("INSERT INTO thing VALUES (4711)")
        op.create_table("other", sa.Column("id", sa.Integer()))
        op.execute("INSERT INTO thing VALUES (4711)")
        """
    )
    with pytest.raises(MigrationError) as failure:
        await upgrade(database, [history.part])
    assert str(failure.value).startswith("sample 0002: ")
    assert "\n" not in str(failure.value)
    assert "4711" not in str(failure.value)
    assert {*await content_of(database)} == {"thing"}
    assert await ask(database, "SELECT * FROM thing") == []
    assert (await states(database, [history.part]))[0].current == "0001"


async def test_a_table_that_others_refer_to_is_not_dropped(database: Database, history: History) -> None:
    history.revise(
        """
        op.create_table("thing", sa.Column("id", sa.Integer(), primary_key=True))
        op.create_table("part_of", sa.Column("thing_id", sa.Integer(), sa.ForeignKey("thing.id")))
        """
    )
    history.revise('op.drop_table("thing")')
    with pytest.raises(MigrationError, match="sample 0002: "):
        await upgrade(database, [history.part])
    assert {*await content_of(database)} == {"thing", "part_of"}


async def test_a_table_that_is_made_anew_keeps_what_refers_to_it(database: Database, history: History) -> None:
    history.revise(
        """
        op.create_table("thing", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("name", sa.Text()))
        op.create_table("part_of", sa.Column("thing_id", sa.Integer(), sa.ForeignKey("thing.id", ondelete="CASCADE")))
        op.execute("INSERT INTO thing VALUES (1, 'first')")
        op.execute("INSERT INTO part_of VALUES (1)")
        """
    )
    history.revise(
        """
        with op.batch_alter_table("thing") as thing:
            thing.alter_column("name", existing_type=sa.Text(), type_=sa.String(10), nullable=False)
            thing.create_check_constraint("ck_thing_name", "name <> ''")
        """
    )
    await upgrade(database, [history.part])
    assert await ask(database, "SELECT thing_id, name FROM part_of JOIN thing ON id = thing_id") == [(1, "first")]
    assert any("ck_thing_name" in line for line in (await content_of(database))["thing"])


@SQLITE_ONLY
async def test_a_table_that_is_made_anew_may_not_lose_an_index(database: Database, history: History) -> None:
    history.revise(f'{THINGS}\nop.create_index("ix_thing", "thing", [sa.text("abs(id)")])')
    anew = """
with op.batch_alter_table("thing", recreate="always") as thing:
    thing.add_column(sa.Column("name", sa.Text()))
"""
    path = history.revise(anew)
    with pytest.raises(MigrationError, match=r"sample 0002: .*ix_thing"):
        await upgrade(database, [history.part])
    path.unlink()
    history.revise(f"""
op.drop_index("ix_thing", "thing"){anew}
op.create_index("ix_thing", "thing", [sa.text("abs(id)")])
""")
    await upgrade(database, [history.part])
    assert any("abs(id)" in line for line in (await content_of(database))["thing"])


async def test_a_row_that_would_refer_to_nothing_stops_the_revision(database: Database, history: History) -> None:
    history.revise(
        """
        op.create_table("thing", sa.Column("id", sa.Integer(), primary_key=True))
        op.create_table("part_of", sa.Column("thing_id", sa.Integer(), sa.ForeignKey("thing.id")))
        op.execute("INSERT INTO thing VALUES (1)")
        op.execute("INSERT INTO part_of VALUES (1)")
        """
    )
    history.revise('op.execute("DELETE FROM thing")')
    with pytest.raises(MigrationError, match="sample 0002: "):
        await upgrade(database, [history.part])
    assert await ask(database, "SELECT * FROM thing") == [(1,)]


async def test_a_revision_may_leave_its_transaction(database: Database, history: History) -> None:
    history.revise(THINGS)
    history.revise(
        """
        with op.get_context().autocommit_block():
            op.create_index("ix_thing_id", "thing", ["id"], postgresql_concurrently=True, if_not_exists=True)
        op.execute("INSERT INTO thing VALUES (1)")
        """
    )
    await upgrade(database, [history.part])
    assert await ask(database, "SELECT * FROM thing") == [(1,)]
    assert await pending(database, [history.part]) == []


# ----------------------------------------------------------------------------------- what a look tells


async def test_a_look_at_an_empty_database_changes_nothing(database: Database, parts: list[Application]) -> None:
    assert [state.module for state in await pending(database, parts)] == [part.name for part in parts]
    if database.is_sqlite:
        assert not is_there(database)
    else:
        assert await content_of(database) == {}


def test_a_look_does_without_alembic() -> None:
    code = "import sys, courtyard.kernel.database.migrations; sys.exit('alembic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_a_database_that_is_newer_than_the_code(database: Database, history: History) -> None:
    history.revise(THINGS, NO_THINGS)
    await upgrade(database, [history.part])
    await do(database, "UPDATE alembic_version_sample SET version_num = '0099'")
    (state,) = await pending(database, [history.part])
    assert state.newer_than_code
    assert (state.pending, state.applied) == ((), ())
    for move in (
        upgrade(database, [history.part]),
        downgrade(database, [history.part], module="sample", revision="-1"),
    ):
        with pytest.raises(MigrationError, match=r"sample is at revision 0099.*its newest is 0001") as failure:
            await move
        assert "\n" not in str(failure.value)
    assert await check([history.part], database) == ["sample: at 0099 and not at 0001"]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:hush@db.example.org:5433/courtyard", "postgresql://ada@db.example.org:5433/courtyard"),
        ("postgresql://db/courtyard?password=hush&user=ada", "postgresql://db/courtyard"),
        ("postgresql://ada:hu/sh@db/courtyard", "postgresql://…"),
        ("postgresql://ada:12/hush@db/courtyard", "postgresql://…"),
        ("postgresql://ada:12?hush@db/courtyard", "postgresql://…"),
        ("postgresql:///courtyard", "postgresql:///courtyard"),
        ("sqlite:////srv/courtyard.sqlite3", "sqlite:////srv/courtyard.sqlite3"),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str) -> None:
    assert address(url) == shown


async def test_a_database_that_is_not_there_is_told_in_one_line(
    settings: DatabaseSettings, tmp_path: Path, parts: list[Application]
) -> None:
    broken = tmp_path / "broken.sqlite3"
    broken.write_bytes(b"not a database" * 100)
    for url in (
        "postgresql://ada:hush@127.0.0.1:1/courtyard",
        "postgresql://ada:hu/sh@127.0.0.1:1/courtyard",
        f"sqlite:///{broken}",
        f"sqlite:///{broken}/below/a/file.sqlite3",
    ):
        database = Database(url, settings)
        with pytest.raises(MigrationError) as failure:
            await upgrade(database, parts)
        assert "\n" not in str(failure.value)
        assert "hu" not in str(failure.value)
        await database.close()


# ------------------------------------------------------------------------------------- several at once

MIGRATE = """
import asyncio, sys
from pathlib import Path
from courtyard.kernel.application import Application
from courtyard.kernel.database import Database
from courtyard.kernel.database.migrator import upgrade
from courtyard.kernel.settings import DatabaseSettings

url, folder = sys.argv[1:]
part = Application(name="sample", description="made up", migrations=Path(folder))

async def main():
    database = Database(url, DatabaseSettings())
    print(await upgrade(database, [part], say=lambda line: print(line, flush=True)))
    await database.close()

asyncio.run(main())
"""


def migrate(database: Database, history: History) -> subprocess.Popen[str]:
    """Start a process that migrates."""
    return subprocess.Popen(
        [sys.executable, "-c", MIGRATE, database.url, str(history.folder)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
async def test_of_two_migrators_one_works_and_the_other_waits(
    database: Database, history: History, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    history.revise(f'{THINGS}\nwhile not Path("{go}").exists():\n    time.sleep(0.01)')
    history.revise('op.execute("INSERT INTO thing VALUES (1)")')
    processes = [migrate(database, history) for _ in range(2)]
    first = [await asyncio.to_thread(first_line_of, process) for process in processes]
    go.touch()
    rest = [await asyncio.to_thread(process.communicate, timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("another migrator is at work, waiting" in line for line in first) == 1
    assert sorted(output.split()[-1] for output, _ in rest) == ["0", "2"]
    assert await ask(database, "SELECT * FROM thing") == [(1,)]


@pytest.mark.slow
async def test_waiting_for_another_migrator_has_an_end(database: Database, history: History) -> None:
    history.revise("time.sleep(30)")
    process = migrate(database, history)
    try:
        await asyncio.to_thread(wait_for, process, "sample 0001")
        with pytest.raises(MigrationError, match="another migrator has been at work for more than"):
            await upgrade(database, [history.part], wait_seconds=0.3)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
async def test_a_migrator_that_is_killed_leaves_nothing_half_done(database: Database, history: History) -> None:
    history.revise(THINGS)
    slow = history.revise(f'{THINGS.replace("thing", "other")}\nprint("there", flush=True)\ntime.sleep(30)')
    process = migrate(database, history)
    await asyncio.to_thread(wait_for, process, "there")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    slow.unlink()
    history.revise(THINGS.replace("thing", "other"))
    assert await upgrade(database, [history.part], wait_seconds=30) == 1
    assert {*await content_of(database)} == {"thing", "other"}


def first_line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert any(read.strip() == line for read in process.stdout)


async def test_two_migrations_in_one_process_take_turns(database: Database, history: History) -> None:
    history.revise(THINGS)
    history.revise('op.execute("INSERT INTO thing VALUES (1)")')
    counts = await asyncio.gather(*(upgrade(database, [history.part]) for _ in range(3)))
    assert sorted(counts) == [0, 0, 2]


# ----------------------------------------------------------------------------------------------- locks


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrator, "PAUSES_SECONDS", (0.05, 0.1))


# Any transaction that has written stands in the way: of everybody on SQLite, of this table on PostgreSQL.
LOCK = text("INSERT INTO thing VALUES (1)")


@pytest.mark.usefixtures("impatient")
async def test_a_lock_of_somebody_else_is_tried_again(database: Database, history: History) -> None:
    history.revise(THINGS)
    await upgrade(database, [history.part])
    history.revise('op.execute("ALTER TABLE thing ADD COLUMN name TEXT")')
    told: list[str] = []
    again = asyncio.Event()

    def say(line: str) -> None:
        told.append(line)
        if "trying again" in line:
            again.set()

    async with connected(database) as other:
        await other.execute(LOCK)

        async def release() -> None:
            await again.wait()
            await other.rollback()

        counts = await asyncio.gather(upgrade(database, [history.part], say=say), release())
    assert counts[0] == 1
    assert any(line.startswith("sample 0002: ") and "lock" in line for line in told)


@pytest.mark.usefixtures("impatient")
async def test_a_lock_that_stays_ends_the_attempts(database: Database, history: History) -> None:
    history.revise(THINGS)
    await upgrade(database, [history.part])
    history.revise('op.execute("ALTER TABLE thing ADD COLUMN name TEXT")')
    told: list[str] = []
    async with connected(database) as other:
        await other.execute(LOCK)
        with pytest.raises(MigrationError, match=r"sample 0002: .*lock") as failure:
            await upgrade(database, [history.part], say=told.append)
        await other.rollback()
    assert "\n" not in str(failure.value)
    assert sum("trying again" in line for line in told) == 2
    assert (await states(database, [history.part]))[0].current == "0001"


# --------------------------------------------------------------------------------- copies of SQLite files


def copies_of(database: Database) -> list[Path]:
    path = file_of(database)
    return sorted(path.parent.glob(f"{path.name}.before-*"), key=lambda copy: copy.name.rpartition("-")[2])


@SQLITE_ONLY
async def test_a_file_is_copied_before_it_is_changed(database: Database, history: History) -> None:
    history.revise(THINGS, NO_THINGS)
    await upgrade(database, [history.part])
    assert copies_of(database) == []
    await do(database, "INSERT INTO thing VALUES (7)")
    assert await upgrade(database, [history.part]) == 0
    assert copies_of(database) == []

    history.revise('op.execute("DELETE FROM thing")')
    told: list[str] = []
    await upgrade(database, [history.part], say=told.append)
    (copy,) = copies_of(database)
    assert copy.name.startswith("sample.sqlite3.before-sample-0002-")
    assert mode_of(copy) == 0o600
    assert told == [f"copying sample.sqlite3 to {copy.name}", "sample 0002"]
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT * FROM thing").fetchall() == [(7,)]
        assert connection.execute("SELECT * FROM alembic_version_sample").fetchall() == [("0001",)]


@SQLITE_ONLY
async def test_the_newest_copies_are_kept(database: Database, history: History) -> None:
    history.revise(THINGS, NO_THINGS)
    await upgrade(database, [history.part])
    remains = file_of(database).with_name("sample.sqlite3.before-sample-0001-20260101T000000000000Z.partial")
    shutil.copy(file_of(database), remains)
    seen: list[Path] = []
    for _ in range(3):
        await downgrade(database, [history.part], module="sample", revision="base")
        await upgrade(database, [history.part])
        seen += [copy for copy in copies_of(database) if copy not in seen and copy != remains]
    assert len(seen) == 6
    assert copies_of(database) == seen[-3:]


@SQLITE_ONLY
async def test_without_a_copy_nothing_is_changed(
    database: Database, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.revise(THINGS, NO_THINGS)
    await upgrade(database, [history.part])
    history.revise('op.execute("DROP TABLE thing")')

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(MigrationError, match=r"could not be copied, so nothing was changed: .*No space left"):
        await upgrade(database, [history.part])
    assert {*await content_of(database)} == {"thing"}
    assert copies_of(database) == []


@SQLITE_ONLY
async def test_a_new_file_is_for_its_owner_alone(database: Database, parts: list[Application]) -> None:
    await upgrade(database, parts)
    assert mode_of(file_of(database)) == 0o600
    assert mode_of(file_of(database).parent) == 0o700
