"""Sending a mail: one row, in the transaction of the change that it tells of."""

from datetime import timedelta
from urllib.parse import quote
from uuid import UUID

import msgspec

from courtyard.kernel.application import Application
from courtyard.kernel.context import Context
from courtyard.kernel.database import INSTALLATION
from courtyard.kernel.http import API
from courtyard.kernel.ids import new_id
from courtyard.kernel.mail import queries, rules
from courtyard.kernel.mail.delivery import Due, deliver
from courtyard.kernel.mail.models import MailRow
from courtyard.kernel.mail.rendering import render
from courtyard.kernel.mail.schemas import Content, Kind, Message
from courtyard.kernel.mail.store import CONTENT_COLUMN
from courtyard.kernel.schema import Email, normalise_email
from courtyard.kernel.tasks import enqueue

HOUR = timedelta(hours=1)
UNWANTED = "not wanted: mails of this kind are turned off"
ENOUGH = "not sent: there were enough of this kind within an hour"


async def send(context: Context, message: Message) -> UUID:
    """Queue a mail to one person; it leaves once the change is committed, and never without it.

    It belongs to the workspace of the context, or to the installation outside of any. One of a kind that the person
    has turned off, or has had enough of for an hour, is not sent; its row says so.

    Returns:
        The id of the mail.

    Raises:
        ValueError: the address is none, or the data are not what the template asks for.
        jinja2.TemplateError: the template is faulty.
    """
    runtime, template = context.runtime, message.template
    # Nobody reads two mailboxes that differ in capitals; what is counted by an address must not either.
    recipient = normalise_email(msgspec.convert(message.to, Email))
    subject = rules.subject_of(recipient, message.account_id)
    part = _part_of(context, template.name)
    in_workspace = context.db.workspace_id != INSTALLATION
    own = await queries.find_words(context, template.name, message.language) if in_workspace else None
    token = stop = None
    if template.kind is not None:
        token = rules.stop_token(runtime.digests, context.db.workspace_id, subject, template.kind.name)
        stop = runtime.settings.link_url.format(purpose="unsubscribe", token=quote(token))
    rendered = render(runtime.settings, part, message, own=own, stop=stop)
    refusal = None if template.kind is None else await _refusal(context, template.kind, subject, recipient)
    mail_id = new_id()
    content = Content(
        rendered.content.text,
        rendered.content.html,
        message.thread,
        None if token is None else f"{runtime.settings.public_url}{API}/mail/unsubscribe?token={quote(token)}",
    )
    last = context.now + timedelta(seconds=runtime.settings.mail.give_up_seconds)
    sent = refusal is None
    await context.db.insert(
        MailRow,
        id=mail_id,
        template=template.name,
        kind=None if template.kind is None else template.kind.name,
        language=message.language,
        recipient=recipient,
        subject=rendered.subject[: MailRow.subject.type.length],
        content=runtime.keys.encrypt(msgspec.json.encode(content), CONTENT_COLUMN, mail_id) if sent else None,
        state="queued" if sent else "suppressed",
        task_id=await enqueue(context, deliver, Due(mail_id)) if sent else None,
        attempts=0,
        answer=refusal,
        created_at=context.now,
        expires_at=min(last, message.expires_at or last),
        settled_at=None if sent else context.now,
    )
    return mail_id


async def _refusal(context: Context, kind: Kind, subject: str, recipient: str) -> str | None:
    """Return why a mail of a kind is not sent; None where it is."""
    if not await queries.is_wanted(context, subject, kind.name):
        return UNWANTED
    if kind.per_hour is not None:
        since = context.now - HOUR
        if await queries.count_sent(context, recipient, kind.name, since) >= kind.per_hour:
            return ENOUGH
    return None


def _part_of(context: Context, name: str) -> Application:
    owner, _, _ = name.partition(".")
    part = next((each for each in context.runtime.parts if each.name == owner), None)
    if part is None:
        raise ValueError(f"no part declares the mail {name}")
    return part
