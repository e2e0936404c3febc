"""The table of outgoing mail."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Integer, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import TAKEN_UP_MARK, Auditable, WorkspaceBase

_QUEUED = text("state = 'queued'")


class MailRow(WorkspaceBase):
    """One mail to one person, rendered; its text is gone as soon as it is delivered or given up.

    `suppressed` is one that was never to be sent: it is there so that somebody can be told.
    """

    __tablename__ = "mail"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'sent', 'failed', 'suppressed')", name="state"),
        # Links and codes let people in, so they do not outlive the delivery.
        CheckConstraint("(content IS NULL) = (state <> 'queued')", name="content"),
        CheckConstraint("(settled_at IS NULL) = (state = 'queued')", name="settled_at"),
        # What has somebody been sent lately, and what became of it.
        Index(None, "workspace_id", "recipient", "created_at"),
        Index("ix_mail_expires_at", "expires_at", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
        {"info": {TAKEN_UP_MARK: True}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    template: Mapped[str] = mapped_column(String(100))
    # What it is about, where that can be turned off.
    kind: Mapped[str | None] = mapped_column(String(100))
    language: Mapped[str] = mapped_column(String(16))
    recipient: Mapped[str] = mapped_column(String(254))
    subject: Mapped[str] = mapped_column(String(998))
    # JSON of `schemas.Content`, encrypted for this row.
    content: Mapped[bytes | None] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(String(16))
    # What delivers it.
    task_id: Mapped[UUID | None]
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    # The last word of the transport: why it was refused or has to wait, or what the mail server says it did.
    answer: Mapped[str | None] = mapped_column(String(500))
    created_at: Mapped[datetime]
    # After this it is not tried again.
    expires_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class MailPreferenceRow(WorkspaceBase):
    """That somebody has said whether they want mails of a kind. Without a row they do."""

    __tablename__ = "mail_preference"

    # The id of an account or, of who has none, an address.
    subject: Mapped[str] = mapped_column(String(254), primary_key=True)
    kind: Mapped[str] = mapped_column(String(100), primary_key=True)
    wanted: Mapped[bool]
    changed_at: Mapped[datetime]


class MailTemplateRow(Auditable, WorkspaceBase):
    """How a workspace says a mail in a language, in words of its own."""

    __tablename__ = "mail_template"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    language: Mapped[str] = mapped_column(String(16), primary_key=True)
    subject: Mapped[str] = mapped_column(String(200))
    text: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(default=1)
    changed_at: Mapped[datetime]
