"""The tables of the audit log. Triggers of the migration refuse to change or remove what stands in them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import WorkspaceBase


class AuditEntryRow(WorkspaceBase):
    """One thing that was done, or refused; written in the transaction of the change.

    JSON is kept as text: a digest is made of it, and `jsonb` would write it anew (and take no NUL in a string).
    """

    __tablename__ = "audit_entry"
    __table_args__ = (
        # Each index makes every audited change slower: a name or a time alone is looked for along the primary key.
        Index("ix_audit_entry_object", "workspace_id", "object_type", "object_id", "id"),
        Index("ix_audit_entry_actor", "workspace_id", "actor_id", "id"),
    )

    # Of the same time as the next, so that entries sort by it.
    id: Mapped[UUID] = mapped_column(primary_key=True)
    # When it was written, a moment before the commit.
    created_at: Mapped[datetime]
    # `source:subject:action`
    name: Mapped[str] = mapped_column(String(150))
    # `created`, `updated`, `deleted` for a row; `noted`, `refused` for what has none.
    action: Mapped[str] = mapped_column(String(16))
    # `person`, `visitor`, `service`; without an account `nobody`, `cli`, `task`, `system`.
    actor_kind: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[UUID | None]
    # `http`, `socket`, `cli`, `task`, `system`
    origin: Mapped[str] = mapped_column(String(16))
    object_type: Mapped[str | None] = mapped_column(String(100))
    object_id: Mapped[str | None] = mapped_column(String(200))
    before: Mapped[str | None] = mapped_column(Text)
    after: Mapped[str | None] = mapped_column(Text)
    details: Mapped[str | None] = mapped_column(Text)
    # Method, URL, headers, body, arguments; where one request wrote several entries, the first of them has it.
    request: Mapped[str | None] = mapped_column(Text)
    request_entry_id: Mapped[UUID | None]
    address: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(64))


class AuditPendingRow(WorkspaceBase):
    """An entry that has no seal yet. A trigger puts it here, in the transaction of the entry."""

    __tablename__ = "audit_pending"
    # One page less to write for each change.
    __table_args__ = ({"sqlite_with_rowid": False},)

    entry_id: Mapped[UUID] = mapped_column(primary_key=True)


class AuditSealRow(WorkspaceBase):
    """The place of an entry in the chain of its workspace and database."""

    __tablename__ = "audit_seal"
    __table_args__ = (Index(None, "workspace_id", "entry_id", unique=True), {"sqlite_with_rowid": False})

    number: Mapped[int] = mapped_column(primary_key=True)
    entry_id: Mapped[UUID]
    # SHA-256 of the digest before and of the entry with its number, in hexadecimal.
    digest: Mapped[str] = mapped_column(String(64))


class AuditChainRow(WorkspaceBase):
    """The head of a chain, and where it begins since the oldest entries were removed; both under a keyed digest."""

    __tablename__ = "audit_chain"

    number: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    base_number: Mapped[int]
    base_digest: Mapped[str] = mapped_column(String(64))
    mac: Mapped[str] = mapped_column(String(64))
