"""Webhooks: endpoints, deliveries, and the trigger that notes what is to be told."""

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import Json, UtcDateTime

revision = "0001"
down_revision = None

# In the transaction of the event, whatever has written it; nothing where a workspace tells nobody.
SQLITE = """
CREATE TRIGGER webhook_event_waits AFTER INSERT ON event
WHEN EXISTS (SELECT 1 FROM webhook_endpoint WHERE workspace_id = NEW.workspace_id AND state = 'active')
BEGIN
    INSERT INTO webhook_pending (workspace_id, topic, number) VALUES (NEW.workspace_id, NEW.topic, NEW.number);
END;
"""

POSTGRESQL = """
CREATE FUNCTION webhook_event_waits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_pending (workspace_id, topic, number)
    SELECT workspace_id, topic, number FROM added
    WHERE EXISTS (
        SELECT 1 FROM webhook_endpoint
        WHERE webhook_endpoint.workspace_id = added.workspace_id AND state = 'active'
    );
    RETURN NULL;
END $$;
CREATE TRIGGER webhook_event_waits AFTER INSERT ON event
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION webhook_event_waits();
"""


def upgrade() -> None:
    op.create_table(
        "webhook_endpoint",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.String(2_000), nullable=False),
        sa.Column("description", sa.String(200), nullable=False),
        sa.Column("events", Json(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("previous_secret", sa.LargeBinary()),
        sa.Column("previous_until", UtcDateTime()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(200)),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", UtcDateTime()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'paused')", name="ck_webhook_endpoint_state"),
        sa.CheckConstraint(
            "(previous_secret IS NULL) = (previous_until IS NULL)", name="ck_webhook_endpoint_previous_secret"
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name="pk_webhook_endpoint"),
    )
    op.create_table(
        "webhook_pending",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.String(200), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "topic", "number", name="pk_webhook_pending"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("event_name", sa.String(100), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("settled_at", UtcDateTime()),
        sa.CheckConstraint("state IN ('waiting', 'delivered', 'failed')", name="ck_webhook_delivery_state"),
        sa.CheckConstraint("(settled_at IS NULL) = (state = 'waiting')", name="ck_webhook_delivery_settled_at"),
        sa.ForeignKeyConstraint(
            ["workspace_id", "endpoint_id"],
            ["webhook_endpoint.workspace_id", "webhook_endpoint.id"],
            name="fk_webhook_delivery_workspace_id_endpoint_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "id", name="pk_webhook_delivery"),
        sa.UniqueConstraint(
            "workspace_id", "endpoint_id", "event_id", name="uq_webhook_delivery_workspace_id_endpoint_id_event_id"
        ),
    )
    op.create_index("ix_webhook_delivery_settled_at", "webhook_delivery", ["settled_at"])
    op.create_table(
        "webhook_attempt",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("url", sa.String(2_000), nullable=False),
        sa.Column("request_headers", Json(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("response_headers", Json(), nullable=False),
        sa.Column("response_body", sa.Text(), nullable=False),
        sa.Column("error", sa.String(300)),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id", "delivery_id"],
            ["webhook_delivery.workspace_id", "webhook_delivery.id"],
            name="fk_webhook_attempt_workspace_id_delivery_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "delivery_id", "number", name="pk_webhook_attempt"),
    )
    script = SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL
    for statement in script.split("\nCREATE ")[1:]:
        op.execute(f"CREATE {statement.strip()}")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER webhook_event_waits")
    else:
        op.execute("DROP TRIGGER webhook_event_waits ON event")
        op.execute("DROP FUNCTION webhook_event_waits")
    for table in ("webhook_attempt", "webhook_delivery", "webhook_pending", "webhook_endpoint"):
        op.drop_table(table)
