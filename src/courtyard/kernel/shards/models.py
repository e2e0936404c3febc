"""The tables: where workspaces live (main database), and whose a database is (in each of them)."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Integer, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import MainBase, WorkspaceBase


class PlacementRow(MainBase):
    """The database of one workspace. A workspace without a row lives in the main one."""

    __tablename__ = "workspace_placement"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"), primary_key=True)
    # Its URL, encrypted for this row.
    uri: Mapped[bytes] = mapped_column(LargeBinary)
    placed_at: Mapped[datetime]


class StorageRow(MainBase):
    """The storage of the files of one workspace. Without a row they are in the shared one.

    While files are moved, and until what is left of them is removed, they are read from two storages.
    """

    __tablename__ = "workspace_storage"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"), primary_key=True)
    # JSON of the settings, encrypted for this row; None for the shared one.
    written: Mapped[bytes | None] = mapped_column(LargeBinary)
    # Where else they are read from.
    also_read: Mapped[bytes | None] = mapped_column(LargeBinary)
    is_also_read: Mapped[bool]
    placed_at: Mapped[datetime]


class PlacementsRow(MainBase):
    """One row, whose number goes up with each change of a placement: processes look at it alone."""

    __tablename__ = "workspace_placements"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    number: Mapped[int]


class MarkerRow(WorkspaceBase):
    """Whose the database is. Its one row belongs to no workspace (`INSTALLATION`)."""

    __tablename__ = "shard_marker"

    installation_id: Mapped[UUID]
    created_at: Mapped[datetime]
