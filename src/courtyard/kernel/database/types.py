"""Column types that behave alike on PostgreSQL and SQLite."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Dialect, types
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler, TypeCompiler
from sqlalchemy.sql.elements import BindParameter, ColumnElement
from typing_extensions import override


class UtcDateTime(types.UserDefinedType[datetime]):
    """A moment, always aware and in UTC: `timestamptz` on PostgreSQL, sortable ISO text on SQLite (microseconds)."""

    cache_ok = True
    render_bind_cast = True

    @override
    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any] | None:
        if dialect.name != "sqlite":
            return None
        # Not `strftime`, which writes the year 1 without its zeros.
        return lambda value: None if value is None else value.astimezone(UTC).isoformat(" ", "microseconds")[:-6]

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        if dialect.name != "sqlite":
            return None
        return lambda value: None if value is None else datetime.fromisoformat(value).replace(tzinfo=UTC)


@compiles(UtcDateTime)
def _moment_as_text(_type: UtcDateTime, _compiler: TypeCompiler, **_: Any) -> str:
    return "TEXT"


@compiles(UtcDateTime, "postgresql")
def _moment_as_timestamptz(_type: UtcDateTime, _compiler: TypeCompiler, **_: Any) -> str:
    return "TIMESTAMP WITH TIME ZONE"


class Json(types.UserDefinedType[Any]):
    """A JSON value: `jsonb` on PostgreSQL, text on SQLite.

    Binds anything that msgspec encodes; bytes and `msgspec.Raw` count as encoded already.

    Args:
        raw: whether it comes back as `msgspec.Raw`, which a Struct takes into its own JSON without decoding it.
        of: what else it comes back as, such as `list[UUID]`.
    """

    cache_ok = True
    render_bind_cast = True

    def __init__(self, *, raw: bool = False, of: object = Any) -> None:
        self.raw = raw
        self.of = of

    @override
    def adapt(self, cls: Any, **_: Any) -> Any:
        # SQLAlchemy's own copy passes over keyword-only arguments.
        return Json(raw=self.raw, of=self.of)

    @override
    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        def encode(value: object) -> str | None:
            if value is None:
                return None
            if isinstance(value, (bytes, msgspec.Raw)):
                return bytes(value).decode()
            return msgspec.json.encode(value).decode()

        return encode

    @override
    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[str | None], Any]:
        if self.raw:
            return lambda value: None if value is None else msgspec.Raw(value.encode())
        decode = msgspec.json.Decoder(self.of).decode
        return lambda value: None if value is None else decode(value)


@compiles(Json)
def _json_as_text(_type: Json, _compiler: TypeCompiler, **_: Any) -> str:
    return "TEXT"


@compiles(Json, "postgresql")
def _json_as_jsonb(_type: Json, _compiler: TypeCompiler, **_: Any) -> str:
    return "JSONB"


class AnyOf(ColumnElement[bool]):
    """`column` is one of the values of a bound list, with one text of SQL however long the list is.

    PostgreSQL is given an array, SQLite the same list as JSON.
    """

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.type = types.Boolean()
        self.list = BindParameter(name, type_=_ListOf(column.type), required=True)

    @override
    def get_children(self, **_: Any) -> Any:
        return (self.column, self.list)


class _ListOf(types.UserDefinedType[list[Any]]):
    cache_ok = True
    render_bind_cast = True

    def __init__(self, item: types.TypeEngine[Any]) -> None:
        self.item = item

    @override
    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        if dialect.name != "sqlite":
            return None
        convert: Callable[[Any], Any] | None = self.item.dialect_impl(dialect).bind_processor(dialect)

        def encode(values: list[Any]) -> str:
            return msgspec.json.encode(values if convert is None else [convert(value) for value in values]).decode()

        return encode


@compiles(_ListOf)
def _list_as_text(_type: _ListOf, _compiler: TypeCompiler, **_: Any) -> str:
    return "TEXT"


@compiles(_ListOf, "postgresql")
def _list_as_array(type_: _ListOf, compiler: TypeCompiler, **_: Any) -> str:
    return f"{compiler.process(type_.item)}[]"


@compiles(AnyOf)
def _any_of_json(element: AnyOf, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    values = compiler.process(element.list, **options)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608 - both sides come from the compiler


@compiles(AnyOf, "postgresql")
def _any_of_array(element: AnyOf, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.column, **options)} = ANY({compiler.process(element.list, **options)})"
