"""Outgoing mail."""

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "mail",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("template", sa.String(100), nullable=False),
        sa.Column("language", sa.String(16), nullable=False),
        sa.Column("recipient", sa.String(254), nullable=False),
        sa.Column("subject", sa.String(998), nullable=False),
        sa.Column("content", sa.LargeBinary()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String(500)),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("due_at", UtcDateTime()),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("settled_at", UtcDateTime()),
        sa.CheckConstraint("state IN ('queued', 'sending', 'sent', 'failed')", name="ck_mail_state"),
        sa.CheckConstraint("(due_at IS NULL) = (state IN ('sent', 'failed'))", name="ck_mail_due_at"),
        sa.CheckConstraint("(due_at IS NULL) = (content IS NULL)", name="ck_mail_content"),
        sa.PrimaryKeyConstraint("workspace_id", "id", name="pk_mail"),
    )
    waiting = sa.text("due_at IS NOT NULL")
    op.create_index("ix_mail_due_at", "mail", ["due_at"], sqlite_where=waiting, postgresql_where=waiting)


def downgrade() -> None:
    op.drop_table("mail")
