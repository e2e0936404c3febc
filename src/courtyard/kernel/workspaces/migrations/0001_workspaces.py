"""Workspaces and memberships."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import Json, UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "workspace",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.String(63), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("settings", Json(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("archived_at", UtcDateTime(), nullable=True),
        sa.Column("deletes_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_workspace"),
        sa.UniqueConstraint("slug", name="uq_workspace_slug"),
    )
    op.create_index("ix_workspace_deletes_at", "workspace", ["deletes_at"])
    op.create_table(
        "workspace_slug",
        sa.Column("slug", sa.String(63), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("kept_until", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("slug", name="pk_workspace_slug"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_workspace_slug_workspace_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_workspace_slug_workspace_id", "workspace_slug", ["workspace_id"])
    op.create_table(
        "membership",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("suspended_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("workspace_id", "account_id", name="pk_membership"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_membership_workspace_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"], name="fk_membership_account_id", ondelete="CASCADE"),
    )
    op.create_index("ix_membership_account_id", "membership", ["account_id"])
    _roles()
    _invitations()
    op.create_table(
        "ownership_offer",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("from_id", sa.Uuid(), nullable=False),
        sa.Column("to_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", name="pk_ownership_offer"),
        sa.CheckConstraint("from_id <> to_id", name="ck_ownership_offer_two"),
        *(
            sa.ForeignKeyConstraint(
                ["workspace_id", column],
                ["membership.workspace_id", "membership.account_id"],
                name=f"fk_ownership_offer_{column}",
                ondelete="CASCADE",
            )
            for column in ("from_id", "to_id")
        ),
    )
    op.create_table(
        "workspace_service",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("description", sa.String(1_000), nullable=False),
        sa.Column("maker_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_workspace_service"),
        *_keys("workspace_service", account_id="account", workspace_id="workspace", maker_id="account"),
    )
    op.create_index("ix_workspace_service_workspace_id_account_id", "workspace_service", ["workspace_id", "account_id"])


def _roles() -> None:
    op.create_table(
        "role_grant",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(64), nullable=False),
        sa.Column("scope_type", sa.String(64), nullable=False),
        sa.Column("scope_id", sa.Uuid(), nullable=False),
        sa.Column("granted_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_role_grant"),
        sa.ForeignKeyConstraint(
            ["workspace_id", "account_id"],
            ["membership.workspace_id", "membership.account_id"],
            name="fk_role_grant_workspace_id_account_id",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint(
            "workspace_id",
            "account_id",
            "role",
            "scope_type",
            "scope_id",
            name="uq_role_grant_workspace_id_account_id_role_scope_type_scope_id",
        ),
        sa.CheckConstraint("role <> 'owner' OR (scope_type = '' AND expires_at IS NULL)", name="ck_role_grant_owner"),
    )
    op.create_index("ix_role_grant_workspace_id_role", "role_grant", ["workspace_id", "role"])
    op.create_table(
        "custom_role",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("description", sa.String(200), nullable=False),
        sa.Column("permissions", Json(), nullable=False),
        sa.Column("require_second_factor", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "name", name="pk_custom_role"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_custom_role_workspace_id", ondelete="CASCADE"
        ),
    )


def _invitations() -> None:
    pending = sa.text("state = 'pending'")
    where: dict[str, Any] = {"sqlite_where": pending, "postgresql_where": pending}
    states = "state IN ('pending', 'accepted', 'declined', 'withdrawn', 'expired')"
    op.create_table(
        "invitation",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("roles", Json(), nullable=False),
        sa.Column("scope_type", sa.String(64), nullable=True),
        sa.Column("scope_id", sa.Uuid(), nullable=True),
        sa.Column("message", sa.String(100), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(), nullable=False),
        sa.Column("inviter_id", sa.Uuid(), nullable=False),
        sa.Column("mails", sa.Integer(), nullable=False),
        sa.Column("counted_from", UtcDateTime(), nullable=False),
        sa.Column("mailed_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("settled_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_invitation"),
        sa.UniqueConstraint("token_digest", name="uq_invitation_token_digest"),
        sa.CheckConstraint(states, name="ck_invitation_state"),
        sa.CheckConstraint("(state = 'pending') = (settled_at IS NULL)", name="ck_invitation_settled_at"),
        sa.CheckConstraint("(scope_type IS NULL) = (scope_id IS NULL)", name="ck_invitation_scope"),
        *_keys("invitation", workspace_id="workspace", inviter_id="account"),
    )
    op.create_index("uq_invitation_pending", "invitation", ["workspace_id", "email"], unique=True, **where)
    op.create_index("ix_invitation_email", "invitation", ["email"])
    op.create_index("ix_invitation_workspace_id_id", "invitation", ["workspace_id", "id"])
    op.create_index("ix_invitation_expires_at", "invitation", ["expires_at"], **where)
    op.create_table(
        "invitation_link",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("roles", Json(), nullable=False),
        sa.Column("token_digest", sa.LargeBinary(), nullable=False),
        sa.Column("maker_id", sa.Uuid(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("max_uses", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("withdrawn_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_invitation_link"),
        sa.UniqueConstraint("token_digest", name="uq_invitation_link_token_digest"),
        sa.CheckConstraint("uses >= 0 AND uses <= max_uses", name="ck_invitation_link_uses"),
        *_keys("invitation_link", workspace_id="workspace", maker_id="account"),
    )
    op.create_index("ix_invitation_link_workspace_id_id", "invitation_link", ["workspace_id", "id"])


def _keys(table: str, **columns: str) -> list[sa.ForeignKeyConstraint]:
    return [
        sa.ForeignKeyConstraint([column], [f"{target}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")
        for column, target in columns.items()
    ]


def downgrade() -> None:
    for table in ("workspace_service", "ownership_offer", "invitation_link", "invitation"):
        op.drop_table(table)
    op.drop_table("custom_role")
    op.drop_table("role_grant")
    op.drop_table("membership")
    op.drop_table("workspace_slug")
    op.drop_table("workspace")
