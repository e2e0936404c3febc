"""The tables of people: who there is, and who is signed in."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import MainBase


class AccountRow(MainBase):
    """A person, an anonymous visitor or a service."""

    __tablename__ = "account"
    __table_args__ = (
        CheckConstraint("kind IN ('person', 'visitor', 'service')", name="kind"),
        CheckConstraint("(email IS NULL) = (password_hash IS NULL)", name="credentials"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    # Stored in the form of `schema.normalise_email`.
    email: Mapped[str | None] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    password_hash: Mapped[str | None] = mapped_column(Text)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class SessionRow(MainBase):
    """A login. Holds digests of its refresh tokens, never a token."""

    __tablename__ = "session"
    __table_args__ = (Index(None, "account_id"), Index(None, "expires_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    refresh_digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    # The token before the present one: whoever shows it again has a stolen one, and the session ends.
    previous_digest: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    device: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    refreshed_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
