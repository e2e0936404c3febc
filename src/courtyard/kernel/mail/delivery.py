"""Delivery: the task that hands one mail over to what carries it away.

Tried, leased and taken again by the engine of tasks, so a mail is delivered at least once, and a duplicate has the same
`Message-ID`. What the other side says is in the row of the mail; why a try failed is in the task, too.
"""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from courtyard.kernel.context import Context
from courtyard.kernel.crypto import CryptoError
from courtyard.kernel.database import DatabaseUnavailable, passing_over
from courtyard.kernel.errors import Unavailable as MailUnavailable
from courtyard.kernel.mail import store
from courtyard.kernel.mail.composition import compose
from courtyard.kernel.mail.schemas import Content
from courtyard.kernel.mail.store import CONTENT_COLUMN, Waiting
from courtyard.kernel.mail.transports import Refused, Unavailable, transport_of
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.tasks import GiveUp, Nothing, Retry, Schedule, task
from courtyard.kernel.telemetry import MAILS, span

log = structlog.get_logger()

# More often than anybody lets it be tried: a mail ends with its time, not with its tries.
RETRY: Final = Retry(attempts=1_000, first_pause_seconds=5.0, longest_pause_seconds=3_600.0)
# Of one workspace, or of the installation: a mail server that hangs leaves room for other tasks.
AT_ONCE: Final = 8
# Longer than any `mail.smtp.timeout_seconds`, which ends a try before.
LIMIT_SECONDS: Final = 1_200.0
# While a database is away, how long the word of the mail server is held until it can be written down.
HOLD_SECONDS: Final = (0.2, 1.0, 3.0, 10.0)
# Longer than a pause and a try together: nobody is about to deliver what has been useless for so long.
LEFT = timedelta(hours=2)
LOT: Final = 500


class Due(msgspec.Struct, frozen=True):
    """A mail to be delivered, if that has not been done."""

    mail_id: UUID


@task(name="mail.deliver", queue="mail", retry=RETRY, time_limit_seconds=LIMIT_SECONDS, concurrency=AT_ONCE)
async def deliver(context: Context, payload: Due) -> None:
    """Try to deliver a mail once.

    Raises:
        Unavailable: it was not taken now.
        GiveUp: its time is over.
    """
    # Nothing is held while a mail server takes its time.
    mail = await store.find(context.outside(), payload.mail_id)
    if mail is None:
        return
    runtime = context.runtime
    with span("mail.deliver", "client", {"courtyard.template": mail.template}) as delivery:
        outcome, answer = await _attempt(runtime, mail)
        delivery.set("courtyard.outcome", outcome)
    MAILS.labels(outcome).inc()
    log.info("mail.delivered", mail_id=str(mail.id), template=mail.template, outcome=outcome)
    if outcome == "postponed":
        await store.note(runtime.placement, mail, answer)
        raise MailUnavailable(answer)
    await _to_its_end(_settle(runtime, mail, outcome, answer))
    if outcome == "expired":
        raise GiveUp(answer)


async def _attempt(runtime: Runtime, mail: Waiting) -> tuple[str, str]:
    """Return what became of a mail, as the metric names it, and in whose words."""
    if runtime.clock.now() >= mail.expires_at:
        return "expired", f"given up: {mail.answer or 'too late'}"
    settings = runtime.settings.mail
    try:
        async with asyncio.timeout(settings.smtp.timeout_seconds):
            content = runtime.keys.decrypt(mail.content, CONTENT_COLUMN, mail.id)
            message = compose(settings, mail, msgspec.json.decode(content, type=Content))
            return "sent", await runtime.resources.get(transport_of).deliver(message, mail.recipient)
    except Refused as error:
        return "refused", str(error)
    except TimeoutError:
        return "postponed", f"no end after {settings.smtp.timeout_seconds} seconds"
    except (Unavailable, CryptoError) as error:
        # A key that is missing is put back by the operator.
        return "postponed", str(error)
    except Exception as error:
        log.exception("mail.fault", mail_id=str(mail.id))
        return "postponed", f"{type(error).__name__}: {error}"


async def _settle(runtime: Runtime, mail: Waiting, outcome: str, answer: str) -> None:
    state = "sent" if outcome == "sent" else "failed"
    for pause in (*HOLD_SECONDS, None):
        try:
            await store.settle(runtime.placement, mail, state, answer, runtime.clock.now(), tried=outcome != "expired")
        except DatabaseUnavailable:
            if pause is None:
                raise
            await asyncio.sleep(pause)
        else:
            return


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Let the end of a task come behind the note of what the mail server has said."""
    noting = asyncio.ensure_future(work)
    try:
        await asyncio.shield(noting)
    except asyncio.CancelledError:
        await noting
        raise


@task(name="mail.give_up", priority=9, time_limit_seconds=3_600)
async def give_up(context: Context, _payload: Nothing) -> None:
    """Let go of mails whose task was cancelled, or lost with its workers: nothing that they say stays for long."""
    now = context.now
    for database in context.runtime.placement.databases():
        given_up = LOT
        with passing_over(database):
            while given_up == LOT:
                given_up = await store.give_up(database, now - LEFT, "given up: it was not tried any more", now, LOT)
                MAILS.labels("expired").inc(given_up)


TASKS = (deliver, give_up)
SCHEDULES = (Schedule(name="mail.give_up", task=give_up, payload=Nothing(), cron="29 * * * *"),)
