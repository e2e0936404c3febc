"""Delivery: in every process, of every database, beside the requests.

A commit wakes it at once; what nobody told it of, such as the mails of a process that was killed, it finds in a
sweep. A mail that is taken is leased: if nothing is heard of it until the lease ends, it is taken again, so a mail is
delivered at least once, and a duplicate has the same `Message-ID`.
"""

import asyncio
from datetime import timedelta
from random import SystemRandom
from typing import Final
from uuid import UUID

import msgspec
import structlog

from courtyard.kernel.crypto import CryptoError
from courtyard.kernel.database import Database, DatabaseUnavailable
from courtyard.kernel.events import Background, Signal
from courtyard.kernel.mail import store
from courtyard.kernel.mail.composition import compose
from courtyard.kernel.mail.schemas import Content
from courtyard.kernel.mail.service.sending import CONTENT_COLUMN
from courtyard.kernel.mail.store import Waiting
from courtyard.kernel.mail.transports import Refused, Transport, Unavailable, transport_of
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.telemetry import MAILS, continue_from, current_traceparent

log = structlog.get_logger()

# The first pause before another attempt, doubled each time up to the longest.
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 3_600.0
# How long a stop waits for mails that are under way, so that they are not sent twice.
FAREWELL_SECONDS: Final = 5.0


class Delivery:
    """The delivery of one process.

    Args:
        runtime: the process.
        transport: what carries mails away; what the settings choose unless given.
    """

    def __init__(self, runtime: Runtime, transport: Transport | None = None) -> None:
        settings = runtime.settings.mail
        self._runtime = runtime
        self._settings = settings
        self._transport = transport or transport_of(runtime.settings)
        self._background = Background()
        self._under_way: set[asyncio.Task[None]] = set()
        # Databases that are being looked into, and whether something was told of meanwhile.
        self._looking: dict[Database, bool] = {}
        self._stopped = False
        self._timeout = settings.smtp.timeout_seconds
        self._lease = timedelta(seconds=2 * self._timeout)
        self._random = SystemRandom()

    def start(self) -> None:
        """Begin to deliver, with what was left behind first."""
        self._background.spawn(self.sweep())
        self._background.every(self._settings.sweep_seconds, self.sweep)

    async def stop(self) -> None:
        """Take nothing any more, give what is under way a moment to arrive, and end."""
        self._stopped = True
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=min(FAREWELL_SECONDS, self._timeout))
        await self._background.end()
        await self._transport.close()

    def heard(self, signal: Signal) -> None:
        """Take the signal that mail of a workspace was committed, in this process or in another one."""
        self._background.spawn(self._deliver_of(UUID(bytes=signal.body)))

    async def _deliver_of(self, workspace_id: UUID) -> None:
        await self._look(await self._runtime.placement.database_of(workspace_id))

    async def sweep(self) -> None:
        """Look into every database; one that is away keeps none of the others waiting."""
        for database in self._runtime.placement.databases():
            try:
                await self._look(database)
            except DatabaseUnavailable as error:
                log.warning("mail.sweep_failed", error=error.detail)

    async def _look(self, database: Database) -> None:
        """Take what is due, as far as there is room; when a mail has left, the next one is looked for."""
        if database in self._looking:
            self._looking[database] = True
            return
        try:
            again = True
            while again and not self._stopped and (room := self._settings.concurrency - len(self._under_way)) > 0:
                self._looking[database] = False
                taken = await store.take(database, self._runtime.clock.now(), self._lease, room)
                for mail in taken:
                    task = self._background.task(self._deliver(database, mail))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
                again = self._looking[database] or len(taken) == room
        finally:
            self._looking.pop(database, None)

    async def _deliver(self, database: Database, mail: Waiting) -> None:
        with continue_from(
            current_traceparent(), "mail.deliver", attributes={"courtyard.template": mail.template}
        ) as span:
            state, answer = await self._attempt(mail)
            span.set("courtyard.outcome", state)
        MAILS.labels(state).inc()
        now = self._runtime.clock.now()
        log.info("mail.delivered", mail_id=str(mail.id), template=mail.template, outcome=state, attempt=mail.attempts)
        if state == "postponed":
            next_at = min(now + self._pause(mail.attempts), mail.expires_at)
            await store.postpone(database, mail, answer, next_at)
        else:
            await store.settle(database, mail, "sent" if state == "sent" else "failed", answer, now)
        if len(self._under_way) >= self._settings.concurrency:
            # There was no room for more: this one leaves some.
            self._under_way.discard(asyncio.current_task())
            self._background.spawn(self.sweep())

    async def _attempt(self, mail: Waiting) -> tuple[str, str]:
        """Return what became of a mail, as the metric names it, and in whose words."""
        if self._runtime.clock.now() >= mail.expires_at:
            return "expired", f"given up: {mail.answer or 'too late'}"
        try:
            async with asyncio.timeout(self._timeout):
                content = self._runtime.keys.decrypt(mail.content, CONTENT_COLUMN, mail.id)
                message = compose(self._settings, mail, msgspec.json.decode(content, type=Content))
                return "sent", await self._transport.deliver(message, mail.recipient)
        except Refused as error:
            return "refused", str(error)
        except TimeoutError:
            return "postponed", f"no end after {self._timeout} seconds"
        except (Unavailable, CryptoError) as error:
            # A key that is missing is put back by the operator.
            return "postponed", str(error)
        except Exception as error:
            log.exception("mail.fault", mail_id=str(mail.id))
            return "postponed", f"{type(error).__name__}: {error}"

    def _pause(self, attempts: int) -> timedelta:
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(attempts - 1, 20))
        # Not all at once, when a mail server comes back.
        return timedelta(seconds=self._random.uniform(longest / 2, longest))
