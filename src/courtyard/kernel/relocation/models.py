"""The table of moves, in the main database."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import MainBase

# Until `SWITCHED` the workspace lives in the old place and all can be undone; from then on it lives in the new one,
# and what is left to do is done, however often it is begun.
COPYING, FOLLOWING, SWITCHED, DONE = "copying", "following", "switched", "done"


class MoveRow(MainBase):
    """A move that has not been cleared away."""

    __tablename__ = "workspace_move"
    __table_args__ = (CheckConstraint("state IN ('copying', 'following', 'switched', 'done')", name="state"),)

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspace.id", ondelete="CASCADE"), primary_key=True)
    # Names what the move makes in both databases.
    id: Mapped[UUID]
    state: Mapped[str] = mapped_column(String(16))
    # URLs, encrypted for this row; None for the main database.
    source: Mapped[bytes | None] = mapped_column(LargeBinary)
    target: Mapped[bytes | None] = mapped_column(LargeBinary)
    started_at: Mapped[datetime]
    changed_at: Mapped[datetime]
