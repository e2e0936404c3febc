"""The tables of tenants, of who belongs to them, and with which roles."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import Auditable, Json, MainBase

_PENDING = text("state = 'pending'")


class WorkspaceRow(Auditable, MainBase):
    """A tenant."""

    __tablename__ = "workspace"
    __audit_workspace__ = "id"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    slug: Mapped[str] = mapped_column(String(63), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    # What somebody has set, by the part that it belongs to; the rest are the defaults of that part.
    settings: Mapped[Any] = mapped_column(Json())
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    # From then on it is read only.
    archived_at: Mapped[datetime | None]
    # From when on it is removed; until then an owner can have it back, and nobody can do anything else in it.
    deletes_at: Mapped[datetime | None] = mapped_column(index=True)


class WorkspaceSlugRow(MainBase):
    """Whose a slug is. One that was given up is kept for a while, so that old addresses lead to nobody else."""

    __tablename__ = "workspace_slug"
    __table_args__ = (Index(None, "workspace_id"),)

    slug: Mapped[str] = mapped_column(String(63), primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"))
    # None for the present one.
    kept_until: Mapped[datetime | None]


class MembershipRow(Auditable, MainBase):
    """An account's place in a workspace. Its version counts the changes of its roles too."""

    __tablename__ = "membership"
    # A change of roles is told by the rows of the roles.
    __audit_ignore__ = frozenset({"version"})
    __table_args__ = (Index(None, "account_id"),)

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    # Who is suspended keeps the roles, and has nothing of them.
    suspended_at: Mapped[datetime | None]


# Stands for the whole workspace in the two columns of a scope: NULLs would all be different to a unique constraint.
EVERYWHERE = ("", UUID(int=0))


class RoleGrantRow(Auditable, MainBase):
    """A role that a member has been given: in the whole workspace, or on one thing in it."""

    __tablename__ = "role_grant"
    __table_args__ = (
        ForeignKeyConstraint(
            ["workspace_id", "account_id"],
            ["membership.workspace_id", "membership.account_id"],
            ondelete="CASCADE",
        ),
        UniqueConstraint("workspace_id", "account_id", "role", "scope_type", "scope_id"),
        # Who holds a role is asked for when the role changes, and for owners.
        Index(None, "workspace_id", "role"),
        # Ownership is of all of the workspace and for good: else a workspace could come to be without an owner.
        CheckConstraint("role <> 'owner' OR (scope_type = '' AND expires_at IS NULL)", name="owner"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID]
    account_id: Mapped[UUID]
    role: Mapped[str] = mapped_column(String(64))
    scope_type: Mapped[str] = mapped_column(String(64))
    scope_id: Mapped[UUID]
    # None for whoever founded the workspace.
    granted_by: Mapped[UUID | None]
    created_at: Mapped[datetime]
    # From then on it does not count.
    expires_at: Mapped[datetime | None]


class CustomRoleRow(Auditable, MainBase):
    """A role that a workspace has made itself."""

    __tablename__ = "custom_role"

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    description: Mapped[str] = mapped_column(String(200))
    # Names; one that no part declares any more counts for nothing.
    permissions: Mapped[Any] = mapped_column(Json())
    require_second_factor: Mapped[bool]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]


class InvitationRow(Auditable, MainBase):
    """The offer of a place to whoever reads the mails of an address."""

    __tablename__ = "invitation"
    __audit_ignore__ = frozenset({"token_digest"})
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'accepted', 'declined', 'withdrawn', 'expired')", name="state"),
        CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name="settled_at"),
        CheckConstraint("(scope_type IS NULL) = (scope_id IS NULL)", name="scope"),
        # One at a time for an address.
        Index(
            "uq_invitation_pending",
            "workspace_id",
            "email",
            unique=True,
            sqlite_where=_PENDING,
            postgresql_where=_PENDING,
        ),
        Index(None, "email"),
        Index(None, "workspace_id", "id"),
        Index("ix_invitation_expires_at", "expires_at", sqlite_where=_PENDING, postgresql_where=_PENDING),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"))
    # In the form of `schema.normalise_email`.
    email: Mapped[str] = mapped_column(String(254))
    roles: Mapped[Any] = mapped_column(Json())
    # On which thing the roles count; None for all of the workspace.
    scope_type: Mapped[str | None] = mapped_column(String(64))
    scope_id: Mapped[UUID | None]
    message: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(16))
    token_digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    # Who answers for it: what they could not give any more when it is accepted is not given.
    inviter_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    # Mails since `counted_from`, so that nobody is flooded.
    mails: Mapped[int] = mapped_column(Integer)
    counted_from: Mapped[datetime]
    mailed_at: Mapped[datetime]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class InvitationLinkRow(Auditable, MainBase):
    """A link by which whoever has it joins, so many times and so long."""

    __tablename__ = "invitation_link"
    __table_args__ = (
        CheckConstraint("uses >= 0 AND uses <= max_uses", name="uses"),
        Index(None, "workspace_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"))
    roles: Mapped[Any] = mapped_column(Json())
    token_digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    maker_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    uses: Mapped[int] = mapped_column(Integer)
    max_uses: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]


class OwnershipOfferRow(Auditable, MainBase):
    """The open offer of an owner to make a member the owner instead; gone when either leaves, or it is answered."""

    __tablename__ = "ownership_offer"
    __table_args__ = (
        CheckConstraint("from_id <> to_id", name="two"),
        *(
            ForeignKeyConstraint(
                ["workspace_id", column],
                ["membership.workspace_id", "membership.account_id"],
                name=f"fk_ownership_offer_{column}",
                ondelete="CASCADE",
            )
            for column in ("from_id", "to_id")
        ),
    )

    workspace_id: Mapped[UUID] = mapped_column(primary_key=True)
    from_id: Mapped[UUID]
    to_id: Mapped[UUID]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class ServiceRow(Auditable, MainBase):
    """A program with an account of its own, which belongs to one workspace."""

    __tablename__ = "workspace_service"
    __table_args__ = (Index(None, "workspace_id", "account_id"),)

    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)
    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"))
    description: Mapped[str] = mapped_column(String(1_000))
    maker_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
