"""Whose a database is, and the fences of workspaces in it."""

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "shard_marker",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("installation_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", name="pk_shard_marker"),
    )
    op.create_table(
        "shard_fence",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("until", UtcDateTime()),
        sa.CheckConstraint("state IN ('open', 'closed', 'moved')", name="ck_shard_fence_state"),
        sa.PrimaryKeyConstraint("workspace_id", name="pk_shard_fence"),
    )


def downgrade() -> None:
    op.drop_table("shard_fence")
    op.drop_table("shard_marker")
