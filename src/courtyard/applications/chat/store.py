"""The hottest write: a message, its number, and the event that tells of it, in one statement on PostgreSQL.

A conversation is locked by the statement alone, for as long as the database takes. With a lock that is held over
several round trips, a full room could be told only as many messages as fit between them.
"""

import msgspec
from sqlalchemy import (
    ColumnElement,
    Insert,
    String,
    Uuid,
    bindparam,
    case,
    cast,
    func,
    insert,
    null,
    or_,
    select,
    update,
)

from courtyard.applications.chat.events import MessageSent
from courtyard.applications.chat.models import ConversationRow, MessageRow, ParticipantRow
from courtyard.applications.chat.schemas import Message, conversation_topic
from courtyard.kernel.context import Context
from courtyard.kernel.database import WORKSPACE, Json, Prepared
from courtyard.kernel.events import Envelope, appending, newest
from courtyard.kernel.ids import new_id
from courtyard.kernel.telemetry import current_traceparent

# Stands in a draft where the database will put the number.
UNNUMBERED = -1
_NUMBER = f'"number":{UNNUMBERED}'.encode()

_ID = bindparam("conversation_id", type_=Uuid(), required=True)
_AUTHOR_ID = bindparam("author_id", type_=Uuid(), required=True)
_CLIENT_MESSAGE_ID = bindparam("client_message_id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=MessageRow.created_at.type, required=True)
_WITHIN = (ConversationRow.workspace_id == WORKSPACE, ConversationRow.id == _ID)

_sent_already = (
    select(MessageRow.number)
    .where(
        MessageRow.workspace_id == WORKSPACE,
        MessageRow.conversation_id == _ID,
        MessageRow.author_id == _AUTHOR_ID,
        MessageRow.client_message_id == _CLIENT_MESSAGE_ID,
    )
    .exists()
)
_is_in_it = (
    select(ParticipantRow.account_id)
    .where(
        ParticipantRow.workspace_id == WORKSPACE,
        ParticipantRow.conversation_id == _ID,
        ParticipantRow.account_id == _AUTHOR_ID,
        ParticipantRow.left_at.is_(None),
    )
    .exists()
)
_BY_VISITOR = ConversationRow.visitor_id == _AUTHOR_ID
# The rules of `rules.ensure_may_write` once more: the conversation may have changed since they were asked.
_COUNT = (
    update(ConversationRow)
    .where(*_WITHIN, ConversationRow.state != "closed", or_(_BY_VISITOR, _is_in_it), ~_sent_already)
    .values(
        message_count=ConversationRow.message_count + 1,
        version=ConversationRow.version + 1,
        active_at=_NOW,
        # From the first word that nobody has answered.
        waiting_since=case((_BY_VISITOR, func.coalesce(ConversationRow.waiting_since, _NOW)), else_=null()),
    )
)
_NAMES = ("workspace_id", "conversation_id", "number", "id", "author_id", "text", "client_message_id", "created_at")


def _insert(number: ColumnElement[int]) -> Insert:
    values = select(
        WORKSPACE,
        _ID,
        number,
        bindparam("id", type_=Uuid(), required=True),
        _AUTHOR_ID,
        bindparam("text", type_=MessageRow.text.type, required=True),
        _CLIENT_MESSAGE_ID,
        _NOW,
    )
    return insert(MessageRow).from_select(_NAMES, values)


def _event(number: ColumnElement[int]) -> ColumnElement[str]:
    """The JSON of the event, with the number put in by the database."""
    head, tail = bindparam("head", type_=String(), required=True), bindparam("tail", type_=String(), required=True)
    return head + cast(number, String()) + tail


_counted = _COUNT.returning(ConversationRow.message_count).cte("counted")
_inserted = _insert(_counted.c.message_count).returning(MessageRow.number).cte("inserted")
_told = appending(cast(_event(_inserted.c.number), Json()), _inserted)[0]

_count_now = select(ConversationRow.message_count).where(*_WITHIN).subquery("counted")
_tell = appending(_event(_count_now.c.message_count), _count_now)[1]
_newest_now = newest().subquery("newest")


class _Numbers(msgspec.Struct, frozen=True):
    message: int
    event: int


_SEND = Prepared(
    select(_inserted.c.number.label("message"), _told.c.number.label("event")),
    _Numbers,
    sqlite=(
        _COUNT,
        _insert(_count_now.c.message_count),
        *_tell,
        select(_count_now.c.message_count.label("message"), _newest_now.c.number.label("event")),
    ),
)


async def send(context: Context, draft: Message) -> Message | None:
    """Append a message to its conversation, with its event.

    Args:
        context: of the author.
        draft: the message without its number.

    Returns:
        The message as it was stored; None where the conversation does not take it (any more), or has a message of
        this author under the same `client_message_id`.

    Raises:
        UniqueViolation: the same message is being sent at the same time.
    """
    topic, event_id = conversation_topic(draft.conversation_id), new_id()
    head, _, tail = msgspec.json.encode(MessageSent(draft)).partition(_NUMBER)
    rows = await context.db.conclude(
        _SEND,
        conversation_id=draft.conversation_id,
        id=draft.id,
        author_id=draft.author_id,
        text=draft.text,
        client_message_id=draft.client_message_id,
        head=head.decode() + '"number":',
        tail=tail.decode(),
        topic=topic,
        event_id=event_id,
        event_name=MessageSent.name,
        actor_id=draft.author_id,
        now=context.now,
        traceparent=current_traceparent(),
    )
    if not rows:
        return None
    (numbers,) = rows
    message = msgspec.structs.replace(draft, number=numbers.message)
    data = msgspec.Raw(msgspec.json.encode(MessageSent(message)))
    workspace_id = context.workspace.workspace_id
    context.recorded(
        Envelope(workspace_id, topic, numbers.event, event_id, MessageSent.name, draft.author_id, data, context.now)
    )
    return message
