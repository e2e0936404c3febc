"""What is measured of backups."""

from courtyard.kernel.telemetry import counter, gauge

BACKUPS = counter(
    "courtyard_backups_ended", "Backups by schedule that have ended.", outcome=("made", "failed", "not_tidied")
)
NEWEST = gauge(
    "courtyard_backup_newest_timestamp_seconds",
    "When the newest archive was made, as the place of archives says (Unix time); 0 where nobody has looked, or there "
    "is none.",
)
