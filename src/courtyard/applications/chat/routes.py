"""HTTP: conversations, who is in them, what is written in them and what the staff notes about them."""

from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter

from courtyard.applications.chat.errors import (
    ConversationClaimed,
    ConversationClosed,
    ConversationFull,
    ConversationNotClaimed,
    ConversationOpen,
    NothingToSee,
    NotInConversation,
    NotStaff,
    Outranked,
)
from courtyard.applications.chat.queries import conversations as queries
from courtyard.applications.chat.queries import lists, people
from courtyard.applications.chat.schemas import (
    Bookmark,
    Case,
    CaseList,
    CaseListName,
    Conversation,
    ConversationPerson,
    ConversationState,
    HandOver,
    Message,
    NamedStaff,
    NewConversation,
    NewFlag,
    NewMessage,
    NewNote,
    Note,
    OpeningHours,
    Profile,
    ProfilePatch,
    Seen,
    SeenMessage,
    StaffList,
    Tags,
)
from courtyard.applications.chat.service import cases, conversations, staffing
from courtyard.applications.chat.service import people as profiles
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.http import delete, get, patch, post, put

CHAT = "/workspaces/{workspace:str}/chat"
CONVERSATIONS = f"{CHAT}/conversations"
# The framework keeps the name `state` for itself.
InState = Annotated[ConversationState | None, QueryParameter(name="state", description="Only those in this state.")]
InList = Annotated[CaseListName, QueryParameter(name="list", description="Which list.")]
CONVERSATION = CONVERSATIONS + "/{conversation_id:uuid}"
# What may stand in the way of whoever changes something in a conversation as one of its staff.
NOT_IN_IT = [ConversationClosed, ConversationNotClaimed, NotInConversation]


@post(CONVERSATIONS, permission="chat.conversation.open", problems=[ConversationOpen])
async def open_conversation(context: Context, data: NewConversation) -> Conversation:
    """Open a conversation as a visitor, who has one at a time."""
    return await conversations.open_conversation(context, data)


@get(CONVERSATIONS, permission="chat.conversation.open")
async def list_conversations(
    context: ReadContext,
    in_state: InState = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor | None = None,
) -> Page[Conversation]:
    """List conversations, longest waiting first.

    Staff see those of every visitor, a visitor their own, and whoever has a role on single ones those.
    """
    return await queries.list_conversations(context, in_state, limit, cursor)


@get(f"{CHAT}/cases", permission="chat.queue.read")
async def list_cases(
    context: ReadContext,
    in_list: InList = "recent",
    visitor_id: UUID | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor | None = None,
    count: bool = False,  # noqa: FBT001, FBT002 - a query parameter
) -> CaseList:
    """List conversations as staff see them, with what was said last and how much of it is new.

    Those that somebody waits for begin with whoever waits longest, bookmarks with the newest, all others with what was
    active last.
    """
    return await lists.list_cases(context, in_list, visitor_id, limit, cursor, count=count)


@get(CONVERSATION, permission="chat.conversation.read")
async def get_conversation(context: ReadContext, conversation_id: UUID) -> Conversation:
    """See a conversation."""
    return await queries.get_conversation(context, conversation_id)


@get(f"{CONVERSATION}/case", permission="chat.queue.read")
async def get_case(context: ReadContext, conversation_id: UUID) -> Case:
    """See a conversation as staff do: since when the visitor waits, tags, the flag."""
    return await queries.get_case(context, conversation_id)


@get(f"{CONVERSATION}/people", permission="chat.conversation.read")
async def list_people(context: ReadContext, conversation_id: UUID) -> list[ConversationPerson]:
    """See what the visitor and those of the staff are called who are or were in a conversation."""
    return await people.list_people(context, conversation_id)


@get(f"{CHAT}/profile", permission="chat.conversation.claim")
async def get_profile(context: ReadContext) -> Profile:
    """See how one is shown to visitors."""
    return await people.get_profile(context)


@patch(f"{CHAT}/profile", permission="chat.conversation.claim")
async def change_profile(context: Context, data: ProfilePatch) -> Profile:
    """Change how one is shown to visitors."""
    return await profiles.change_profile(context, data)


@post(
    f"{CONVERSATION}/claim",
    permission="chat.conversation.claim",
    problems=[ConversationClaimed, ConversationClosed],
)
async def claim_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """Take a waiting conversation."""
    return await staffing.claim_conversation(context, conversation_id)


@post(
    f"{CONVERSATION}/join",
    permission="chat.conversation.claim",
    problems=[ConversationClosed, ConversationFull, ConversationNotClaimed],
)
async def join_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """Come into a conversation that others are in."""
    return await staffing.join_conversation(context, conversation_id)


@post(f"{CONVERSATION}/leave", permission="chat.conversation.handle", problems=NOT_IN_IT)
async def leave_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """Go out of a conversation; where nobody is left, it waits for somebody else."""
    return await staffing.leave_conversation(context, conversation_id)


@post(
    f"{CONVERSATION}/staff",
    permission="chat.conversation.supervise",
    problems=[ConversationClosed, ConversationFull, NotStaff],
)
async def add_staff(context: Context, conversation_id: UUID, data: NamedStaff) -> Conversation:
    """Bring somebody of the staff into a conversation."""
    return await staffing.add_staff(context, conversation_id, data.account_id)


@put(
    f"{CONVERSATION}/staff",
    permission="chat.conversation.supervise",
    problems=[ConversationClosed, ConversationFull, NotStaff, Outranked],
)
async def replace_staff(context: Context, conversation_id: UUID, data: StaffList) -> Conversation:
    """Decide who of the staff is in a conversation."""
    return await staffing.replace_staff(context, conversation_id, data.account_ids)


