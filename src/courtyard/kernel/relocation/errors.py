"""What an operator is told when a workspace cannot be moved."""

from courtyard.kernel.errors import Conflict, FieldError, InvalidInput
from courtyard.kernel.shards import Fault


class UnfitDatabase(InvalidInput):
    """The database cannot take a workspace. The errors point at parts of its URL."""

    code = "unfit_database"
    title = "The database cannot take a workspace"

    @classmethod
    def of(cls, faults: list[Fault]) -> "UnfitDatabase":
        """Return the problem that names all faults."""
        errors = [FieldError(fault.detail, parameter=fault.field) for fault in faults]
        return cls("; ".join(f"{fault.field}: {fault.detail}" for fault in faults), errors=errors)


class HasRows(Conflict):
    """The workspace has rows where it lives."""

    code = "workspace_has_rows"
    title = "The workspace has rows that have to be moved"


class CannotMove(Conflict):
    """The move cannot go on; nothing that was acknowledged is lost."""

    code = "cannot_move"
    title = "The workspace cannot be moved"
