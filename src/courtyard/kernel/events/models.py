"""The tables of the event log."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import Json, WorkspaceBase


class TopicRow(WorkspaceBase):
    """The counter of a topic.

    Its row is locked from the allocation of a number to the commit, so numbers have no gap.
    """

    __tablename__ = "event_topic"

    topic: Mapped[str] = mapped_column(String(200), primary_key=True)
    number: Mapped[int]


class EventRow(WorkspaceBase):
    """One thing that happened, written in the transaction of the change."""

    __tablename__ = "event"

    topic: Mapped[str] = mapped_column(String(200), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[UUID]
    name: Mapped[str] = mapped_column(String(100))
    actor_id: Mapped[UUID | None]
    data: Mapped[Any] = mapped_column(Json(raw=True))
    created_at: Mapped[datetime]
    # Of the change, where it was traced: what follows from the event goes on with it, in whichever process.
    traceparent: Mapped[str | None] = mapped_column(String(55))
