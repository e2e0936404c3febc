"""What is answered for a workspace whose database cannot be used; all others go on."""

from courtyard.kernel.database import DatabaseUnavailable


class ShardAway(DatabaseUnavailable):
    """The database of the workspace does not answer. Nobody waits for it until it is tried again."""


class ShardBehind(DatabaseUnavailable):
    """The database of the workspace is not at the revisions of this code, or not ours."""
