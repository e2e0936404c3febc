"""The table of files."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import Auditable, WorkspaceBase


class FileRow(Auditable, WorkspaceBase):
    """One file. The row is there before the first byte is stored, and goes after the last.

    Attributes:
        owner_id: the account that uploaded it.
        kind: what it is for, as an application declares it.
        name: what its owner calls it.
        content_type: what it is, by its content.
        size_bytes: how long it is; while it is uploaded, what of the quota is held for it.
        thumbnail_bytes: how long its thumbnails are, all together; they count too.
        sha256: of what is stored.
        received_sha256: of what came in, which is another for pictures.
        state: `uploading`, `ready`, or `removed`: then nobody sees it any more, and what is stored goes next.
        attached_id: what it is part of, of the kind of things that its own kind belongs to.
        upload_key: the `Idempotency-Key` of the upload.
        alive_at: when the process that takes the upload in has last said that it does.
    """

    __tablename__ = "file"
    __audit_ignore__ = frozenset({"alive_at", "thumbnail_bytes"})
    __table_args__ = (
        CheckConstraint("state IN ('uploading', 'ready', 'removed')", name="state"),
        CheckConstraint("size_bytes >= 0", name="size_bytes"),
        CheckConstraint("thumbnail_bytes >= 0", name="thumbnail_bytes"),
        CheckConstraint("state <> 'ready' OR sha256 IS NOT NULL", name="sha256"),
        UniqueConstraint("workspace_id", "owner_id", "upload_key"),
        Index("ix_file_attached", "workspace_id", "kind", "attached_id"),
        Index("ix_file_state", "state", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(String(100))
    name: Mapped[str] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(100))
    size_bytes: Mapped[int]
    thumbnail_bytes: Mapped[int]
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    received_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    state: Mapped[str] = mapped_column(String(16))
    attached_id: Mapped[UUID | None]
    upload_key: Mapped[str | None] = mapped_column(String(255))
    width: Mapped[int | None]
    height: Mapped[int | None]
    created_at: Mapped[datetime]
    alive_at: Mapped[datetime]
