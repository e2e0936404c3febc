"""What workspaces have of their quotas."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "quota",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("most", sa.BigInteger()),
        sa.CheckConstraint("used >= 0", name="ck_quota_used"),
        sa.CheckConstraint("most >= 0", name="ck_quota_most"),
        sa.PrimaryKeyConstraint("workspace_id", "name", name="pk_quota"),
    )


def downgrade() -> None:
    op.drop_table("quota")
