"""Failures of the database, told apart by what the caller can do about them."""

from courtyard.kernel.errors import Unavailable


class UniqueViolation(Exception):
    """A unique constraint or primary key refused a row.

    Attributes:
        constraint: its name, the same on both databases.
    """

    def __init__(self, constraint: str) -> None:
        super().__init__(constraint)
        self.constraint = constraint


class DatabaseUnavailable(Unavailable):
    """The database does not answer, has no free connection, or gave up on a lock; nothing has been changed."""

    code = "database_unavailable"
    title = "The database is not available"
