import ast
import asyncio
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    literal_column,
    text,
)
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import SchemaItem

from courtyard.kernel.application import Application
from courtyard.kernel.database import Database, Json, UtcDateTime
from courtyard.kernel.database.authoring import check, new
from courtyard.kernel.database.catalogue import Catalogue, catalogue
from courtyard.kernel.database.migrations import MigrationError
from courtyard.kernel.database.migrator import connected, downgrade, upgrade
from courtyard.kernel.database.models import NAMING_CONVENTION

MIGRATION = """
op.create_table("owner", sa.Column("id", sa.Uuid(), nullable=False), sa.PrimaryKeyConstraint("id", name="pk_owner"))
op.create_table(
    "thing",
    sa.Column("id", sa.Uuid(), nullable=False),
    sa.Column("owner_id", sa.Uuid(), nullable=False),
    sa.Column("name", sa.String(20), nullable=False),
    sa.Column("note", sa.Text()),
    sa.Column("size", sa.BigInteger(), server_default="7", nullable=False),
    sa.Column("data", Json(), nullable=False),
    sa.Column("made_at", UtcDateTime()),
    sa.PrimaryKeyConstraint("id", name="pk_thing"),
    sa.UniqueConstraint("name", name="uq_thing_name"),
    sa.ForeignKeyConstraint(["owner_id"], ["owner.id"], name="fk_thing_owner_id", ondelete="CASCADE"),
    sa.CheckConstraint("name <> ''", name="ck_thing_name"),
)
op.create_index(
    "ix_thing_owner_id_made_at", "thing", ["owner_id", "made_at"],
    sqlite_where=sa.text("note IS NOT NULL"), postgresql_where=sa.text("note IS NOT NULL"),
)
"""
# SQLAlchemy cannot reflect it on SQLite, so it is not drafted.
EXPRESSION = '\nop.create_index("ix_thing_lower_name", "thing", [sa.text("lower(name)")])\n'
NO_MIGRATION = 'op.drop_table("thing")\nop.drop_table("owner")'


class History(Protocol):
    """A part that is made up, as the fixture `history` gives it."""

    folder: Path
    part: Application

    def revise(self, up: str, down: str = "pass") -> Path: ...


def expression() -> Index:
    return Index("ix_thing_lower_name", func.lower(literal_column("name")))


def models(*more: SchemaItem) -> Sequence[type[DeclarativeBase]]:
    """Make the models of what `MIGRATION` makes, with more in their second table."""

    class Base(DeclarativeBase):
        metadata = MetaData(naming_convention=NAMING_CONVENTION)

    class Owner(Base):
        __table__ = Table("owner", Base.metadata, Column("id", Uuid(), primary_key=True))

    note = text("note IS NOT NULL")

    class Thing(Base):
        __table__ = Table(
            "thing",
            Base.metadata,
            Column("id", Uuid(), primary_key=True),
            Column("owner_id", Uuid(), ForeignKey("owner.id", ondelete="CASCADE"), nullable=False),
            Column("name", String(20), unique=True, nullable=False),
            Column("note", Text()),
            Column("size", BigInteger(), server_default="7", nullable=False),
            Column("data", Json(), nullable=False),
            Column("made_at", UtcDateTime()),
            CheckConstraint("name <> ''", name="name"),
            Index(None, "owner_id", "made_at", sqlite_where=note, postgresql_where=note),
            *more,
        )

    return [Owner, Thing]


async def content_of(database: Database) -> Catalogue:
    async with connected(database) as connection:
        return await connection.run_sync(catalogue)


# ------------------------------------------------------------------------------------------- comparing


async def test_the_models_are_what_the_migrations_make(parts: list[Application]) -> None:
    assert await check(parts) == []


async def test_what_is_the_same_is_not_told(database: Database, history: History) -> None:
    history.revise(MIGRATION + EXPRESSION)
    part = replace(history.part, models=models(expression()))
    await upgrade(database, [part])
    assert await check([part], database) == []
    assert await check([part]) == []


