"""Files."""

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "file",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(100), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("content_type", sa.String(100), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("thumbnail_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary()),
        sa.Column("received_sha256", sa.LargeBinary()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attached_id", sa.Uuid()),
        sa.Column("upload_key", sa.String(255)),
        sa.Column("width", sa.BigInteger()),
        sa.Column("height", sa.BigInteger()),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("alive_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("state IN ('uploading', 'ready', 'removed')", name="ck_file_state"),
        sa.CheckConstraint("size_bytes >= 0", name="ck_file_size_bytes"),
        sa.CheckConstraint("thumbnail_bytes >= 0", name="ck_file_thumbnail_bytes"),
        sa.CheckConstraint("state <> 'ready' OR sha256 IS NOT NULL", name="ck_file_sha256"),
        sa.PrimaryKeyConstraint("workspace_id", "id", name="pk_file"),
        sa.UniqueConstraint("workspace_id", "owner_id", "upload_key", name="uq_file_workspace_id_owner_id_upload_key"),
    )
    op.create_index("ix_file_attached", "file", ["workspace_id", "kind", "attached_id"])
    op.create_index("ix_file_state", "file", ["state", "created_at"])


def downgrade() -> None:
    op.drop_table("file")
