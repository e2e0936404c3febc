"""The tables of tasks and of schedules."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, CheckConstraint, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import TAKEN_UP_MARK, Json, WorkspaceBase

_LIVE = text("due_at IS NOT NULL")
_SLOTTED = text("slot IS NOT NULL")
_OVER = text("ended_at IS NOT NULL")
_SENDABLE = text("send_at IS NOT NULL")
_FAILED = text("state = 'failed'")


class TaskRow(WorkspaceBase):
    """One piece of work, from the change that asks for it to some days after its end.

    `due_at` is when it may begin. While it runs, it is when another process may take it for lost. `attempt` counts how
    often it was taken: only the newest may settle it.
    """

    __tablename__ = "task"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name="state"),
        CheckConstraint("(due_at IS NULL) = (state IN ('done', 'failed', 'cancelled'))", name="due_at"),
        CheckConstraint("(due_at IS NULL) = (ended_at IS NOT NULL)", name="ended_at"),
        CheckConstraint("slot IS NULL OR state = 'running'", name="slot"),
        # In the order in which they are taken.
        Index("ix_task_priority_due_at", "priority", "due_at", sqlite_where=_LIVE, postgresql_where=_LIVE),
        Index("ix_task_ended_at", "ended_at", sqlite_where=_OVER, postgresql_where=_OVER),
        Index("ix_task_operation", "id", sqlite_where=text("is_operation = 1"), postgresql_where=text("is_operation")),
        Index("ix_task_send_at", "send_at", sqlite_where=_SENDABLE, postgresql_where=_SENDABLE),
        # Few among many, which are counted.
        Index("ix_task_failed", "queue", sqlite_where=_FAILED, postgresql_where=_FAILED),
        # One that waits or runs; the columns of a key that is NULL are never equal.
        Index(
            "uq_task_unique_key",
            "workspace_id",
            "name",
            "unique_key",
            unique=True,
            sqlite_where=_LIVE,
            postgresql_where=_LIVE,
        ),
        # No more at once than there are slots.
        Index(
            "uq_task_slot",
            "workspace_id",
            "name",
            "concurrency_key",
            "slot",
            unique=True,
            sqlite_where=_SLOTTED,
            postgresql_where=_SLOTTED,
        ),
        {"info": {TAKEN_UP_MARK: True}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    queue: Mapped[str] = mapped_column(String(50))
    priority: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    payload: Mapped[Any] = mapped_column(Json(raw=True))
    attempt: Mapped[int] = mapped_column(Integer)
    # Of the attempts, those that count against the retries: not one that was handed back, nor those before a replay.
    tries: Mapped[int] = mapped_column(Integer)
    # From when on it is meant to run; `due_at` moves on while it does.
    ready_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    # Where a broker is used: when its id is sent, and how often it has been.
    send_at: Mapped[datetime | None]
    sends: Mapped[int] = mapped_column(Integer)
    unique_key: Mapped[str | None] = mapped_column(String(200))
    # Empty where the limit is for all of the name.
    concurrency_key: Mapped[str] = mapped_column(String(200))
    slot: Mapped[int | None] = mapped_column(Integer)
    # Who asked for it, with which request.
    account_id: Mapped[UUID | None]
    request_id: Mapped[str] = mapped_column(String(64))
    traceparent: Mapped[str | None] = mapped_column(String(55))
    # Whether whoever asked for it watches it, and how far it is.
    is_operation: Mapped[bool] = mapped_column(Boolean)
    phase: Mapped[str | None] = mapped_column(String(100))
    percent: Mapped[int | None] = mapped_column(Integer)
    message: Mapped[str | None] = mapped_column(String(500))
    cancel_requested: Mapped[bool] = mapped_column(Boolean)
    result: Mapped[Any | None] = mapped_column(Json(raw=True))
    # The document of a problem: of the last attempt while it waits for another, of the end when it has failed.
    problem: Mapped[Any | None] = mapped_column(Json(raw=True))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class ScheduleRow(WorkspaceBase):
    """When something is done next. Whoever moves this on asks for the task in the same transaction."""

    __tablename__ = "task_schedule"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    # What the time was reckoned from: another declaration gives another one.
    plan: Mapped[str] = mapped_column(String(200))
    next_at: Mapped[datetime]
    last_at: Mapped[datetime | None]
    last_task_id: Mapped[UUID | None]