@pytest.mark.parametrize(
    ("there", "instead", "told"),
    [
        ("sa.String(20)", "sa.String(30)", "column name"),
        ("sa.String(20)", "sa.Text()", "column name"),
        ("sa.BigInteger()", "sa.Integer()", "column size"),
        ('server_default="7"', 'server_default="8"', "column size"),
        ('server_default="7", ', "", "column size"),
        ("sa.Text())", "sa.Text(), nullable=False)", "column note"),
        ('    sa.Column("made_at"', '    sa.Column("age", sa.Text()),\n    sa.Column("made_at"', "column age"),
        ("pk_thing", "pk_thing_id", "primary key pk_thing"),
        ("uq_thing_name", "uq_thing", "unique uq_thing_name"),
        ("fk_thing_owner_id", "fk_thing", "foreign key fk_thing_owner_id"),
        (', ondelete="CASCADE"', "", "foreign key fk_thing_owner_id"),
        ("ck_thing_name", "ck_thing", "check ck_thing_name"),
        ("name <> ''", "name <> 'x'", "check ck_thing_name"),
        ("ix_thing_owner_id_made_at", "ix_thing", "ix_thing_owner_id_made_at"),
        ('["owner_id", "made_at"]', '["made_at", "owner_id"]', "ix_thing_owner_id_made_at"),
        ("note IS NOT NULL", "note IS NULL", "ix_thing_owner_id_made_at"),
        ('["owner_id", "made_at"],', '["owner_id", "made_at"], unique=True,', "ix_thing_owner_id_made_at"),
        ("lower(name)", "upper(name)", "ix_thing_lower_name"),
    ],
)
async def test_every_difference_is_told(
    database: Database, history: History, there: str, instead: str, told: str
) -> None:
    migration = MIGRATION + EXPRESSION
    assert there in migration
    history.revise(migration.replace(there, instead))
    part = replace(history.part, models=models(expression()))
    await upgrade(database, [part])
    differences = await check([part], database)
    assert differences
    assert all(line.startswith("thing: ") for line in differences)
    assert any(told in line for line in differences)


@pytest.mark.parametrize(("there", "told"), [("Json()", "column data"), ("UtcDateTime()", "column made_at")])
@pytest.mark.parametrize("kind", [pytest.param("postgresql", marks=pytest.mark.services)], indirect=True)
async def test_what_is_text_on_sqlite_alone_is_told(
    database: Database, history: History, there: str, told: str
) -> None:
    history.revise(MIGRATION.replace(there, "sa.Text()"))
    part = replace(history.part, models=models())
    await upgrade(database, [part])
    assert [told in line for line in await check([part], database)] == [True, True]


async def test_a_table_too_many_or_too_few_is_told(history: History) -> None:
    history.revise(MIGRATION)
    more = await check([replace(history.part, models=models()[:1])])
    assert {line.partition(":")[0] for line in more} == {"thing"}
    assert all("the models do not have it" in line for line in more)
    (history.folder / "0001_made_up.py").unlink()
    less = await check([replace(history.part, models=models())])
    assert {line.partition(":")[0] for line in less} == {"owner", "thing"}
    assert all("the migrations do not make it" in line for line in less)


async def test_a_database_may_hold_tables_of_others(database: Database, history: History) -> None:
    history.revise(MIGRATION)
    part = replace(history.part, models=models())
    assert await check([part], database) == ["sample: at nothing and not at 0001"]
    await upgrade(database, [part])
    async with connected(database) as connection:
        await connection.execute(text("CREATE TABLE of_others (id INTEGER)"))
        await connection.commit()
    before = await content_of(database)
    assert await check([part], database) == []
    assert await content_of(database) == before


# --------------------------------------------------------------------------------------------- drafting


