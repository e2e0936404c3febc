"""The problem of a workspace that has all it may have."""

from courtyard.kernel.errors import Conflict


class QuotaExceeded(Conflict):
    """The workspace has as much of it as it may have: `name`, `limit` and `used` say of what, and how much.

    Not a question of rights: when something is given up, the same request succeeds.
    """

    code = "quota_exceeded"
    title = "The workspace has as much of this as it may have"
