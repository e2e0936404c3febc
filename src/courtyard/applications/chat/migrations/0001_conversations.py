"""Conversations, who is in them, their messages, and what the staff notes about them."""

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import Json, UtcDateTime

revision = "0001"
down_revision = None


def _of_conversation(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["workspace_id", "conversation_id"],
        ["chat_conversation.workspace_id", "chat_conversation.id"],
        name=f"fk_{table}_workspace_id_conversation_id",
        ondelete="CASCADE",
    )


def upgrade() -> None:
    op.create_table(
        "chat_conversation",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(200)),
        sa.Column("visitor_id", sa.Uuid(), nullable=False),
        sa.Column("staff_ids", Json(), nullable=False),
        sa.Column("staff_count", sa.BigInteger(), nullable=False),
        sa.Column("message_count", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("claimed_at", UtcDateTime()),
        sa.Column("closed_at", UtcDateTime()),
        sa.Column("active_at", UtcDateTime(), nullable=False),
        sa.Column("waiting_since", UtcDateTime()),
        sa.Column("tags", Json(), nullable=False),
        sa.Column("flag_severity", sa.BigInteger()),
        sa.Column("flag_reason", sa.Text()),
        sa.Column("flagged_by", sa.Uuid()),
        sa.Column("flagged_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("workspace_id", "id", name="pk_chat_conversation"),
        sa.CheckConstraint("state IN ('waiting', 'active', 'closed')", name="ck_chat_conversation_state"),
        sa.CheckConstraint(
            "state = 'closed' OR (state = 'active') = (staff_count > 0)", name="ck_chat_conversation_active_has_staff"
        ),
        sa.CheckConstraint(
            "state <> 'waiting' OR waiting_since IS NOT NULL", name="ck_chat_conversation_waiting_since"
        ),
        sa.CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="ck_chat_conversation_closed_at"),
        sa.CheckConstraint("(flag_severity IS NULL) = (flagged_at IS NULL)", name="ck_chat_conversation_flagged_at"),
    )
    op.create_index("ix_chat_conversation_state", "chat_conversation", ["workspace_id", "state", "created_at", "id"])
    op.create_index(
        "ix_chat_conversation_visitor",
        "chat_conversation",
        ["workspace_id", "visitor_id", "created_at", "id"],
    )
    op.create_index("ix_chat_conversation_active", "chat_conversation", ["workspace_id", "active_at", "id"])
    for name, column in (("waiting", "waiting_since"), ("flagged", "flagged_at")):
        op.create_index(
            f"ix_chat_conversation_{name}",
            "chat_conversation",
            ["workspace_id", column, "id"],
            sqlite_where=sa.text(f"{column} IS NOT NULL"),
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
    op.create_index(
        "uq_chat_conversation_open",
        "chat_conversation",
        ["workspace_id", "visitor_id"],
        unique=True,
        sqlite_where=sa.text("state <> 'closed'"),
        postgresql_where=sa.text("state <> 'closed'"),
    )
    op.create_table(
        "chat_participant",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("joined_at", UtcDateTime(), nullable=False),
        sa.Column("left_at", UtcDateTime()),
        sa.PrimaryKeyConstraint("workspace_id", "conversation_id", "account_id", name="pk_chat_participant"),
        _of_conversation("chat_participant"),
    )
    op.create_index(
        "ix_chat_participant_account", "chat_participant", ["workspace_id", "account_id", "conversation_id"]
    )
    op.create_table(
        "chat_message",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("action", sa.String(16)),
        sa.Column("about_id", sa.Uuid()),
        sa.Column("client_message_id", sa.Uuid()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "conversation_id", "number", name="pk_chat_message"),
        _of_conversation("chat_message"),
    )
    op.create_index(
        "uq_chat_message_client_message_id",
        "chat_message",
        ["workspace_id", "conversation_id", "author_id", "client_message_id"],
        unique=True,
        sqlite_where=sa.text("client_message_id IS NOT NULL"),
        postgresql_where=sa.text("client_message_id IS NOT NULL"),
    )
    op.create_table(
        "chat_note",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.String(16)),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "id", name="pk_chat_note"),
        _of_conversation("chat_note"),
    )
    op.create_index("ix_chat_note_conversation", "chat_note", ["workspace_id", "conversation_id", "created_at", "id"])
    op.create_table(
        "chat_seen",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "conversation_id", "account_id", name="pk_chat_seen"),
        _of_conversation("chat_seen"),
    )
    op.create_table(
        "chat_bookmark",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "account_id", "conversation_id", name="pk_chat_bookmark"),
        _of_conversation("chat_bookmark"),
    )
    op.create_index(
        "ix_chat_bookmark_account",
        "chat_bookmark",
        ["workspace_id", "account_id", "created_at", "conversation_id"],
    )
    op.create_table(
        "chat_profile",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("display_name", sa.String(200)),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "account_id", name="pk_chat_profile"),
    )


def downgrade() -> None:
    for table in ("chat_profile", "chat_bookmark", "chat_seen", "chat_note"):
        op.drop_table(table)
    op.drop_table("chat_message")
    op.drop_table("chat_participant")
    op.drop_table("chat_conversation")
