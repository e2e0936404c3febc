"""The audit log: entries, those that have no seal yet, seals, heads of chains; and the triggers that guard them.

What stands in the log is not changed, and removed only from the beginning of a chain, after its head has said so.
Whoever owns the tables can drop the triggers: that is what the chain is for. On SQLite, a later revision that makes
one of these tables anew has to make its triggers anew.
"""

import sqlalchemy as sa
from alembic import op

from courtyard.kernel.database import UtcDateTime

revision = "0001"
down_revision = None

SQLITE = """
CREATE TRIGGER audit_entry_waits AFTER INSERT ON audit_entry
BEGIN
    INSERT INTO audit_pending (workspace_id, entry_id) VALUES (NEW.workspace_id, NEW.id);
END;
CREATE TRIGGER audit_entry_stays AFTER UPDATE ON audit_entry
BEGIN
    SELECT RAISE(ABORT, 'audit_entry is append-only');
END;
CREATE TRIGGER audit_entry_is_kept BEFORE DELETE ON audit_entry
WHEN NOT EXISTS (
    SELECT 1 FROM audit_seal JOIN audit_chain ON audit_chain.workspace_id = audit_seal.workspace_id
    WHERE audit_seal.workspace_id = OLD.workspace_id AND audit_seal.entry_id = OLD.id
      AND audit_seal.number <= audit_chain.base_number
)
BEGIN
    SELECT RAISE(ABORT, 'audit_entry is append-only');
END;
CREATE TRIGGER audit_seal_stays AFTER UPDATE ON audit_seal
BEGIN
    SELECT RAISE(ABORT, 'audit_seal is append-only');
END;
CREATE TRIGGER audit_seal_is_kept BEFORE DELETE ON audit_seal
WHEN NOT EXISTS (
    SELECT 1 FROM audit_chain
    WHERE audit_chain.workspace_id = OLD.workspace_id AND OLD.number <= audit_chain.base_number
)
BEGIN
    SELECT RAISE(ABORT, 'audit_seal is append-only');
END;
"""

POSTGRESQL = """
CREATE FUNCTION audit_entry_waits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit_pending (workspace_id, entry_id) SELECT workspace_id, id FROM added;
    RETURN NULL;
END $$;
CREATE TRIGGER audit_entry_waits AFTER INSERT ON audit_entry
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_waits();

CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_entry_stays BEFORE UPDATE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_entry_is_not_emptied BEFORE TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_seal_stays BEFORE UPDATE ON audit_seal
    FOR EACH ROW EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_seal_is_not_emptied BEFORE TRUNCATE ON audit_seal
    FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();

CREATE FUNCTION audit_entry_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT 1 FROM audit_seal JOIN audit_chain USING (workspace_id)
        WHERE workspace_id = OLD.workspace_id AND entry_id = OLD.id AND audit_seal.number <= base_number
    ) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_entry is append-only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_entry_is_kept BEFORE DELETE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION audit_entry_is_kept();

CREATE FUNCTION audit_seal_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM audit_chain WHERE workspace_id = OLD.workspace_id AND OLD.number <= base_number) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit_seal is append-only' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_seal_is_kept BEFORE DELETE ON audit_seal
    FOR EACH ROW EXECUTE FUNCTION audit_seal_is_kept();
"""
FUNCTIONS = ("audit_entry_waits", "audit_stays", "audit_entry_is_kept", "audit_seal_is_kept")


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("name", sa.String(150), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("actor_kind", sa.String(16), nullable=False),
        sa.Column("actor_id", sa.Uuid()),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("object_type", sa.String(100)),
        sa.Column("object_id", sa.String(200)),
        sa.Column("before", sa.Text()),
        sa.Column("after", sa.Text()),
        sa.Column("details", sa.Text()),
        sa.Column("request", sa.Text()),
        sa.Column("request_entry_id", sa.Uuid()),
        sa.Column("address", sa.String(64)),
        sa.Column("request_id", sa.String(64)),
        sa.PrimaryKeyConstraint("workspace_id", "id", name="pk_audit_entry"),
    )
    op.create_index("ix_audit_entry_object", "audit_entry", ["workspace_id", "object_type", "object_id", "id"])
    op.create_index("ix_audit_entry_actor", "audit_entry", ["workspace_id", "actor_id", "id"])
    op.create_table(
        "audit_pending",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "entry_id", name="pk_audit_pending"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_seal",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", "number", name="pk_audit_seal"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_audit_seal_workspace_id_entry_id", "audit_seal", ["workspace_id", "entry_id"], unique=True)
    op.create_table(
        "audit_chain",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("base_number", sa.BigInteger(), nullable=False),
        sa.Column("base_digest", sa.String(64), nullable=False),
        sa.Column("mac", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("workspace_id", name="pk_audit_chain"),
    )
    script = SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL
    for statement in _statements(script):
        op.execute(statement)


def downgrade() -> None:
    for table in ("audit_chain", "audit_seal", "audit_pending", "audit_entry"):
        op.drop_table(table)
    if op.get_bind().dialect.name != "sqlite":
        for function in FUNCTIONS:
            op.execute(f"DROP FUNCTION {function}()")


def _statements(script: str) -> list[str]:
    """Return the statements of a script, each of which begins at the left edge with CREATE."""
    return ["CREATE " + statement.strip() for statement in script.split("\nCREATE ")[1:]]