@delete(
    CONVERSATION + "/staff/{account_id:uuid}",
    permission="chat.conversation.supervise",
    problems=[ConversationClosed, Outranked],
)
async def remove_staff(context: Context, conversation_id: UUID, account_id: UUID) -> None:
    """Send somebody of the staff out of a conversation."""
    await staffing.remove_staff(context, conversation_id, account_id)


@post(
    f"{CONVERSATION}/take-over",
    permission="chat.conversation.supervise",
    problems=[ConversationClosed, ConversationNotClaimed, Outranked],
)
async def take_over(context: Context, conversation_id: UUID) -> Conversation:
    """Be the only one of the staff in a conversation, in place of those who stand below."""
    return await staffing.take_over(context, conversation_id)


@post(f"{CONVERSATION}/hand-over", permission="chat.conversation.handle", problems=[*NOT_IN_IT, NotStaff])
async def hand_over(context: Context, conversation_id: UUID, data: HandOver) -> Conversation:
    """Leave a conversation to somebody else of the staff."""
    return await staffing.hand_over(context, conversation_id, data)


@post(f"{CONVERSATION}/close", permission="chat.conversation.close")
async def close_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """End a conversation."""
    return await conversations.close_conversation(context, conversation_id)


@post(f"{CONVERSATION}/reopen", permission="chat.conversation.close", problems=[ConversationOpen])
async def reopen_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """Go on with a conversation that has ended."""
    return await conversations.reopen_conversation(context, conversation_id)


@put(
    f"{CONVERSATION}/flag",
    permission="chat.conversation.handle",
    problems=[ConversationClosed, NotInConversation],
)
async def flag_conversation(context: Context, conversation_id: UUID, data: NewFlag) -> Case:
    """Ask supervisors to look at a conversation."""
    return await cases.flag(context, conversation_id, data)


@post(f"{CONVERSATION}/unflag", permission="chat.conversation.supervise")
async def unflag_conversation(context: Context, conversation_id: UUID) -> Case:
    """Say that a flagged conversation has been looked at."""
    return await cases.unflag(context, conversation_id)


@post(f"{CONVERSATION}/handled", permission="chat.conversation.handle", problems=NOT_IN_IT)
async def mark_handled(context: Context, conversation_id: UUID) -> Case:
    """Say that the visitor waits for no answer."""
    return await cases.mark_handled(context, conversation_id)


@put(f"{CONVERSATION}/tags", permission="chat.conversation.handle", problems=[NotInConversation])
async def set_tags(context: Context, conversation_id: UUID, data: Tags) -> Case:
    """Say what a conversation is about."""
    return await cases.set_tags(context, conversation_id, data)


@get(f"{CONVERSATION}/notes", permission="chat.note.read")
async def list_notes(
    context: ReadContext, conversation_id: UUID, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[Note]:
    """List what staff know of a conversation and the visitor does not, the oldest first."""
    return await queries.list_notes(context, conversation_id, limit, cursor)


@post(f"{CONVERSATION}/notes", permission="chat.note.read")
async def add_note(context: Context, conversation_id: UUID, data: NewNote) -> Note:
    """Note something that the visitor does not see."""
    return await cases.add_note(context, conversation_id, data)


@put(f"{CONVERSATION}/bookmark", permission="chat.queue.read")
async def add_bookmark(context: Context, conversation_id: UUID) -> Bookmark:
    """Put a bookmark of one's own into a conversation."""
    return await cases.set_bookmark(context, conversation_id, is_bookmarked=True)


@delete(f"{CONVERSATION}/bookmark", permission="chat.queue.read")
async def remove_bookmark(context: Context, conversation_id: UUID) -> None:
    """Take one's bookmark out of a conversation."""
    await cases.set_bookmark(context, conversation_id, is_bookmarked=False)


@get(f"{CONVERSATION}/seen", permission="chat.conversation.read")
async def list_seen(context: ReadContext, conversation_id: UUID) -> list[Seen]:
    """See how far the caller and those in a conversation have read."""
    return await queries.list_seen(context, conversation_id)


@put(f"{CONVERSATION}/seen", permission="chat.conversation.read", problems=[NothingToSee])
async def see_messages(context: Context, conversation_id: UUID, data: SeenMessage) -> Seen:
    """Say how far one has read. It never goes back."""
    return await cases.see(context, conversation_id, data.number)


@get(f"{CONVERSATION}/messages", permission="chat.conversation.read")
async def list_messages(
    context: ReadContext, conversation_id: UUID, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[Message]:
    """List the messages of a conversation, newest first."""
    return await queries.list_messages(context, conversation_id, limit, cursor)


@post(f"{CONVERSATION}/messages", permission="chat.message.send", problems=NOT_IN_IT)
async def send_message(context: Context, conversation_id: UUID, data: NewMessage) -> Message:
    """Write in a conversation."""
    return await conversations.send_message(context, conversation_id, data)


@get(f"{CHAT}/opening-hours", permission="chat.conversation.open")
async def get_opening_hours(context: ReadContext) -> OpeningHours:
    """See whether somebody is there now, and when that changes.

    Times are in UTC: clients show them on the clock of the visitor.
    """
    return await queries.get_opening_hours(context)


ROUTES = (
    open_conversation,
    list_conversations,
    list_cases,
    get_conversation,
    get_case,
    list_people,
    get_profile,
    change_profile,
    claim_conversation,
    join_conversation,
    leave_conversation,
    add_staff,
    replace_staff,
    remove_staff,
    take_over,
    hand_over,
    close_conversation,
    reopen_conversation,
    flag_conversation,
    unflag_conversation,
    mark_handled,
    set_tags,
    list_notes,
    add_note,
    add_bookmark,
    remove_bookmark,
    list_seen,
    see_messages,
    list_messages,
    send_message,
    get_opening_hours,
)
