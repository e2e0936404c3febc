"""What the staff notes about a conversation, and what each of them keeps for themselves."""

from uuid import UUID

import msgspec
from msgspec import UNSET
from sqlalchemy import BigInteger, Uuid, bindparam, delete
from sqlalchemy.dialects.postgresql import insert as upsert

from courtyard.applications.chat import rules
from courtyard.applications.chat.errors import NothingToSee
from courtyard.applications.chat.events import BookmarkChanged, MessageSeen
from courtyard.applications.chat.models import BookmarkRow, SeenRow
from courtyard.applications.chat.queries import conversations as queries
from courtyard.applications.chat.schemas import Bookmark, Case, NewFlag, NewNote, Note, Seen, Tags, person_topic
from courtyard.applications.chat.service.changes import keep, write_note
from courtyard.applications.chat.service.staffing import HANDLE, SUPERVISE
from courtyard.kernel.context import Context
from courtyard.kernel.database import WORKSPACE, Prepared, UtcDateTime

_ID = bindparam("conversation_id", type_=Uuid(), required=True)
_ACCOUNT_ID = bindparam("account_id", type_=Uuid(), required=True)
_NUMBER = bindparam("number", type_=BigInteger(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
# Of two windows of one person, the one that is behind changes nothing.
_SEE = Prepared(
    upsert(SeenRow)
    .values(workspace_id=WORKSPACE, conversation_id=_ID, account_id=_ACCOUNT_ID, number=_NUMBER, seen_at=_NOW)
    .on_conflict_do_update(
        index_elements=[SeenRow.workspace_id, SeenRow.conversation_id, SeenRow.account_id],
        set_={"number": _NUMBER, "seen_at": _NOW},
        where=SeenRow.number < _NUMBER,
    )
)
_BOOKMARK = Prepared(
    upsert(BookmarkRow)
    .values(workspace_id=WORKSPACE, conversation_id=_ID, account_id=_ACCOUNT_ID, created_at=_NOW)
    .on_conflict_do_nothing()
)
_FORGET = Prepared(
    delete(BookmarkRow).where(
        BookmarkRow.workspace_id == WORKSPACE,
        BookmarkRow.conversation_id == _ID,
        BookmarkRow.account_id == _ACCOUNT_ID,
    )
)


async def flag(context: Context, conversation_id: UUID, new: NewFlag) -> Case:
    """Ask supervisors to look at a conversation. A flag that is there takes the new severity and reason.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationClosed: it has ended.
        NotInConversation: the caller neither is in it nor supervises it.
    """
    case = await _lock(context, conversation_id)
    reason = None if new.reason is UNSET else new.reason
    if (case.flag_severity, case.flag_reason) == (new.severity, reason):
        return case
    await write_note(context, case.id, reason or "", "flagged")
    return await _keep(
        context,
        case,
        flag_severity=new.severity,
        flag_reason=reason,
        flagged_by=context.account_id,
        # Waits since it was flagged first, however often it is flagged anew.
        flagged_at=case.flagged_at or context.now,
    )


async def unflag(context: Context, conversation_id: UUID) -> Case:
    """Say that a flagged conversation has been looked at; also after its end.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
    """
    case = await queries.lock_conversation(context, conversation_id)
    context.require(SUPERVISE, case)
    if case.flag_severity is None:
        return case
    await write_note(context, case.id, "", "unflagged")
    return await _keep(context, case, flag_severity=None, flag_reason=None, flagged_by=None, flagged_at=None)


async def mark_handled(context: Context, conversation_id: UUID) -> Case:
    """Say that the visitor waits for no answer.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationClosed: it has ended.
        ConversationNotClaimed: nobody is in it.
        NotInConversation: the caller neither is in it nor supervises it.
    """
    case = await _lock(context, conversation_id)
    rules.ensure_active(case)
    return case if case.waiting_since is None else await _keep(context, case, waiting_since=None)


async def set_tags(context: Context, conversation_id: UUID, new: Tags) -> Case:
    """Say what a conversation is about; also after its end.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        NotInConversation: the caller neither is in it nor supervises it.
    """
    case = await queries.lock_conversation(context, conversation_id)
    _ensure_handles(context, case)
    tags = list(dict.fromkeys(new.tags))
    return case if case.tags == tags else await _keep(context, case, tags=tags)


async def add_note(context: Context, conversation_id: UUID, new: NewNote) -> Note:
    """Note something that the visitor does not see; also after the end.

    Raises:
        NotFound: the conversation does not exist, or the caller may not know of it.
    """
    conversation = await queries.get_conversation(context, conversation_id)
    context.require("chat.note.read", conversation)
    return await write_note(context, conversation_id, new.text)


async def see(context: Context, conversation_id: UUID, number: int) -> Seen:
    """Note how far the caller has read. It never goes back.

    Raises:
        NotFound: the conversation does not exist, or the caller may not know of it.
        NothingToSee: there is no message of this number.
    """
    conversation = await queries.get_conversation(context.outside(), conversation_id)
    if number > conversation.message_count:
        raise NothingToSee(message_count=conversation.message_count)
    own_id = context.account_id
    seen = Seen(conversation_id, own_id, number)
    if not await context.db.execute(_SEE, **msgspec.structs.asdict(seen), now=context.now):
        (seen,) = (each for each in await queries.list_seen(context, conversation_id) if each.account_id == own_id)
        return seen
    event = MessageSeen(seen)
    # Who looks on without being in it does so unseen.
    if own_id == conversation.visitor_id or own_id in conversation.staff_ids:
        context.record(conversation.topic, event)
    context.record(person_topic(own_id), event)
    return seen


async def set_bookmark(context: Context, conversation_id: UUID, *, is_bookmarked: bool) -> Bookmark:
    """Put a bookmark of the caller into a conversation, or take it out.

    Raises:
        NotFound: the conversation does not exist, or the caller may not know of it.
    """
    context.require("chat.queue.read", await queries.get_conversation(context, conversation_id))
    statement, own_id = _BOOKMARK if is_bookmarked else _FORGET, context.account_id
    values = {"now": context.now} if is_bookmarked else {}
    bookmark = Bookmark(conversation_id, is_bookmarked)
    if await context.db.execute(statement, conversation_id=conversation_id, account_id=own_id, **values):
        context.record(person_topic(own_id), BookmarkChanged(bookmark))
    return bookmark


async def _lock(context: Context, conversation_id: UUID) -> Case:
    case = await queries.lock_conversation(context, conversation_id)
    _ensure_handles(context, case)
    rules.ensure_open(case)
    return case


def _ensure_handles(context: Context, case: Case) -> None:
    if not context.may(SUPERVISE, case):
        context.require(HANDLE, case)
        rules.ensure_was_in(case, context.account_id)


async def _keep(context: Context, case: Case, **changes: object) -> Case:
    # The version is that of the conversation, which is the same for the visitor.
    return await keep(context, msgspec.structs.replace(case, **changes))
