"""The tables of the chat."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import Json, WorkspaceBase


def _of_conversation() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["workspace_id", "conversation_id"],
        ["chat_conversation.workspace_id", "chat_conversation.id"],
        ondelete="CASCADE",
    )


class ConversationRow(WorkspaceBase):
    """One talk of a visitor with the staff, from opening to closing.

    The row is locked by whoever changes who is in it, or what is asked of it.
    """

    __tablename__ = "chat_conversation"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'active', 'closed')", name="state"),
        CheckConstraint("state = 'closed' OR (state = 'active') = (staff_count > 0)", name="active_has_staff"),
        CheckConstraint("state <> 'waiting' OR waiting_since IS NOT NULL", name="waiting_since"),
        CheckConstraint("(state = 'closed') = (closed_at IS NOT NULL)", name="closed_at"),
        CheckConstraint("(flag_severity IS NULL) = (flagged_at IS NULL)", name="flagged_at"),
        Index("ix_chat_conversation_state", "workspace_id", "state", "created_at", "id"),
        Index("ix_chat_conversation_visitor", "workspace_id", "visitor_id", "created_at", "id"),
        Index("ix_chat_conversation_active", "workspace_id", "active_at", "id"),
        Index(
            "ix_chat_conversation_waiting",
            "workspace_id",
            "waiting_since",
            "id",
            sqlite_where=text("waiting_since IS NOT NULL"),
            postgresql_where=text("waiting_since IS NOT NULL"),
        ),
        Index(
            "ix_chat_conversation_flagged",
            "workspace_id",
            "flagged_at",
            "id",
            sqlite_where=text("flagged_at IS NOT NULL"),
            postgresql_where=text("flagged_at IS NOT NULL"),
        ),
        # A visitor has one open conversation at a time.
        Index(
            "uq_chat_conversation_open",
            "workspace_id",
            "visitor_id",
            unique=True,
            sqlite_where=text("state <> 'closed'"),
            postgresql_where=text("state <> 'closed'"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    subject: Mapped[str | None] = mapped_column(String(200))
    visitor_id: Mapped[UUID]
    # Who is in it, as `ParticipantRow` says, in the order in which they came: each list shows it.
    staff_ids: Mapped[Any] = mapped_column(Json(of=list[UUID]))
    staff_count: Mapped[int]
    # Number of the newest message. The row is locked while a message is appended, so numbers have no gap.
    message_count: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    claimed_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    active_at: Mapped[datetime]
    waiting_since: Mapped[datetime | None]
    tags: Mapped[Any] = mapped_column(Json())
    flag_severity: Mapped[int | None]
    flag_reason: Mapped[str | None] = mapped_column(Text)
    flagged_by: Mapped[UUID | None]
    flagged_at: Mapped[datetime | None]


class ParticipantRow(WorkspaceBase):
    """Somebody of the staff who is in a conversation, or was."""

    __tablename__ = "chat_participant"
    __table_args__ = (
        _of_conversation(),
        Index("ix_chat_participant_account", "workspace_id", "account_id", "conversation_id"),
    )

    conversation_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    joined_at: Mapped[datetime]
    # Who is in it at its end has not left.
    left_at: Mapped[datetime | None]


class MessageRow(WorkspaceBase):
    """One message, numbered from 1 within its conversation."""

    __tablename__ = "chat_message"
    __table_args__ = (
        _of_conversation(),
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
    action: Mapped[str | None] = mapped_column(String(16))
    about_id: Mapped[UUID | None]
    client_message_id: Mapped[UUID | None]
    created_at: Mapped[datetime]


class NoteRow(WorkspaceBase):
    """What staff know of a conversation and the visitor does not."""

    __tablename__ = "chat_note"
    __table_args__ = (
        _of_conversation(),
        Index("ix_chat_note_conversation", "workspace_id", "conversation_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID]
    author_id: Mapped[UUID]
    action: Mapped[str | None] = mapped_column(String(16))
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class SeenRow(WorkspaceBase):
    """How far somebody has read a conversation."""

    __tablename__ = "chat_seen"
    __table_args__ = (_of_conversation(),)

    conversation_id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int]
    seen_at: Mapped[datetime]


class BookmarkRow(WorkspaceBase):
    """A conversation that somebody of the staff wants to find again."""

    __tablename__ = "chat_bookmark"
    __table_args__ = (
        _of_conversation(),
        Index("ix_chat_bookmark_account", "workspace_id", "account_id", "created_at", "conversation_id"),
    )

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    conversation_id: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]


class ProfileRow(WorkspaceBase):
    """How somebody of the staff is shown to visitors."""

    __tablename__ = "chat_profile"

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    display_name: Mapped[str | None] = mapped_column(String(200))
    changed_at: Mapped[datetime]
