"""From SQLAlchemy's language to what a driver is given: the text, the order of its values, and what its rows become."""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import Dialect, Executable
from sqlalchemy.sql.compiler import SQLCompiler

Args = Callable[[Mapping[str, Any]], Sequence[Any]]
Build = Callable[[Sequence[Any]], Any]


class Text:
    """One statement of SQL for one kind of database."""

    __slots__ = ("args", "build", "sql")

    def __init__(self, sql: str, args: Args, build: Build) -> None:
        self.sql = sql
        self.args = args
        self.build = build


def compiled(statement: Executable, dialect: Dialect) -> SQLCompiler:
    """Compile a statement for a kind of database.

    Raises:
        TypeError: it is none that reads or changes rows.
    """
    result = statement.compile(dialect=dialect)  # type: ignore[attr-defined]  # each Executable here compiles
    if not isinstance(result, SQLCompiler):
        raise TypeError(f"{statement!r} is not a statement with rows")
    return result


def text_of(statement: Executable, dialect: Dialect, row: type[Any] | None) -> Text:
    """Return a statement as text, whose rows become `row`, or tuples where that is None."""
    result = compiled(statement, dialect)
    return Text(str(result), args_of(result), builder_of(columns_of(result), dialect, row))


def columns_of(result: SQLCompiler) -> Sequence[Any]:
    """Return the columns of the rows of a statement."""
    return result._result_columns  # noqa: SLF001 - what SQLAlchemy's own execution reads


def args_of(result: SQLCompiler) -> Args:
    """Return the function that lays named values out in the order of the text, through the types' conversions."""
    names = result.positiontup or []
    conversions = result._bind_processors  # noqa: SLF001 - what SQLAlchemy's own execution calls
    constants = {name: value for name, value in result.params.items() if not result.binds[name].required}
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


def builder_of(columns: Sequence[Any], dialect: Dialect, row: type[Any] | None) -> Build:
    """Return the function that makes a row of the driver into what the caller asked for."""
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
