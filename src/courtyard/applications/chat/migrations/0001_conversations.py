"""Conversations and their messages."""

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "chat_conversation",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(200)),
        sa.Column("visitor_id", sa.Uuid(), nullable=False),
        sa.Column("assignee_id", sa.Uuid()),
        sa.Column("message_count", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("claimed_at", UtcDateTime()),
        sa.Column("closed_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("workspace_id", "id", name="pk_chat_conversation"),
        sa.CheckConstraint("state IN ('waiting', 'active', 'closed')", name="ck_chat_conversation_state"),
        sa.CheckConstraint(
            "state <> 'active' OR assignee_id IS NOT NULL", name="ck_chat_conversation_active_has_assignee"
        ),
        sa.CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="ck_chat_conversation_closed_at"),
    )
    op.create_index("ix_chat_conversation_state", "chat_conversation", ["workspace_id", "state", "created_at", "id"])
    op.create_index(
        "ix_chat_conversation_visitor",
        "chat_conversation",
        ["workspace_id", "visitor_id", "created_at", "id"],
    )
    op.create_table(
        "chat_message",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("client_message_id", sa.Uuid()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "conversation_id", "number", name="pk_chat_message"),
        sa.ForeignKeyConstraint(
            ["workspace_id", "conversation_id"],
            ["chat_conversation.workspace_id", "chat_conversation.id"],
            name="fk_chat_message_workspace_id_conversation_id",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "uq_chat_message_client_message_id",
        "chat_message",
        ["workspace_id", "conversation_id", "author_id", "client_message_id"],
        unique=True,
        sqlite_where=sa.text("client_message_id IS NOT NULL"),
        postgresql_where=sa.text("client_message_id IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_table("chat_message")
    op.drop_table("chat_conversation")
