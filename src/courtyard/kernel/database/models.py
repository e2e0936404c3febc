"""The two bases that every table inherits from, and the conventions that all tables share."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, MetaData, Uuid, bindparam
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from courtyard.kernel.database.types import Json, UtcDateTime

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
