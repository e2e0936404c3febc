"""The fence of a workspace in a database, while and after it is moved: whether its rows may be changed there."""

from datetime import datetime

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import WorkspaceBase

# May be changed; may not, for a moment; lives elsewhere for good.
OPEN, CLOSED, MOVED = "open", "closed", "moved"


class FenceRow(WorkspaceBase):
    """Looked at by triggers that a move puts on every table, in the transaction of each change of the workspace."""

    __tablename__ = "shard_fence"
    __table_args__ = (CheckConstraint("state IN ('open', 'closed', 'moved')", name="state"),)

    state: Mapped[str] = mapped_column(String(16))
    # When a closed fence is open again by itself, by the clock of the database, should its move have died; None: never.
    until: Mapped[datetime | None]
