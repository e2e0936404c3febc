"""The rows of outgoing mail: what there is to deliver, and what became of it."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import Integer, String, Uuid, bindparam, select, tuple_, update

from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import WORKSPACE, Database, Placement, Prepared, UtcDateTime
from courtyard.kernel.mail.models import MailRow

# What the content of a mail is encrypted for, with the id of the mail.
CONTENT_COLUMN = "mail.content"
LONGEST_ANSWER = 500


class Waiting(msgspec.Struct, frozen=True):
    """A mail that is to be delivered.

    Attributes:
        answer: the last word of the transport, where it has been tried before.
    """

    workspace_id: UUID
    id: UUID
    template: str
    language: str
    recipient: str
    subject: str
    content: bytes
    created_at: datetime
    expires_at: datetime
    answer: str | None = None


_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_ANSWER = bindparam("new_answer", type_=String(), required=True)
_THIS = (
    MailRow.workspace_id == WORKSPACE,
    MailRow.id == bindparam("id", type_=Uuid(), required=True),
    MailRow.state == "queued",
)
_FIND = Prepared(select(*(getattr(MailRow, name) for name in Waiting.__struct_fields__)).where(*_THIS), Waiting)
_SETTLE = Prepared(
    update(MailRow)
    .where(*_THIS)
    .values(
        state=bindparam("new_state", type_=String(), required=True),
        content=None,
        settled_at=_NOW,
        attempts=MailRow.attempts + bindparam("tried", type_=Integer(), required=True),
        answer=_ANSWER,
    )
    .returning(MailRow.id),
    UUID,
)
_NOTE = Prepared(
    update(MailRow).where(*_THIS).values(attempts=MailRow.attempts + 1, answer=_ANSWER).returning(MailRow.id), UUID
)
_LEFT = (MailRow.state == "queued", MailRow.expires_at < bindparam("before", type_=UtcDateTime(), required=True))
_some = select(MailRow.workspace_id, MailRow.id).where(*_LEFT).limit(bindparam("limit", type_=Integer(), required=True))
_GIVE_UP = Prepared(
    update(MailRow)
    # The condition stands outside again: what somebody has changed meanwhile is left alone.
    .where(*_LEFT, tuple_(MailRow.workspace_id, MailRow.id).in_(_some))
    .values(state="failed", content=None, settled_at=_NOW, answer=_ANSWER)
    .returning(MailRow.id),
    UUID,
    across_workspaces=True,
)


async def find(context: ReadContext, mail_id: UUID) -> Waiting | None:
    """Return a mail of the workspace that is to be delivered; None where that is over."""
    return await context.db.first(_FIND, id=mail_id)


async def settle(
    placement: Placement, mail: Waiting, state: str, answer: str, now: datetime, *, tried: bool = True
) -> None:
    """Write down how a mail ended, `sent` or `failed`, and forget what it said.

    In a transaction of its own: whoever delivered it is believed, also where it was late and its task has been taken
    by somebody else meanwhile.
    """
    values = {"id": mail.id, "new_state": state, "new_answer": answer[:LONGEST_ANSWER], "now": now, "tried": int(tried)}
    await _write(placement, mail, _SETTLE, values)


async def note(placement: Placement, mail: Waiting, answer: str) -> None:
    """Write down why a mail was not taken, in a transaction of its own: the task that fails by it changes nothing."""
    await _write(placement, mail, _NOTE, {"id": mail.id, "new_answer": answer[:LONGEST_ANSWER]})


async def _write(placement: Placement, mail: Waiting, statement: Prepared[UUID], values: dict[str, object]) -> None:
    database = await placement.database_of(mail.workspace_id)
    await database.fetch(statement, {"workspace_id": mail.workspace_id, **values}, writers=True)


async def give_up(database: Database, before: datetime, answer: str, now: datetime, limit: int) -> int:
    """Note that mails have failed which expired before a time, at most `limit`; return how many."""
    values = {"before": before, "new_answer": answer, "now": now, "limit": limit}
    return len(await database.fetch(_GIVE_UP, values, writers=True))