async def test_a_draft_makes_what_the_models_say(database: Database, history: History) -> None:
    history.revise(MIGRATION, NO_MIGRATION)
    added = (
        Column("colour", String(10), server_default="red", nullable=False),
        Column("seen_at", UtcDateTime()),
        Column("tags", Json()),
        Column("parent_id", Uuid(), ForeignKey("owner.id", ondelete="SET NULL")),
        CheckConstraint("size > 0", name="size"),
        UniqueConstraint("owner_id", "colour"),
        Index(None, "colour", sqlite_where=text("size > 1"), postgresql_where=text("size > 1")),
    )
    part = replace(history.part, models=models(*added))
    await upgrade(database, [part])
    before = await content_of(database)

    path = await new([part], "sample", "Colours and tags")
    assert path == history.folder / "0002_colours_and_tags.py"
    assert await check([part]) == []
    await upgrade(database, [part])
    assert await check([part], database) == []
    await downgrade(database, [part], module="sample", revision="0001")
    assert await content_of(database) == before


async def test_a_draft_is_clean_code(history: History) -> None:
    history.revise(MIGRATION, NO_MIGRATION)
    part = replace(history.part, models=models(Column("tags", Json()), Column("seen_at", UtcDateTime())))
    path = await new([part], "sample", "Tags")
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,W", "--line-length", "200"]
    await asyncio.to_thread(subprocess.run, [*ruff, str(path)], check=True, timeout=60)
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) == "Tags."
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"alembic", "courtyard.kernel.database"}


async def test_a_draft_of_the_first_revision(database: Database, history: History) -> None:
    part = replace(history.part, models=models())
    path = await new([part], "sample", "things")
    assert path.name == "0001_things.py"
    await upgrade(database, [part])
    assert await check([part], database) == []
    await downgrade(database, [part], module="sample", revision="base")
    assert {*await content_of(database)} == {"alembic_version_sample"}


async def test_a_draft_without_a_difference_is_empty(history: History) -> None:
    history.revise(MIGRATION)
    part = replace(history.part, models=models())
    for number in ("0002", "0003"):
        path = await new([part], "sample", "by hand")
        assert path.name == f"{number}_by_hand.py"
        assert path.read_text().count("\n    pass\n") == 2
    assert await check([part]) == []


async def test_a_draft_drops_what_is_gone_and_leaves_what_is_of_others(
    history: History, parts: list[Application]
) -> None:
    history.revise(MIGRATION)

    class Base(DeclarativeBase):
        metadata = MetaData(naming_convention=NAMING_CONVENTION)

    class Owner(Base):
        __table__ = Table("owner", Base.metadata, Column("id", Uuid(), primary_key=True))

    gone = replace(history.part, models=[Owner])
    path = await new([*parts, gone], "sample", "less")
    drops = [line.strip() for line in path.read_text().splitlines() if "drop_table" in line]
    assert drops == ["op.drop_table('thing')"]
    assert await check([*parts, gone]) == []


async def test_a_draft_in_a_copy_of_our_own_history(parts: list[Application], tmp_path: Path) -> None:
    (workspaces,) = (part for part in parts if part.name == "workspaces")
    assert workspaces.migrations is not None
    folder = tmp_path / "copy"
    shutil.copytree(workspaces.migrations, folder, ignore=shutil.ignore_patterns("__pycache__"))
    first = folder / "0001_workspaces.py"
    index = '    op.create_index("ix_membership_account_id", "membership", ["account_id"])\n'
    assert index in first.read_text()
    first.write_text(first.read_text().replace(index, ""))
    copied = [replace(part, migrations=folder) if part is workspaces else part for part in parts]
    assert len(await check(copied)) == 1
    path = await new(copied, "workspaces", "index of members")
    assert path.name == "0002_index_of_members.py"
    assert await check(copied) == []


async def test_a_draft_needs_a_module_with_a_history_in_order(history: History) -> None:
    with pytest.raises(MigrationError, match="there is no module other"):
        await new([history.part], "other", "x")
    for message in ("!", 'say "x"', "a\nb"):
        with pytest.raises(MigrationError, match="a few plain words"):
            await new([history.part], "sample", message)
    history.revise(MIGRATION).rename(history.folder / "0007_made_up.py")
    with pytest.raises(MigrationError, match="the files are numbered 0007"):
        await new([history.part], "sample", "x")
    assert await check([history.part]) == ["sample: the files are numbered 0007"]
