"""What a database consists of, told by the database itself, in a form that can be compared."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias
from uuid import uuid4

from sqlalchemy import Connection, Table, create_engine, inspect, text
from sqlalchemy.exc import SAWarning
from sqlalchemy.schema import CreateSchema

# Table → a line for each column, key, constraint and index. Lines are equal where the things are.
Catalogue: TypeAlias = Mapping[str, frozenset[str]]

# Not what a thing is: where it is, and that it is told a second time.
_CIRCUMSTANCES = {"referred_schema", "duplicates_index", "duplicates_constraint"}


def catalogue(connection: Connection, schema: str | None = None) -> Catalogue:
    """Return what a database, or a schema in it, consists of. The order of columns counts in keys alone."""
    inspector = inspect(connection)

    def lines(name: str) -> Iterator[str]:
        for column in inspector.get_columns(name, schema):
            yield _line("column", {**column, "type": column["type"].compile(connection.dialect)})
        yield _line("primary key", inspector.get_pk_constraint(name, schema))
        for kind, found in (
            ("foreign key", inspector.get_foreign_keys(name, schema)),
            ("unique", inspector.get_unique_constraints(name, schema)),
            ("check", inspector.get_check_constraints(name, schema)),
        ):
            yield from (_line(kind, one) for one in found)
        if connection.dialect.name == "sqlite":
            yield from _sqlite_indexes(connection, name)
        else:
            indexes = inspector.get_indexes(name, schema)
            yield from (_line("index", one) for one in indexes if not one.get("duplicates_constraint"))

    with warnings.catch_warnings():
        # SQLAlchemy's, that it passes over indexes on expressions on SQLite: they are read by other means.
        warnings.simplefilter("ignore", SAWarning)
        return {name: frozenset(lines(name)) for name in inspector.get_table_names(schema)}


def catalogue_of_models(connection: Connection, tables: Sequence[Table]) -> Catalogue:
    """Return the catalogue of a database of this kind that is built from models. Nothing of it stays.

    Args:
        connection: no transaction is open on it. On PostgreSQL it may create a schema, which is rolled back.
        tables: those of the models, with everything that they refer to.
    """
    if connection.dialect.name == "sqlite":
        engine = create_engine("sqlite://")
        try:
            with engine.connect() as memory:
                _create(memory, tables)
                return catalogue(memory)
        finally:
            engine.dispose()
    schema = f"courtyard_check_{uuid4().hex}"
    try:
        connection.execute(CreateSchema(schema))
        # `public` stays behind it, for the types of extensions.
        connection.execute(text("SELECT set_config('search_path', :path, true)"), {"path": f"{schema}, public"})
        _create(connection, tables)
        return catalogue(connection, schema)
    finally:
        connection.rollback()


def _create(connection: Connection, tables: Sequence[Table]) -> None:
    for metadata in dict.fromkeys(table.metadata for table in tables):
        own = [table for table in tables if table.metadata is metadata]
        metadata.create_all(connection, own, checkfirst=False)


def _sqlite_indexes(connection: Connection, table: str) -> Iterator[str]:
    rows = connection.execute(
        text("SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :table AND sql IS NOT NULL"),
        {"table": table},
    )
    yield from (" ".join(sql.split()) for (sql,) in rows)


def _line(kind: str, facts: Mapping[str, Any]) -> str:
    rest = _told((key, value) for key, value in facts.items() if key not in _CIRCUMSTANCES | {"name"})
    return f"{kind} {facts['name']} ({rest})"


def _told(facts: Iterable[tuple[str, Any]]) -> str:
    """Write facts in the order of their names, without those that say nothing."""
    return ", ".join(f"{key}: {_value(value)}" for key, value in sorted(facts) if value not in (None, [], {}))


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{{{_told(value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(one) for one in value)}]"
    return str(value)
