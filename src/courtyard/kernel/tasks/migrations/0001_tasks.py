"""Tasks and schedules."""

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import Json, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "task",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("queue", sa.String(50), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("payload", Json(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("ready_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime()),
        sa.Column("send_at", UtcDateTime()),
        sa.Column("sends", sa.Integer(), nullable=False),
        sa.Column("unique_key", sa.String(200)),
        sa.Column("concurrency_key", sa.String(200), nullable=False),
        sa.Column("slot", sa.Integer()),
        sa.Column("account_id", sa.Uuid()),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("traceparent", sa.String(55)),
        sa.Column("is_operation", sa.Boolean(), nullable=False),
        sa.Column("phase", sa.String(100)),
        sa.Column("percent", sa.Integer()),
        sa.Column("message", sa.String(500)),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("result", Json()),
        sa.Column("problem", Json()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime()),
        sa.Column("ended_at", UtcDateTime()),
        sa.CheckConstraint("state IN ('waiting', 'running', 'done', 'failed', 'cancelled')", name="ck_task_state"),
        sa.CheckConstraint("(due_at IS NULL) = (state IN ('done', 'failed', 'cancelled'))", name="ck_task_due_at"),
        sa.CheckConstraint("(due_at IS NULL) = (ended_at IS NOT NULL)", name="ck_task_ended_at"),
        sa.CheckConstraint("slot IS NULL OR state = 'running'", name="ck_task_slot"),
        sa.PrimaryKeyConstraint("workspace_id", "id", name="pk_task"),
    )
    op.create_table(
        "task_schedule",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("plan", sa.String(200), nullable=False),
        sa.Column("next_at", UtcDateTime(), nullable=False),
        sa.Column("last_at", UtcDateTime()),
        sa.Column("last_task_id", sa.Uuid()),
        sa.PrimaryKeyConstraint("workspace_id", "name", name="pk_task_schedule"),
    )
    _index("ix_task_priority_due_at", ["priority", "due_at"], "due_at IS NOT NULL")
    _index("ix_task_ended_at", ["ended_at"], "ended_at IS NOT NULL")
    _index("ix_task_send_at", ["send_at"], "send_at IS NOT NULL")
    op.create_index(
        "ix_task_operation",
        "task",
        ["id"],
        sqlite_where=sa.text("is_operation = 1"),
        postgresql_where=sa.text("is_operation"),
    )
    _index("ix_task_failed", ["queue"], "state = 'failed'")
    _index("uq_task_unique_key", ["workspace_id", "name", "unique_key"], "due_at IS NOT NULL", unique=True)
    _index("uq_task_slot", ["workspace_id", "name", "concurrency_key", "slot"], "slot IS NOT NULL", unique=True)


def _index(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, "task", columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def downgrade() -> None:
    op.drop_table("task_schedule")
    op.drop_table("task")
