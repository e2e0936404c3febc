"""The queue in one database: which mails wait, who has taken them, and what became of them."""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import Integer, String, Uuid, bindparam, select, update

from courtyard.kernel.database import Database, Prepared, UtcDateTime
from courtyard.kernel.mail.models import MailRow


class Waiting(msgspec.Struct, frozen=True):
    """A mail that this process has taken.

    Attributes:
        attempts: how often it has been taken, this time included: by it, whoever took it too early is told apart.
        answer: the last word of the transport, where it has been tried before.
    """

    workspace_id: UUID
    id: UUID
    template: str
    language: str
    recipient: str
    subject: str
    content: bytes
    attempts: int
    created_at: datetime
    expires_at: datetime
    answer: str | None = None


_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_DUE = MailRow.due_at <= _NOW
_IS_ANY_DUE = Prepared(select(MailRow.id).where(_DUE).limit(1), UUID, across_workspaces=True)
# Read once, whatever the planner does, so that no more rows are locked than are taken.
_due = (
    select(MailRow.workspace_id, MailRow.id)
    .where(_DUE)
    .order_by(MailRow.due_at)
    .limit(bindparam("limit", type_=Integer(), required=True))
    .with_for_update(skip_locked=True)
    .cte("due")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_TAKE = Prepared(
    update(MailRow)
    .where(MailRow.workspace_id == _due.c.workspace_id, MailRow.id == _due.c.id)
    .values(
        state="sending",
        attempts=MailRow.attempts + 1,
        due_at=bindparam("lost_at", type_=UtcDateTime(), required=True),
    )
    .returning(*(getattr(MailRow, name) for name in Waiting.__struct_fields__)),
    Waiting,
    across_workspaces=True,
)
_ONE = (
    MailRow.workspace_id == bindparam("workspace_id", type_=Uuid(), required=True),
    MailRow.id == bindparam("id", type_=Uuid(), required=True),
    MailRow.due_at.is_not(None),
)
_ANSWER = bindparam("answer", type_=String(), required=True)
_SETTLE = Prepared(
    update(MailRow)
    .where(*_ONE)
    .values(
        state=bindparam("new_state", type_=String(), required=True),
        content=None,
        due_at=None,
        settled_at=_NOW,
        answer=_ANSWER,
    )
    .returning(MailRow.id),
    UUID,
)
_POSTPONE = Prepared(
    update(MailRow)
    .where(*_ONE, MailRow.attempts == bindparam("taken", type_=Integer(), required=True))
    .values(state="queued", due_at=bindparam("next_at", type_=UtcDateTime(), required=True), answer=_ANSWER)
    .returning(MailRow.id),
    UUID,
)
_LONGEST_ANSWER = 500


async def take(database: Database, now: datetime, lease: timedelta, limit: int) -> list[Waiting]:
    """Take mails that are due, at most `limit`, and none that another process has.

    Args:
        database: where.
        now: the time.
        lease: after which they are taken for lost, and due again.
        limit: how many.
    """
    # A look costs less than a write, for which SQLite has one place only.
    if not await database.fetch(_IS_ANY_DUE, {"now": now}):
        return []
    return await database.fetch(_TAKE, {"now": now, "lost_at": now + lease, "limit": limit}, writers=True)


async def settle(database: Database, mail: Waiting, state: str, answer: str, now: datetime) -> None:
    """Write down how a mail ended, `sent` or `failed`, and forget what it said.

    Whoever delivered it is believed, also where it was late and somebody else has taken the mail meanwhile.
    """
    values = {"workspace_id": mail.workspace_id, "id": mail.id, "new_state": state, "now": now}
    await database.fetch(_SETTLE, {**values, "answer": answer[:_LONGEST_ANSWER]}, writers=True)


async def postpone(database: Database, mail: Waiting, answer: str, next_at: datetime) -> None:
    """Let a mail wait for another attempt, unless somebody else has taken it meanwhile."""
    values = {"workspace_id": mail.workspace_id, "id": mail.id, "taken": mail.attempts, "next_at": next_at}
    await database.fetch(_POSTPONE, {**values, "answer": answer[:_LONGEST_ANSWER]}, writers=True)
