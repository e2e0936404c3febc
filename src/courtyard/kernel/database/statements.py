"""Statements: written once in SQLAlchemy's language, compiled once per database, run on the driver itself.

SQLAlchemy's execution costs 0.2 ms a statement and its objects more than that again (`docs/decisions/0002`), so only
its language is used at run time.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Generic

import msgspec
from sqlalchemy import Dialect, Executable, MetaData, Table, bindparam, insert, update
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler
from typing_extensions import TypeVar

from courtyard.kernel.database.drivers import Connection
from courtyard.kernel.database.models import WORKSPACE, MainBase, WorkspaceBase

T = TypeVar("T", default=None)
Args = Callable[[Mapping[str, Any]], Sequence[Any]]


class Prepared(Generic[T]):
    """A statement and what its rows become.

    Args:
        statement: any Core statement over tables of one side. Over tables of `WorkspaceBase` it must bind
            `workspace_id` (the constant `WORKSPACE`): the unit of work fills it in, so no statement can reach
            into another workspace.
        row: a Struct whose fields are, by name and order, the columns of the result; any other type for a single
            column; None for a statement without a result.
        sqlite: what does the same on SQLite, where it cannot be one statement: several, one after the other, until
            one changes nothing. The rows are those of the last.
        across_workspaces: lifts the rule on `workspace_id`, for the upkeep of a whole database.

    Raises:
        TypeError: the columns are not the fields of the Struct, both sides are mixed, or the tenant is missing.
    """

    __slots__ = ("_row", "_sqlite", "_statement", "_texts", "main")

    def __init__(
        self,
        statement: Executable,
        row: type[T] | None = None,
        *,
        sqlite: Sequence[Executable] = (),
        across_workspaces: bool = False,
    ) -> None:
        self._statement = statement
        self._sqlite = tuple(sqlite) or (statement,)
        self._row = row
        self._texts: dict[str, tuple[_Text, ...]] = {}
        (self.main,) = {_side_of(each, across_workspaces=across_workspaces) for each in (statement, *self._sqlite)}

    async def fetch(self, connection: Connection, dialect: Dialect, values: Mapping[str, Any]) -> list[T]:
        """Run on a connection and return what the rows became."""
        *before, last = self._texts.get(dialect.name) or self._compile(dialect)
        for text in before:
            if not await connection.execute(text.sql, text.args(values)):
                return []
        rows = await connection.fetch(last.sql, last.args(values))
        build = last.build
        return [build(row) for row in rows]

    async def execute(self, connection: Connection, dialect: Dialect, values: Mapping[str, Any]) -> int:
        """Run on a connection and return how many rows were changed."""
        changed = 0
        for text in self._texts.get(dialect.name) or self._compile(dialect):
            changed = await connection.execute(text.sql, text.args(values))
            if not changed:
                break
        return changed

    def is_single(self, dialect: Dialect) -> bool:
        """Return whether this is one statement of SQL there."""
        return dialect.name != "sqlite" or len(self._sqlite) == 1

    def _compile(self, dialect: Dialect) -> "tuple[_Text, ...]":
        statements = self._sqlite if dialect.name == "sqlite" else (self._statement,)
        texts = []
        for statement in statements:
            compiled = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # each Executable here compiles
            if not isinstance(compiled, SQLCompiler):
                raise TypeError(f"{statement!r} is not a statement with rows")
            row = self._row if statement is statements[-1] else None
            texts.append(_Text(str(compiled), _args_of(compiled), _builder_of(compiled, dialect, row)))
        return self._texts.setdefault(dialect.name, tuple(texts))


class _Text:
    __slots__ = ("args", "build", "sql")

    def __init__(self, sql: str, args: Args, build: Callable[[Sequence[Any]], Any]) -> None:
        self.sql = sql
        self.args = args
        self.build = build


def _side_of(statement: Executable, *, across_workspaces: bool) -> bool:
    """Return True for the main side, False for the side of a workspace."""
    metadatas: set[MetaData] = set()
    tenant_is_bound = False
    for element in visitors.iterate(statement):  # type: ignore[arg-type]
        if isinstance(element, Table):
            metadatas.add(element.metadata)
        elif getattr(element, "key", None) == WORKSPACE.key and element.__visit_name__ == "bindparam":
            tenant_is_bound = True
    if len(metadatas) != 1:
        raise TypeError(f"a statement touches the tables of one side: {statement}")
    (metadata,) = metadatas
    if metadata is MainBase.metadata:
        return True
    if not (tenant_is_bound or across_workspaces):
        raise TypeError(f"the tenant is missing (bind WORKSPACE): {statement}")
    return False


def _args_of(compiled: SQLCompiler) -> Args:
    """Return the function that lays named values out in the order of the text, through the types' conversions."""
    names = compiled.positiontup or []
    conversions = compiled._bind_processors  # noqa: SLF001 - what SQLAlchemy's own execution calls
    constants = {name: value for name, value in compiled.params.items() if not compiled.binds[name].required}
    if not names:
        return lambda _values: ()
    if not conversions and not constants:
        if len(names) == 1:
            only = names[0]
            return lambda values: (values[only],)
        return itemgetter(*names)

    # None of our types has a sequence of conversions, one for each column of a tuple.
    plan: list[tuple[str, Any]] = [(name, conversions.get(name)) for name in names]

    def lay_out(values: Mapping[str, Any]) -> Sequence[Any]:
        known = {**constants, **values}
        return [known[name] if convert is None else convert(known[name]) for name, convert in plan]

    return lay_out


def _builder_of(compiled: SQLCompiler, dialect: Dialect, row: type[Any] | None) -> Callable[[Sequence[Any]], Any]:
    """Return the function that makes a row of the driver into what the caller asked for."""
    columns = compiled._result_columns  # noqa: SLF001 - what SQLAlchemy's own execution reads
    conversions = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
    convert_any = any(conversions)

    def converted(values: Sequence[Any]) -> list[Any]:
        return [
            value if convert is None else convert(value) for value, convert in zip(values, conversions, strict=True)
        ]

    if row is not None and issubclass(row, msgspec.Struct):
        names = tuple(column.keyname for column in columns)
        if names != row.__struct_fields__:
            raise TypeError(f"{row.__name__} has the fields {row.__struct_fields__}, the statement gives {names}")
        return (lambda values: row(*converted(values))) if convert_any else (lambda values: row(*values))
    if row is not None and len(columns) == 1:
        only = conversions[0]
        return (lambda values: values[0]) if only is None else (lambda values: only(values[0]))
    return converted if convert_any else tuple


@lru_cache(maxsize=1024)
def insertion(model: type[DeclarativeBase], names: tuple[str, ...]) -> Prepared[None]:
    """Return the statement that inserts one row of a model with these columns."""
    table = model.__table__
    values = {name: bindparam(name, type_=table.c[name].type, required=True) for name in names}
    if issubclass(model, WorkspaceBase):
        values["workspace_id"] = WORKSPACE
    return Prepared(insert(model).values(values))


@lru_cache(maxsize=1024)
def change(model: type[DeclarativeBase], keys: tuple[str, ...], names: tuple[str, ...]) -> Prepared[None]:
    """Return the statement that sets these columns where those have a value (bound as `key_<column>`)."""
    table = model.__table__
    where = [table.c[key] == bindparam(f"key_{key}", type_=table.c[key].type, required=True) for key in keys]
    if issubclass(model, WorkspaceBase):
        where.append(table.c.workspace_id == WORKSPACE)
    values = {name: bindparam(name, type_=table.c[name].type, required=True) for name in names}
    return Prepared(update(model).where(*where).values(values))
