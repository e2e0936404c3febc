"""Statements: written once in SQLAlchemy's language, compiled once per database, run on the driver itself.

SQLAlchemy's execution costs 0.2 ms a statement and its objects more than that again (`docs/decisions/0002`), so only
its language is used at run time.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Generic

from sqlalchemy import Dialect, Executable, MetaData, Table, bindparam, insert, update
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql import visitors
from typing_extensions import TypeVar

from courtyard.kernel.database.auditing import AuditedStatement, audited_change
from courtyard.kernel.database.drivers import Connection, Statement
from courtyard.kernel.database.models import WORKSPACE, MainBase, WorkspaceBase
from courtyard.kernel.database.texts import Text, text_of

T = TypeVar("T", default=None)


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
        TypeError: the columns are not the fields of the Struct, both sides are mixed, the tenant is missing, or rows
            that are audited are changed in a way that cannot be told of.

    Attributes:
        main: whether its tables are those of the main side.
        audited: how it runs where what it changes is to be told of; None where its rows are not audited.
    """

    __slots__ = ("_row", "_sqlite", "_statement", "_texts", "audited", "main")

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
        self._texts: dict[str, tuple[Text, ...]] = {}
        (self.main,) = {_side_of(each, across_workspaces=across_workspaces) for each in (statement, *self._sqlite)}
        audited = audited_change(statement, sqlite)
        self.audited: AuditedStatement[T] | None = None
        if audited is not None:
            self.audited = AuditedStatement(statement, audited, row)  # type: ignore[arg-type]  # it is DML

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

    def texts(self, dialect: Dialect, values: Mapping[str, Any]) -> list[Statement]:
        """Return the statements of SQL with their values, to be run on a connection one after the other."""
        return [(text.sql, text.args(values)) for text in self._texts.get(dialect.name) or self._compile(dialect)]

    def is_single(self, dialect: Dialect) -> bool:
        """Return whether this is one statement of SQL there."""
        return dialect.name != "sqlite" or len(self._sqlite) == 1

    def _compile(self, dialect: Dialect) -> tuple[Text, ...]:
        statements = self._sqlite if dialect.name == "sqlite" else (self._statement,)
        rows = [None] * (len(statements) - 1) + [self._row]
        texts = tuple(text_of(statement, dialect, row) for statement, row in zip(statements, rows, strict=True))
        return self._texts.setdefault(dialect.name, texts)


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
