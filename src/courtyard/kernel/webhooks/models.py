"""The tables of webhooks. A trigger of the migration fills `webhook_pending`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import TAKEN_UP_MARK, Auditable, Json, WorkspaceBase


class WebhookEndpointRow(Auditable, WorkspaceBase):
    """An address that is told what happens in a workspace."""

    __tablename__ = "webhook_endpoint"
    __audit_ignore__ = frozenset({"failures", "failing_since"})
    __table_args__ = (
        CheckConstraint("state IN ('active', 'paused')", name="state"),
        CheckConstraint("(previous_secret IS NULL) = (previous_until IS NULL)", name="previous_secret"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(String(2_000))
    description: Mapped[str] = mapped_column(String(200))
    # Names of events, or the beginnings of names before a `*`.
    events: Mapped[Any] = mapped_column(Json())
    # Encrypted for this row. The one before signs too, until its time is over.
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    previous_secret: Mapped[bytes | None] = mapped_column(LargeBinary)
    previous_until: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(16))
    # Why it is paused, where nobody has done so.
    reason: Mapped[str | None] = mapped_column(String(200))
    # Attempts that have failed since the last one that did not, and since when.
    failures: Mapped[int] = mapped_column(Integer)
    failing_since: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]


class WebhookPendingRow(WorkspaceBase):
    """An event of which nobody has thought yet whom to tell."""

    __tablename__ = "webhook_pending"
    __table_args__ = ({"sqlite_with_rowid": False, "info": {TAKEN_UP_MARK: True}},)

    topic: Mapped[str] = mapped_column(String(200), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)


class WebhookDeliveryRow(WorkspaceBase):
    """One event on its way to one endpoint."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'delivered', 'failed')", name="state"),
        CheckConstraint("(settled_at IS NULL) = (state = 'waiting')", name="settled_at"),
        ForeignKeyConstraint(
            ["workspace_id", "endpoint_id"],
            ["webhook_endpoint.workspace_id", "webhook_endpoint.id"],
            ondelete="CASCADE",
        ),
        # However often an event is thought of, an endpoint is told of it by one delivery.
        UniqueConstraint("workspace_id", "endpoint_id", "event_id"),
        Index("ix_webhook_delivery_settled_at", "settled_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    endpoint_id: Mapped[UUID]
    event_id: Mapped[UUID]
    event_name: Mapped[str] = mapped_column(String(100))
    # What is sent, to the byte.
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer)
    # Attempts since somebody has last asked for it: pauses grow with them.
    tries: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class WebhookAttemptRow(WorkspaceBase):
    """One try of a delivery: what was sent, and what came back."""

    __tablename__ = "webhook_attempt"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "delivery_id"],
            ["webhook_delivery.workspace_id", "webhook_delivery.id"],
            ondelete="CASCADE",
        ),
    )

    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    url: Mapped[str] = mapped_column(String(2_000))
    request_headers: Mapped[Any] = mapped_column(Json())
    # None where nothing came back.
    status: Mapped[int | None] = mapped_column(Integer)
    response_headers: Mapped[Any] = mapped_column(Json())
    response_body: Mapped[str] = mapped_column(Text)
    # What went wrong, where that is not the status.
    error: Mapped[str | None] = mapped_column(String(300))
    milliseconds: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
