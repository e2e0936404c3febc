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
        sa.Column("kind", sa.String(100)),
        sa.Column("language", sa.String(16), nullable=False),
        sa.Column("recipient", sa.String(254), nullable=False),
        sa.Column("subject", sa.String(998), nullable=False),
        sa.Column("content", sa.LargeBinary()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("task_id", sa.Uuid()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("answer", sa.String(500)),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("settled_at", UtcDateTime()),
        sa.CheckConstraint("state IN ('queued', 'sent', 'failed', 'suppressed')", name="ck_mail_state"),
        sa.CheckConstraint("(content IS NULL) = (state <> 'queued')", name="ck_mail_content"),
        sa.CheckConstraint("(settled_at IS NULL) = (state = 'queued')", name="ck_mail_settled_at"),
        sa.PrimaryKeyConstraint("workspace_id", "id", name="pk_mail"),
    )
    queued = sa.text("state = 'queued'")
    op.create_index("ix_mail_expires_at", "mail", ["expires_at"], sqlite_where=queued, postgresql_where=queued)
    op.create_index("ix_mail_workspace_id_recipient_created_at", "mail", ["workspace_id", "recipient", "created_at"])
    op.create_table(
        "mail_preference",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("subject", sa.String(254), nullable=False),
        sa.Column("kind", sa.String(100), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "subject", "kind", name="pk_mail_preference"),
    )
    op.create_table(
        "mail_template",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("language", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "name", "language", name="pk_mail_template"),
    )


def downgrade() -> None:
    op.drop_table("mail_template")
    op.drop_table("mail_preference")
    op.drop_table("mail")
