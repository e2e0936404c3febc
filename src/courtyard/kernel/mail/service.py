"""Sending a mail: one row, in the transaction of the change that it tells of."""

from datetime import timedelta
from uuid import UUID

import msgspec

from courtyard.kernel.context import Context
from courtyard.kernel.events import Signal
from courtyard.kernel.ids import new_id
from courtyard.kernel.mail.models import MailRow
from courtyard.kernel.mail.rendering import render
from courtyard.kernel.mail.schemas import Message
from courtyard.kernel.schema import Email

MAIL_CHANNEL = "mail"
CONTENT_COLUMN = "mail.content"


async def send(context: Context, message: Message) -> UUID:
    """Queue a mail to one person; it leaves once the change is committed, and never without it.

    It belongs to the workspace of the context, or to the installation outside of any.

    Returns:
        The id of the mail.

    Raises:
        ValueError: the address is none, or the data are not what the template asks for.
        jinja2.TemplateError: the template is faulty.
    """
    runtime = context.runtime
    recipient = msgspec.convert(message.to, Email)
    owner, _, _ = message.template.name.partition(".")
    part = next((each for each in runtime.parts if each.name == owner), None)
    if part is None:
        raise ValueError(f"no part declares the mail {message.template.name}")
    rendered = render(runtime.settings, part, message)
    mail_id = new_id()
    content = msgspec.json.encode(rendered.content)
    last = context.now + timedelta(seconds=runtime.settings.mail.give_up_seconds)
    await context.db.insert(
        MailRow,
        id=mail_id,
        template=message.template.name,
        language=message.language,
        recipient=recipient,
        subject=rendered.subject[: MailRow.subject.type.length],
        content=runtime.keys.encrypt(content, CONTENT_COLUMN, mail_id),
        state="queued",
        attempts=0,
        created_at=context.now,
        due_at=context.now,
        expires_at=min(last, message.expires_at or last),
    )
    workspace_id = context.db.workspace_id
    context.after_commit(lambda: runtime.bus.publish(Signal(MAIL_CHANNEL, "queued", body=workspace_id.bytes)))
    return mail_id
