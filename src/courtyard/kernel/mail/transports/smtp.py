"""SMTP (RFC 5321): mail goes to one server, which takes it from there."""

import asyncio
import contextlib
import socket
import ssl
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Final

import aiosmtplib
from aiosmtplib import errors
from typing_extensions import override

from courtyard.kernel.mail.transports.transport import Refused, Transport, Unavailable
from courtyard.kernel.settings_sections import SmtpSettings

# The first code of what will not change (RFC 5321, section 4.2.1).
PERMANENT: Final = 500
FAREWELL_SECONDS: Final = 1.0


class Smtp(Transport):
    """One connection for each mail: it is bounded in time, and a broken one breaks nothing else.

    What the server says for good about a mailbox or a mail is a refusal. What it says about the sender, the login or
    itself is for the operator to mend, so the mail waits.

    Args:
        settings: where the server is.
        trusted: what its certificate is verified with; the authorities that this machine trusts unless given.
    """

    def __init__(self, settings: SmtpSettings, *, trusted: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._trusted = trusted or ssl.create_default_context()

    @override
    async def deliver(self, message: EmailMessage, recipient: str) -> str:
        settings = self._settings
        client = aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.username,
            password=None if settings.password is None else settings.password.get_secret_value(),
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            tls_context=None if settings.security == "none" else self._trusted,
            # The library would ask the name service for it.
            local_hostname=socket.gethostname(),
            timeout=settings.timeout_seconds,
        )
        try:
            await client.connect()
            _, answer = await client.send_message(message, sender=parseaddr(message["From"])[1], recipients=[recipient])
            await _leave(client)
        except errors.SMTPRecipientsRefused as error:
            raise _failure(error.recipients[0]) from error
        except errors.SMTPDataError as error:
            raise _failure(error) from error
        except errors.SMTPNotSupported as error:
            raise Refused(error.message) from error
        except (errors.SMTPException, OSError) as error:
            raise Unavailable(_told(error)) from error
        except ValueError as error:
            raise Refused(f"cannot be written to: {error}") from error
        finally:
            client.close()
        return answer


async def _leave(client: aiosmtplib.SMTP) -> None:
    """Take leave of a server that has taken the mail: whatever it says now, it has it."""
    with contextlib.suppress(errors.SMTPException, OSError):
        async with asyncio.timeout(FAREWELL_SECONDS):
            await client.quit()


def _failure(error: errors.SMTPResponseException) -> Exception:
    told = _told(error)
    return Refused(told) if error.code >= PERMANENT else Unavailable(told)


def _told(error: Exception) -> str:
    if isinstance(error, errors.SMTPResponseException):
        return f"{error.code} {error.message}"
    return f"{type(error).__name__}: {error}"
