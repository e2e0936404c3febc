"""The tables of people: who there is, how they prove it, and who is signed in."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import Auditable, Json, MainBase


class AccountRow(Auditable, MainBase):
    """A person, an anonymous visitor or a service."""

    __tablename__ = "account"
    __audit_secret__ = frozenset({"password_hash"})
    # It follows from other changes, which are in the log themselves.
    __audit_ignore__ = frozenset({"rights_epoch"})
    __table_args__ = (
        CheckConstraint("kind IN ('person', 'visitor', 'service')", name="kind"),
        CheckConstraint("email IS NULL OR kind = 'person'", name="email"),
        CheckConstraint("password_hash IS NULL OR email IS NOT NULL", name="password"),
        CheckConstraint("deleted_at IS NULL OR (email IS NULL AND disabled_at IS NOT NULL)", name="deleted"),
        Index(None, "workspace_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    # In the form of `schema.normalise_email`; proven by a message that arrived there.
    email: Mapped[str | None] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    language: Mapped[str | None] = mapped_column(String(16))
    password_hash: Mapped[str | None] = mapped_column(Text)
    password_changed_at: Mapped[datetime | None]
    must_change_password: Mapped[bool] = mapped_column(default=False)
    # Goes up whenever the account may do more or less somewhere, so that every process sees it at its next look.
    rights_epoch: Mapped[int] = mapped_column(default=0)
    # Of a service: the workspace that it belongs to.
    workspace_id: Mapped[UUID | None]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    # `self` can come back by a link in a mail, `operator` cannot.
    disabled_by: Mapped[str | None] = mapped_column(String(16))
    deleted_at: Mapped[datetime | None]


class SessionRow(MainBase):
    """A login. Holds digests of its refresh tokens, never a token."""

    __tablename__ = "session"
    __table_args__ = (Index(None, "account_id"), Index(None, "expires_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    refresh_digest: Mapped[bytes] = mapped_column(LargeBinary)
    # The token before the present one: good for a moment more, for a second tab that renewed at the same time.
    previous_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    # The present token, encrypted with the one before: only who has that one can read it.
    successor: Mapped[bytes | None] = mapped_column(LargeBinary)
    device: Mapped[str] = mapped_column(String(200))
    address: Mapped[str] = mapped_column(String(64))
    # By which proofs it was opened: `password`, `email`, `passkey`, `oidc`, `totp`, `recovery_code`.
    methods: Mapped[Any] = mapped_column(Json())
    created_at: Mapped[datetime]
    # The last proof of who sits there.
    authenticated_at: Mapped[datetime]
    refreshed_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class ChallengeRow(MainBase):
    """Something that was sent out and must come back once: a link, a code, a question to an authenticator."""

    __tablename__ = "challenge"
    __table_args__ = (Index(None, "account_id"), Index(None, "expires_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    purpose: Mapped[str] = mapped_column(String(32))
    # None where there is no such account: the row is made all the same, so that the answer takes as long.
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    code_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    # Of the browser that asked; None where the answer may come from anywhere.
    browser_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    tries_left: Mapped[int]
    data: Mapped[Any] = mapped_column(Json())
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class DeviceRow(MainBase):
    """A browser from which an account has logged in before."""

    __tablename__ = "device"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)
    browser_digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]


class LoginThrottleRow(MainBase):
    """How often a wrong password was tried with an address, whether or not somebody has it."""

    __tablename__ = "login_throttle"
    __table_args__ = (Index(None, "changed_at"),)

    email_digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    failures: Mapped[int]
    changed_at: Mapped[datetime]
    blocked_until: Mapped[datetime]


class TotpRow(MainBase):
    """The shared secret of an authenticator app (RFC 6238)."""

    __tablename__ = "totp"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)
    # Encrypted with the key ring.
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    # The newest time step whose code was taken: each code counts once.
    last_step: Mapped[int]
    created_at: Mapped[datetime]
    # None until a first code has shown that the app has the secret.
    confirmed_at: Mapped[datetime | None]
    # How often a wrong code was tried in a row, over all logins, and until when none is looked at.
    failures: Mapped[int]
    failed_at: Mapped[datetime | None]
    blocked_until: Mapped[datetime | None]


class RecoveryCodeRow(MainBase):
    """A code on paper that stands in for the second factor, once."""

    __tablename__ = "recovery_code"

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class PasskeyRow(MainBase):
    """The public key of an authenticator (Web Authentication Level 3)."""

    __tablename__ = "passkey"
    __table_args__ = (Index(None, "account_id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    credential_id: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    sign_count: Mapped[int]
    transports: Mapped[Any] = mapped_column(Json())
    name: Mapped[str] = mapped_column(String(200))
    # Whether the authenticator keeps it in more places than one.
    backed_up: Mapped[bool]
    version: Mapped[int]
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ExternalIdentityRow(MainBase):
    """An account's identity at an OpenID provider."""

    __tablename__ = "external_identity"
    __table_args__ = (UniqueConstraint("provider", "subject"), UniqueConstraint("account_id", "provider"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    provider: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(255))
    email: Mapped[str | None] = mapped_column(String(254))
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ApiKeyRow(MainBase):
    """A key by which a program acts for an account. Only a keyed digest of it is kept."""

    __tablename__ = "api_key"
    __table_args__ = (Index(None, "account_id"), Index(None, "prefix"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    # How it begins: what is shown of it in lists, and by which it is found.
    prefix: Mapped[str] = mapped_column(String(16))
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    # Names of permissions that it is cut down to; None for all that the account has.
    scopes: Mapped[Any] = mapped_column(Json(), nullable=True)
    # The proofs of the session that made it; none for the key of a service.
    methods: Mapped[Any] = mapped_column(Json())
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
