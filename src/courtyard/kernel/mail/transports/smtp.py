"""SMTP (RFC 5321): mail goes to one server, which takes it from there."""

import asyncio
import contextlib
import socket
import ssl
import time
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Final, NamedTuple

import aiosmtplib
from aiosmtplib import errors
from typing_extensions import override

from courtyard.kernel.mail.transports.transport import Refused, Transport, Unavailable
from courtyard.kernel.settings_sections import SmtpSettings

# The first code of what will not change (RFC 5321, section 4.2.1).
PERMANENT: Final = 500
FAREWELL_SECONDS: Final = 1.0
# Connections that are kept, for how long, and for how many mails: many providers end them after a hundred or so.
KEPT: Final = 4
IDLE_SECONDS: Final = 30.0
MAILS_EACH: Final = 100


class _Idle(NamedTuple):
    client: aiosmtplib.SMTP
    mails: int
    since: float


class Smtp(Transport):
    """A few connections are kept for the next mails. Each is used by one mail at a time, and not after any trouble.

    What the server says for good about a mailbox or a mail is a refusal. What it says about the sender, the login or
    itself is for the operator to mend, so the mail waits.

    Args:
        settings: where the server is.
        trusted: what its certificate is verified with; the authorities that this machine trusts unless given.
    """

    def __init__(self, settings: SmtpSettings, *, trusted: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._trusted = trusted or ssl.create_default_context()
        # The one that was used last is the last.
        self._idle: list[_Idle] = []

    @override
    async def deliver(self, message: EmailMessage, recipient: str) -> str:
        client, mails = await self._kept() or (self._client(), 0)
        try:
            if mails == 0:
                await client.connect()
            _, answer = await client.send_message(message, sender=parseaddr(message["From"])[1], recipients=[recipient])
        except errors.SMTPRecipientsRefused as error:
            client.close()
            raise _failure(error.recipients[0]) from error
        except errors.SMTPDataError as error:
            client.close()
            raise _failure(error) from error
        except errors.SMTPNotSupported as error:
            client.close()
            raise Refused(error.message) from error
        except (errors.SMTPException, OSError) as error:
            client.close()
            raise Unavailable(_told(error)) from error
        except ValueError as error:
            client.close()
            raise Refused(f"cannot be written to: {error}") from error
        except BaseException:
            client.close()
            raise
        await self._keep(client, mails + 1)
        return answer

    @override
    async def close(self) -> None:
        kept, self._idle = self._idle, []
        await asyncio.gather(*(_leave(each.client) for each in kept))

    async def _kept(self) -> tuple[aiosmtplib.SMTP, int] | None:
        """Return a connection that is there and how many mails it has carried; None where there is none that lives."""
        while self._idle:
            kept = self._idle.pop()
            if time.monotonic() - kept.since > IDLE_SECONDS:
                kept.client.close()
                continue
            try:
                # Mail servers hang up when they like, and a mail that breaks off may be there twice.
                await kept.client.noop()
            except (errors.SMTPException, OSError):
                kept.client.close()
            except BaseException:
                kept.client.close()
                raise
            else:
                return kept.client, kept.mails
        return None

    async def _keep(self, client: aiosmtplib.SMTP, mails: int) -> None:
        if mails >= MAILS_EACH or len(self._idle) >= KEPT:
            await _leave(client)
        else:
            self._idle.append(_Idle(client, mails, time.monotonic()))

    def _client(self) -> aiosmtplib.SMTP:
        settings = self._settings
        return aiosmtplib.SMTP(
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


async def _leave(client: aiosmtplib.SMTP) -> None:
    """Take leave of a server that has taken the mail: whatever it says now, it has it."""
    with contextlib.suppress(errors.SMTPException, OSError):
        async with asyncio.timeout(FAREWELL_SECONDS):
            await client.quit()
    client.close()


def _failure(error: errors.SMTPResponseException) -> Exception:
    told = _told(error)
    return Refused(told) if error.code >= PERMANENT else Unavailable(told)


def _told(error: Exception) -> str:
    if isinstance(error, errors.SMTPResponseException):
        return f"{error.code} {error.message}"
    return f"{type(error).__name__}: {error}"
