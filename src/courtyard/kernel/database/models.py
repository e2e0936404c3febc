"""The two bases that every table inherits from, and the conventions that all tables share."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, MetaData, Table, Uuid, bindparam
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import override

from courtyard.kernel.database.types import Json, UtcDateTime

# Where a table keeps what `Auditable` says about it.
AUDIT_MARK = "audited"
# Where a table says that work in the background takes up its rows, of whichever workspace they are. A move hides such
# rows until the workspace lives where they are: otherwise the work would be done twice.
TAKEN_UP_MARK = "taken_up"

# Named constraints, so that a migration can drop what it names and an error can be told by its constraint.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

_TYPES: dict[Any, Any] = {datetime: UtcDateTime(), dict[str, Any]: Json(), int: BigInteger(), UUID: Uuid()}

# Every statement on a table of `WorkspaceBase` names its tenant with this parameter; the unit of work fills it in.
WORKSPACE = bindparam("workspace_id", type_=Uuid(), required=True)


class MainBase(DeclarativeBase):
    """Tables of the one main database: accounts, sessions, workspaces, memberships."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = _TYPES


class WorkspaceBase(DeclarativeBase):
    """Tables that live in the database of a workspace. Each row says whose it is."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = _TYPES

    workspace_id: Mapped[UUID] = mapped_column(primary_key=True, sort_order=-1)


@dataclass(frozen=True)
class Audited:
    """What a model says about its audit.

    Attributes:
        table: its table.
        secret: columns whose values are never written.
        ignore: columns whose change alone is no entry.
        workspace: the column that says which workspace a row is about, if there is one.
    """

    table: Table
    secret: frozenset[str]
    ignore: frozenset[str]
    workspace: str | None

    @cached_property
    def object_key(self) -> tuple[str, ...]:
        """The columns that tell a row within its workspace."""
        key = tuple(column.name for column in self.table.primary_key)
        return tuple(name for name in key if name != "workspace_id") or key


class Auditable:
    """Opts a table in to the audit log, as a base beside `MainBase` or `WorkspaceBase`.

    Every insertion, update and deletion of its rows through a unit of work is then told of in the same transaction,
    with the values before and after. What the database removes by itself (`ON DELETE CASCADE`) is not: delete such
    rows first.

    Attributes:
        __audit_secret__: columns whose values are never written. Columns of bytes never are, and neither is what is
            secret by its name.
        __audit_ignore__: columns whose change alone is no entry, such as a time of last use.
        __audit_workspace__: the column that says which workspace a row is about. Without it, that is the workspace of
            the unit of work.
    """

    __audit_secret__: ClassVar[frozenset[str]] = frozenset()
    __audit_ignore__: ClassVar[frozenset[str]] = frozenset()
    __audit_workspace__: ClassVar[str] = "workspace_id"

    @override
    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        table = getattr(cls, "__table__", None)
        if table is None:
            raise TypeError(f"{cls.__name__} is no table: name MainBase or WorkspaceBase as a base too")
        unknown = (cls.__audit_secret__ | cls.__audit_ignore__) - set(table.columns.keys())
        if unknown:
            raise TypeError(f"{cls.__name__} has no column {', '.join(sorted(unknown))}")
        table.info[AUDIT_MARK] = Audited(
            table=table,
            secret=frozenset(cls.__audit_secret__),
            ignore=frozenset(cls.__audit_ignore__),
            workspace=cls.__audit_workspace__ if cls.__audit_workspace__ in table.columns else None,
        )
