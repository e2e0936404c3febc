"""Why a backup cannot be made, read or restored."""

from courtyard.kernel.errors import Conflict


class BackupRefused(Conflict):
    """The archive is not whole, not ours or not for this passphrase; or the place is not free."""

    code = "backup_refused"
    title = "The backup cannot be used"
