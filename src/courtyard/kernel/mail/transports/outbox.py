"""The transport that needs nothing: each mail is a file below the data directory."""

import asyncio
import os
from datetime import UTC
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import structlog
from typing_extensions import override

from courtyard.kernel.mail.schemas import OutboxMail
from courtyard.kernel.mail.transports.transport import Transport, Unavailable
from courtyard.kernel.schema import normalise_email

log = structlog.get_logger()

FOLDER: Final = "outbox"
SUFFIX: Final = ".eml"


class Outbox(Transport):
    """Writes `<time>-<id>.eml`, whole or not at all, for this user alone. The names sort by time.

    Args:
        folder: where; it is made at the first mail.
        limit: how many files are kept; the oldest go first.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit

    @override
    async def deliver(self, message: EmailMessage, recipient: str) -> str:
        try:
            path = await asyncio.to_thread(self._write, message)
        except OSError as error:
            raise Unavailable(f"{self._folder}: {error.strerror or error}") from error
        # Not what it says: a link in a log is a login for whoever reads it.
        log.info("mail.in_outbox", file=str(path))
        return path.name

    @override
    async def close(self) -> None:
        pass

    def _write(self, message: EmailMessage) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        moment = parsedate_to_datetime(message["Date"]).astimezone(UTC)
        identifier = str(message["Message-ID"]).strip("<>").partition("@")[0]
        # The same mail has the same name, so a repeated delivery leaves one file.
        path = self._folder / f"{moment:%Y%m%dT%H%M%SZ}-{identifier}{SUFFIX}"
        unfinished = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(message.as_bytes())
                file.flush()
                os.fsync(descriptor)
            unfinished.rename(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        for old in files(self._folder)[: -self._limit]:
            old.unlink(missing_ok=True)
        return path


def files(folder: Path) -> list[Path]:
    """Return the mails of an outbox, the oldest first; none where there is no outbox."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def newest_in(folder: Path, to: str | None, limit: int) -> list[OutboxMail]:
    """Return the newest mails of an outbox, at most `limit`, perhaps only those to an address."""
    found: list[OutboxMail] = []
    for path in reversed(files(folder)):
        if len(found) == limit:
            break
        try:
            message = read(path)
        except FileNotFoundError:
            # The oldest go when there are too many.
            break
        if to is None or str(message["To"]).lower() == normalise_email(to):
            found.append(_shown(path, message))
    return found


def _shown(path: Path, message: EmailMessage) -> OutboxMail:
    text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    return OutboxMail(
        name=path.name,
        to=str(message["To"]),
        subject=str(message["Subject"]),
        template=str(message["X-Courtyard-Template"]),
        text="" if text is None else text.get_content().replace("\r\n", "\n"),
        html="" if html is None else html.get_content().replace("\r\n", "\n"),
    )


def read(path: Path) -> EmailMessage:
    """Return a mail of an outbox."""
    return message_from_bytes(path.read_bytes(), policy=policy.default)
