"""Why a backup cannot be made, read or restored."""

from courtyard.kernel.errors import Conflict, Unavailable


class BackupRefused(Conflict):
    """The archive is not whole, not ours or not for this passphrase; or the place is not free."""

    code = "backup_refused"
    title = "The backup cannot be used"


class DumpFailed(Unavailable):
    """A database cannot be copied now."""

    code = "backup_dump_failed"
    title = "A database cannot be copied"
