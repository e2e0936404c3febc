"""What carries a mail away: files in the outbox, or a mail server.

A transport is chosen by `mail.transport` in the settings. Another one is a class that does what `Transport` says,
passes `tests/kernel/mail/test_transports.py`, and has its name in `transport_of`.
"""

from pathlib import Path

from courtyard.kernel.mail.transports.outbox import FOLDER, Outbox, files, newest_in, read
from courtyard.kernel.mail.transports.smtp import Smtp
from courtyard.kernel.mail.transports.transport import Refused, Transport, Unavailable
from courtyard.kernel.settings import Settings

__all__ = [
    "Outbox",
    "Refused",
    "Smtp",
    "Transport",
    "Unavailable",
    "files",
    "newest_in",
    "outbox_of",
    "read",
    "transport_of",
]


def transport_of(settings: Settings) -> Transport:
    """Return what the settings choose. Nothing is opened yet."""
    if settings.mail.transport == "smtp":
        return Smtp(settings.mail.smtp)
    return Outbox(outbox_of(settings), settings.mail.outbox_files)


def outbox_of(settings: Settings) -> Path:
    """Return the folder of the outbox."""
    return settings.data_path / FOLDER
