"""The messages of the peers that use SQLAlchemy's ORM, and the one author of what is posted to any peer."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import DateTime, Identity, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

AUTHOR_ID: Final = UUID("01890000-0000-7000-8000-000000000001")
PAGE_SIZE: Final = 50
# Connections of each pool: 8, 16 and 32 differ by less than the noise.
POOL_SIZE: Final = 16


class Base(DeclarativeBase):
    """Declarative base of the one table."""


class Message(Base):
    """A row of schema.sql."""

    __tablename__ = "messages"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    conversation_id: Mapped[UUID]
    number: Mapped[int] = mapped_column(Identity(always=True))
    author_id: Mapped[UUID]
    text: Mapped[str]
    client_message_id: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
