"""The table of what workspaces have of their quotas."""

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from courtyard.kernel.database import WorkspaceBase


class QuotaRow(WorkspaceBase):
    """The use of one quota by one workspace, made when it is first asked for.

    Attributes:
        used: how much there is.
        most: how much there may be, by the word of the operator; null for what holds for all workspaces.
    """

    __tablename__ = "quota"
    __table_args__ = (CheckConstraint("used >= 0", name="used"), CheckConstraint("most >= 0", name="most"))

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    used: Mapped[int]
    most: Mapped[int | None]
