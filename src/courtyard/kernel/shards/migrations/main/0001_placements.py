"""Where workspaces live that have a database of their own."""

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "workspace_placement",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("uri", sa.LargeBinary(), nullable=False),
        sa.Column("placed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", name="pk_workspace_placement"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_workspace_placement_workspace_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "workspace_storage",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("written", sa.LargeBinary()),
        sa.Column("also_read", sa.LargeBinary()),
        sa.Column("is_also_read", sa.Boolean(), nullable=False),
        sa.Column("placed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", name="pk_workspace_storage"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_workspace_storage_workspace_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "workspace_placements",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_workspace_placements_one"),
        sa.PrimaryKeyConstraint("id", name="pk_workspace_placements"),
    )


def downgrade() -> None:
    op.drop_table("workspace_placements")
    op.drop_table("workspace_storage")
    op.drop_table("workspace_placement")
