"""The tables of the chat."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import WorkspaceBase


class ConversationRow(WorkspaceBase):
    """One talk of a visitor with the staff, from opening to closing."""

    __tablename__ = "chat_conversation"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'active', 'closed')", name="state"),
        CheckConstraint("state <> 'active' OR assignee_id IS NOT NULL", name="active_has_assignee"),
        CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="closed_at"),
        Index("ix_chat_conversation_state", "workspace_id", "state", "created_at", "id"),
        Index("ix_chat_conversation_visitor", "workspace_id", "visitor_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str | None] = mapped_column(String(200))
    visitor_id: Mapped[UUID]
    assignee_id: Mapped[UUID | None]
    # Number of the newest message. The row is locked while a message is appended, so numbers have no gap.
    message_count: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    claimed_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]


class MessageRow(WorkspaceBase):
    """One message, numbered from 1 within its conversation."""

    __tablename__ = "chat_message"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "conversation_id"],
            ["chat_conversation.workspace_id", "chat_conversation.id"],
            ondelete="CASCADE",
        ),
        # A retry with the same id of the client finds the message that is there.
        Index(
            "uq_chat_message_client_message_id",
            "workspace_id",
            "conversation_id",
            "author_id",
            "client_message_id",
            unique=True,
            sqlite_where=text("client_message_id IS NOT NULL"),
            postgresql_where=text("client_message_id IS NOT NULL"),
        ),
    )

    conversation_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[UUID]
    author_id: Mapped[UUID]
    text: Mapped[str] = mapped_column(Text)
    client_message_id: Mapped[UUID | None]
    created_at: Mapped[datetime]
