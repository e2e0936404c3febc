"""The table that makes a repeated request harmless."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index, LargeBinary, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import WorkspaceBase


class IdempotencyKeyRow(WorkspaceBase):
    """An `Idempotency-Key` of an account with the answer that it got, written in the transaction of the change."""

    __tablename__ = "idempotency_key"
    __table_args__ = (Index(None, "created_at"),)

    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    # Method, path and body: another request under the same key is refused.
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[int] = mapped_column(SmallInteger)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
