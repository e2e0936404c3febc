"""Moves of workspaces from database to database."""

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "workspace_move",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("source", sa.LargeBinary()),
        sa.Column("target", sa.LargeBinary()),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("state IN ('copying', 'following', 'switched', 'done')", name="ck_workspace_move_state"),
        sa.PrimaryKeyConstraint("workspace_id", name="pk_workspace_move"),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspace.id"], name="fk_workspace_move_workspace_id", ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.drop_table("workspace_move")
