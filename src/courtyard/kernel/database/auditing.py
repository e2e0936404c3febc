"""How a statement that changes audited rows is run so that it also tells what each row was and what it became.

Nothing here decides what becomes of that: the unit of work hands it to its `Auditor`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from sqlalchemy import Column, Delete, Dialect, Executable, Insert, Select, Table, Update, and_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import visitors

from courtyard.kernel.database.drivers import POSTGRESQL, Connection
from courtyard.kernel.database.models import AUDIT_MARK, Audited
from courtyard.kernel.database.texts import Build, Text, args_of, builder_of, columns_of, compiled

if TYPE_CHECKING:
    from courtyard.kernel.database.statements import Prepared

T = TypeVar("T")
Action: TypeAlias = Literal["created", "updated", "deleted"]
Dml: TypeAlias = Insert | Update | Delete

_UPSERTS = (postgresql.dml.OnConflictDoUpdate, sqlite.dml.OnConflictDoUpdate)


class RowChange(NamedTuple):
    """What happened to one row. Values are as Python has them, by the names of their columns."""

    audited: Audited
    action: Action
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class Auditor(Protocol):
    """Makes entries of changes; each unit of work that writes has one."""

    def entry(self, change: RowChange) -> Any:  # noqa: ANN401 - whatever it will write
        """Return what is to be kept of a change until the commit; None where that is nothing."""
        ...

    def insertions(self, entries: Sequence[Any]) -> "Iterable[tuple[Prepared[None], Mapping[str, Any]]]":
        """Return the statements, with their values, that write what was kept."""
        ...


def audited_change(statement: Executable, others: Sequence[Executable]) -> Audited | None:
    """Return whose rows a statement changes, where they are audited; None where they are not.

    Args:
        statement: the statement.
        others: what stands for it on SQLite, if it is not the same.

    Raises:
        TypeError: audited rows are changed in a way that cannot be told of.
    """
    nested: Any
    for each in (statement, *others):
        for nested in visitors.iterate(each):  # type: ignore[arg-type]
            if (nested is not statement or others) and isinstance(nested, Dml) and _audited(nested):
                raise TypeError(f"{nested.table} is audited: change it by a statement of its own: {statement}")
    if not isinstance(statement, Dml):
        return None
    audited = _audited(statement)
    if audited is None:
        return None
    if isinstance(getattr(statement, "_post_values_clause", None), _UPSERTS):
        raise TypeError(f"{audited.table.name} is audited: insert with DO NOTHING, then update: {statement}")
    if isinstance(statement, Update):
        _refuse_joins(statement, audited)
    return audited


def _audited(statement: Dml) -> Audited | None:
    return statement.table.info.get(AUDIT_MARK) if isinstance(statement.table, Table) else None


def _refuse_joins(statement: Update, audited: Audited) -> None:
    state: Any = compiled(statement, POSTGRESQL).compile_state
    # What SQLAlchemy itself makes the FROM of an UPDATE of.
    if state._extra_froms:  # noqa: SLF001
        raise TypeError(f"{audited.table.name} is audited: select from other tables in a subquery: {statement}")
    changed = {getattr(column, "key", column) for column in statement._values or ()}  # noqa: SLF001
    if changed & {column.key for column in audited.table.primary_key}:
        raise TypeError(f"{audited.table.name} is audited: its rows keep their keys: {statement}")


def _columns_set(statement: Update, table: Table) -> tuple[Column[Any], ...]:
    """Return the columns of a row that an update can change, behind those of its key."""
    named = {getattr(column, "key", column) for column in statement._values or ()}  # noqa: SLF001
    by_itself = (column for column in table.columns if column.onupdate is not None or column.computed is not None)
    changed = named | {column.key for column in by_itself}
    return (*table.primary_key, *(column for column in table.columns if column.key in changed))


class _Form(NamedTuple):
    """The texts for one kind of database. A row is: the result of the statement, the row before, what is told of it."""

    # Reads the rows before, where the change cannot tell them.
    first: Text | None
    text: Text
    build: Build
    width: int
    image: Build
    told_image: Build


class AuditedStatement(Generic[T]):
    """An INSERT, UPDATE or DELETE of audited rows.

    An insertion and a deletion return the whole row. An update on PostgreSQL reads the rows before in a subquery that
    locks them, so that it is still one statement; on SQLite, whose `RETURNING` knows the new row alone, they are
    selected before, in the same transaction, in which nobody else writes. Of the row after an update only the columns
    are told that it sets: triggers of ours refuse rows and note them, and change none.

    Args:
        statement: as it would run unaudited.
        audited: whose rows it changes.
        row: what the rows of its own result become.
    """

    def __init__(self, statement: Dml, audited: Audited, row: type[T] | None) -> None:
        self._statement = statement
        self._audited = audited
        self._row = row
        self._forms: dict[str, _Form] = {}
        self._columns = tuple(audited.table.columns)
        self._names = tuple(column.name for column in self._columns)
        self._key = tuple(column.name for column in audited.table.primary_key)
        # What the change itself returns of a row.
        self._told = _columns_set(statement, audited.table) if isinstance(statement, Update) else self._columns
        self._told_names = tuple(column.name for column in self._told)

    async def run(
        self, connection: Connection, dialect: Dialect, values: Mapping[str, Any]
    ) -> tuple[list[T], list[RowChange]]:
        """Run on a connection; return what the rows of the result became, and what happened to the rows."""
        first, text, build, width, image, told_image = self._forms.get(dialect.name) or self._derive(dialect)
        audited, names = self._audited, self._names
        texts = [(one.sql, one.args(values)) for one in (first, text) if one is not None]
        *read, rows = await connection.fetch_each(texts)
        rows_before = [dict(zip(names, image(row), strict=True)) for row in (read[0] if read else ())]
        earlier = {self._key_of(before): before for before in rows_before}
        results: list[T] = []
        changes: list[RowChange] = []
        for row in rows:
            results.append(build(row[:width]))
            told = dict(zip(self._told_names, told_image(row[-len(self._told) :]), strict=True))
            if isinstance(self._statement, Insert):
                changes.append(RowChange(audited, "created", None, told))
            elif isinstance(self._statement, Delete):
                changes.append(RowChange(audited, "deleted", told, None))
            else:
                if first is not None:
                    before = earlier[self._key_of(told)]
                else:
                    before = dict(zip(names, image(row[width : -len(self._told)]), strict=True))
                changes.append(RowChange(audited, "updated", before, {**before, **told}))
        return results, changes

    def _key_of(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in self._key)

    def _derive(self, dialect: Dialect) -> _Form:
        # Only of Core's public parts would an UPDATE with another WHERE have to be written anew by everybody who
        # has one; the tests of this module would show a change of these two names.
        own = tuple(self._statement._returning)  # noqa: SLF001
        criteria = getattr(self._statement, "_where_criteria", ())
        first: Executable | None = None
        derived: Any = self._statement
        if not isinstance(self._statement, Update):
            derived = derived.returning(*self._labelled("row", self._told))
        elif dialect.name == "sqlite":
            first = self._before(criteria)
            derived = derived.returning(*self._labelled("after", self._told))
        else:
            # Not FOR UPDATE, which foreign keys of others would wait for.
            before = self._before(criteria).with_for_update(key_share=True).subquery("before")
            derived = derived._generate()  # noqa: SLF001
            derived._where_criteria = ()  # noqa: SLF001
            same = and_(*(column == before.c[column.key] for column in self._audited.table.primary_key))
            derived = derived.where(same).returning(
                *self._labelled("before", before.c), *self._labelled("after", self._told)
            )
        result = compiled(derived, dialect)
        columns = columns_of(result)
        # The columns of the statement's own result come first: there may be none, and none is built then.
        build = builder_of(columns[: len(own)], dialect, self._row if own else None)
        image = builder_of(self._columns, dialect, None)
        read = None
        if first is not None:
            reading = compiled(first, dialect)
            read = Text(str(reading), args_of(reading), image)
        told_image = builder_of(self._told, dialect, None)
        form = _Form(read, Text(str(result), args_of(result), build), build, len(own), image, told_image)
        return self._forms.setdefault(dialect.name, form)

    def _before(self, criteria: Sequence[Any]) -> Select[Any]:
        return select(*self._audited.table.columns).where(*criteria)

    def _labelled(self, prefix: str, columns: Iterable[Any]) -> list[Any]:
        return [column.label(f"{prefix}_{column.key}") for column in columns]
