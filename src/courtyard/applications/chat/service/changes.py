"""How a conversation that was locked is written, and who is told of it."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from sqlalchemy import Uuid, bindparam, update
from sqlalchemy.dialects.postgresql import insert as upsert

from courtyard.applications.chat.events import CaseChanged, ConversationEvent, MessageSent, NoteWritten
from courtyard.applications.chat.models import ConversationRow, MessageRow, NoteRow, ParticipantRow
from courtyard.applications.chat.rules import with_staff
from courtyard.applications.chat.schemas import QUEUE_TOPIC, Action, Case, Message, Note, NoteAction
from courtyard.kernel.context import Context
from courtyard.kernel.database import WORKSPACE, AnyOf, Prepared, UtcDateTime
from courtyard.kernel.ids import new_id

_ID = bindparam("conversation_id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_JOIN = Prepared(
    upsert(ParticipantRow)
    .values(
        workspace_id=WORKSPACE,
        conversation_id=_ID,
        account_id=bindparam("account_id", type_=Uuid(), required=True),
        joined_at=_NOW,
    )
    .on_conflict_do_update(
        index_elements=[ParticipantRow.workspace_id, ParticipantRow.conversation_id, ParticipantRow.account_id],
        set_={"joined_at": _NOW, "left_at": None},
    )
)
_LEAVE = Prepared(
    update(ParticipantRow)
    .where(
        ParticipantRow.workspace_id == WORKSPACE,
        ParticipantRow.conversation_id == _ID,
        AnyOf(ParticipantRow.account_id.expression, "leaving"),
    )
    .values(left_at=_NOW)
)


async def keep(
    context: Context,
    case: Case,
    event: type[ConversationEvent] | None = None,
    done: Sequence[tuple[Action, UUID]] = (),
) -> Case:
    """Write a conversation as it is now, and tell staff of it.

    Args:
        context: of whoever changes it.
        case: how it is now, but for what was done.
        event: what everybody in the conversation is told; None where it does not concern the visitor.
        done: what the caller did to whom, which becomes messages.

    Returns:
        How it was written.
    """
    first = case.message_count + 1
    case = msgspec.structs.replace(case, message_count=case.message_count + len(done), active_at=context.now)
    await context.db.update(
        ConversationRow,
        {"id": case.id},
        state=case.state,
        staff_ids=case.staff_ids,
        staff_count=len(case.staff_ids),
        message_count=case.message_count,
        version=case.conversation_version,
        claimed_at=case.claimed_at,
        closed_at=case.closed_at,
        active_at=case.active_at,
        waiting_since=case.waiting_since,
        tags=case.tags,
        flag_severity=case.flag_severity,
        flag_reason=case.flag_reason,
        flagged_by=case.flagged_by,
        flagged_at=case.flagged_at,
    )
    if event is not None:
        context.record(case.topic, event(case.conversation))
    for number, (action, about_id) in enumerate(done, first):
        message = Message(
            id=new_id(),
            conversation_id=case.id,
            number=number,
            author_id=context.account_id,
            text="",
            action=action,
            about_id=about_id,
            client_message_id=None,
            created_at=context.now,
        )
        await context.db.insert(MessageRow, **msgspec.structs.asdict(message))
        context.record(case.topic, MessageSent(message))
    context.record(QUEUE_TOPIC, CaseChanged(case))
    return case


async def restaff(
    context: Context,
    case: Case,
    staff_ids: Sequence[UUID],
    event: type[ConversationEvent],
    done: Sequence[tuple[Action, UUID]],
) -> Case:
    """Let these of the staff be in a conversation that lasts, and tell everybody in it. Arguments as for `keep`."""
    leaving = [account_id for account_id in case.staff_ids if account_id not in staff_ids]
    if leaving:
        await context.db.execute(_LEAVE, conversation_id=case.id, leaving=leaving, now=context.now)
    for account_id in staff_ids:
        if account_id not in case.staff_ids:
            await context.db.execute(_JOIN, conversation_id=case.id, account_id=account_id, now=context.now)
    return await keep(context, with_staff(case, staff_ids, context.now), event, done)


async def write_note(context: Context, conversation_id: UUID, text: str, action: NoteAction | None = None) -> Note:
    """Note something for the staff alone."""
    note = Note(new_id(), conversation_id, context.account_id, action, text, context.now)
    await context.db.insert(NoteRow, **msgspec.structs.asdict(note))
    context.record(QUEUE_TOPIC, NoteWritten(note))
    return note
