"""For those who write revisions: draft a new one, and compare what all of them make with the models.

Works on a SQLite file that lives for as long as it takes, so that it needs no database.
"""

import re
import tempfile
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.autogenerate.api import AutogenContext
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Column, Connection, MetaData, Table
from sqlalchemy.types import TypeEngine

from courtyard.kernel.application import Application
from courtyard.kernel.database import types
from courtyard.kernel.database.catalogue import Catalogue, catalogue, catalogue_of_models
from courtyard.kernel.database.database import Database
from courtyard.kernel.database.migrations import (
    MigrationError,
    histories,
    pending,
    revisions,
    version_table,
)
from courtyard.kernel.database.migrator import alembic_config, connected, upgrade
from courtyard.kernel.settings import DatabaseSettings

# By name; what they say is for `check`, since a database writes them in words of its own.
_CHECK_CONSTRAINTS = "alembic.ext.checkconstraint_byname"


async def new(parts: Sequence[Application], module: str, message: str) -> Path:
    """Draft the next revision of a part from what its models have and its migrations do not make.

    Args:
        parts: modules of the kernel, then applications; those before `module` are what it may refer to.
        module: the part.
        message: what the revision does, in a few words.

    Returns:
        The new file. Where models and migrations agree, its functions are empty, to be written by hand.

    Raises:
        MigrationError: there is no such part, its history is not in order, or a migration fails.
    """
    part = next((part for part in parts if part.name == module and part.migrations is not None), None)
    if part is None or part.migrations is None:
        raise MigrationError(f"there is no module {module} with a folder of migrations")
    part.migrations.mkdir(exist_ok=True)
    if re.search(r"\w", message) is None or set('"\\\n') & set(message):
        raise MigrationError("the message becomes the name of the file and its first line: a few plain words")
    for fault in irregularities(part):
        raise MigrationError(fault)
    async with _scratch() as database:
        await upgrade(database, parts[: parts.index(part)])
        others = await _catalogue_of(database)
        await upgrade(database, [part])
        owned = {*await _catalogue_of(database)} - {*others}
        async with connected(database) as connection:
            return await connection.run_sync(_draft, part, message, owned)


async def check(parts: Sequence[Application], database: Database | None = None, *, main: bool = True) -> list[str]:
    """Return every difference between the models and what the migrations make, a line for each.

    Columns with types and defaults, keys, constraints and indexes are compared by name and content; both
    are told by the database, so that its own way of writing them makes no difference.

    Args:
        parts: modules of the kernel, then applications.
        database: compare this one, which may hold tables of others too. None: one that the migrations build.
        main: whether it is the main database.

    Raises:
        MigrationError: the database cannot be reached, or a migration fails.
    """
    faults = [fault for part in parts for fault in irregularities(part)]
    if faults:
        return faults
    chosen = histories(parts, main=main)
    if database is None:
        async with _scratch() as scratch:
            await upgrade(scratch, chosen)
            return await _drift(scratch, chosen, alone=True)
    waiting = await pending(database, parts, main=main)
    if waiting:
        return [f"{one.module}: at {one.current or 'nothing'} and not at {one.newest}" for one in waiting]
    return await _drift(database, chosen, alone=False)


def irregularities(part: Application) -> list[str]:
    """Return what keeps the revisions of a part from being one line, numbered from 0001 without a gap."""
    if part.migrations is None:
        return []
    there = revisions(part)
    if there != tuple(f"{number:04}" for number in range(1, len(there) + 1)):
        return [f"{part.name}: the files are numbered {', '.join(there)}"]
    files = sorted(path.name for path in part.migrations.glob("*.py") if path.name != "__init__.py")
    if len(files) != len(there):
        return [f"{part.name}: a file is not named like 0001_what_it_does.py, among {', '.join(files)}"]
    try:
        script = ScriptDirectory.from_config(alembic_config(part))
        links = [(one.revision, one.down_revision) for one in reversed([*script.walk_revisions()])]
    except (CommandError, KeyError, UserWarning) as error:
        return [f"{part.name}: {error}"]
    if links != list(zip(there, (None, *there), strict=False)):
        return [f"{part.name}: not one line from 0001 on: {links}"]
    return []


@asynccontextmanager
async def _scratch() -> AsyncIterator[Database]:
    with tempfile.TemporaryDirectory(prefix="courtyard-") as folder:
        database = Database(f"sqlite:///{folder}/scratch.sqlite3", DatabaseSettings())
        try:
            yield database
        finally:
            await database.close()


async def _catalogue_of(database: Database) -> Catalogue:
    async with connected(database) as connection:
        return await connection.run_sync(catalogue)


async def _drift(database: Database, parts: Sequence[Application], *, alone: bool) -> list[str]:
    tables = [table for part in parts for table in _tables(part)]
    there = dict(await _catalogue_of(database))
    async with connected(database) as connection:
        wanted = await connection.run_sync(catalogue_of_models, tables)
    for name in {version_table(part) for part in parts} if alone else {*there} - {*wanted}:
        there.pop(name, None)
    return [
        f"{name}: {line}: {where}"
        for name in sorted({*there, *wanted})
        for one, other, where in (
            (wanted, there, "the models have it, the migrations do not make it"),
            (there, wanted, "the migrations make it, the models do not have it"),
        )
        for line in sorted(one.get(name, frozenset()) - other.get(name, frozenset()))
    ]


def _tables(part: Application) -> list[Table]:
    return [model.__table__ for model in part.models if isinstance(model.__table__, Table)]


def _draft(connection: Connection, part: Application, message: str, owned: set[str]) -> Path:
    tables = _tables(part)
    names = owned - {version_table(part)} | {table.name for table in tables}

    def ours(name: str | None, kind: str) -> bool:
        return kind != "table" or name in names

    config = alembic_config(
        part,
        connection=connection,
        target_metadata=tables[0].metadata if tables else MetaData(),
        render_as_batch=True,
        include_name=lambda name, kind, _parents: ours(name, kind),
        include_object=lambda _thing, name, kind, _reflected, _other: ours(name, kind),
        compare_type=_types_differ,
        compare_server_default=True,
        autogenerate_plugins=["alembic.autogenerate.*", _CHECK_CONSTRAINTS],
        render_item=_render_type,
    )
    rev_id = f"{len(revisions(part)) + 1:04}"
    try:
        with warnings.catch_warnings():
            # That indexes on expressions cannot be seen on SQLite: `check` sees them.
            warnings.simplefilter("ignore")
            script = command.revision(config, message.strip().rstrip("."), autogenerate=True, rev_id=rev_id)
    except CommandError as error:
        raise MigrationError(f"{part.name}: {error}") from error
    if not isinstance(script, Script):
        raise MigrationError(f"{part.name}: nothing was written")
    return Path(script.path)


def _types_differ(
    context: Any,  # noqa: ANN401 - what Alembic hands over
    _there: Column[Any],
    _wanted: Column[Any],
    there: TypeEngine[Any],
    wanted: TypeEngine[Any],
) -> bool:
    return bool(there.compile(context.dialect) != wanted.compile(context.dialect))


def _render_type(kind: str, thing: object, context: AutogenContext) -> str | Literal[False]:
    """Write our column types as revisions import them."""
    name = type(thing).__name__
    if kind != "type" or getattr(types, name, None) is not type(thing):
        return False
    context.imports.add(f"from courtyard.kernel.database import {name}")
    return f"{name}()"
