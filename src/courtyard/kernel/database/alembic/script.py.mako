"""${message}."""

<%text># What was generated is to be read, `downgrade` first of all; then these lines go (docs/howto/migrations.md).
# A revision is one transaction. On PostgreSQL it waits for a lock no longer than `database.lock_timeout_seconds`;
# then it is undone and tried again. A statement may take as long as it likes, while the locks it took stand in
# everybody's way: `op.execute("SET LOCAL statement_timeout = '5s'")` bounds it. Many rows are filled in in
# batches, by a revision of their own. Models are never imported: they are of today, and this file stays.</%text>

import sqlalchemy as sa
from alembic import op
% if imports:

${imports}
% endif

revision = "${up_revision}"
down_revision = ${'"%s"' % down_revision if down_revision else None}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
