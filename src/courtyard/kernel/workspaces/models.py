"""The tables of tenants and of who belongs to them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import Json, MainBase


class WorkspaceRow(MainBase):
    """A tenant."""

    __tablename__ = "workspace"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(63), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]


class MembershipRow(MainBase):
    """An account's place in a workspace, with the names of its roles."""

    __tablename__ = "membership"
    __table_args__ = (Index(None, "account_id"),)

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)
    roles: Mapped[Any] = mapped_column(Json())
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
