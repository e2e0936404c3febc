"""Socket events and topics of the chat: the same services as over HTTP."""

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

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
from courtyard.applications.chat.schemas import (
    CONVERSATION_TOPIC,
    MAX_CAPACITY,
    PERSON_TOPIC,
    QUEUE_TOPIC,
    Case,
    Conversation,
    HandOver,
    Message,
    NewConversation,
    NewFlag,
    NewMessage,
    NoteText,
    Seen,
    Severity,
    Subject,
)
from courtyard.applications.chat.service import cases, conversations, staffing
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.errors import NotFound
from courtyard.kernel.events import Topic
from courtyard.kernel.realtime import SocketInput, on
from courtyard.kernel.schema import Text


class OpenConversation(SocketInput, kw_only=True, frozen=True):
    """A conversation to be opened, with its first message if there is one."""

    subject: Subject | UnsetType = UNSET
    message: NewMessage | UnsetType = UNSET


class NamedConversation(SocketInput, kw_only=True, frozen=True):
    """Says which conversation is meant."""

    conversation_id: UUID


class SendMessage(NamedConversation, kw_only=True, frozen=True):
    """A message to be sent."""

    text: Text
    client_message_id: UUID | UnsetType = UNSET


class NamedColleague(NamedConversation, kw_only=True, frozen=True):
    """Says which conversation and who of the staff is meant."""

    account_id: UUID


class ReplaceStaff(NamedConversation, kw_only=True, frozen=True):
    """Who is to be in a conversation."""

    account_ids: Annotated[list[UUID], Meta(min_length=1, max_length=MAX_CAPACITY)]


class HandOverConversation(NamedColleague, kw_only=True, frozen=True):
    """To whom of the staff a conversation is handed over, with a note for them."""

    note: NoteText | UnsetType = UNSET


class FlagConversation(NamedConversation, kw_only=True, frozen=True):
    """Asks supervisors to look at a conversation."""

    severity: Severity
    reason: NoteText | UnsetType = UNSET


class SeeMessages(NamedConversation, kw_only=True, frozen=True):
    """Says how far somebody has read."""

    number: Annotated[int, Meta(ge=1, le=2**53)]


NOT_IN_IT = [ConversationClosed, ConversationNotClaimed, NotInConversation]


@on("chat.conversation.open", permission="chat.conversation.open", problems=[ConversationOpen])
async def open_conversation(context: Context, data: OpenConversation) -> Conversation:
    """Open a conversation as a visitor, who has one at a time."""
    return await conversations.open_conversation(context, NewConversation(subject=data.subject, message=data.message))


@on(
    "chat.conversation.claim",
    permission="chat.conversation.claim",
    problems=[ConversationClaimed, ConversationClosed],
)
async def claim_conversation(context: Context, data: NamedConversation) -> Conversation:
    """Take a waiting conversation."""
    return await staffing.claim_conversation(context, data.conversation_id)


@on(
    "chat.conversation.join",
    permission="chat.conversation.claim",
    problems=[ConversationClosed, ConversationFull, ConversationNotClaimed],
)
async def join_conversation(context: Context, data: NamedConversation) -> Conversation:
    """Come into a conversation that others are in."""
    return await staffing.join_conversation(context, data.conversation_id)


@on("chat.conversation.leave", permission="chat.conversation.handle", problems=NOT_IN_IT)
async def leave_conversation(context: Context, data: NamedConversation) -> Conversation:
    """Go out of a conversation; where nobody is left, it waits for somebody else."""
    return await staffing.leave_conversation(context, data.conversation_id)


@on(
    "chat.staff.add",
    permission="chat.conversation.supervise",
    problems=[ConversationClosed, ConversationFull, NotStaff],
)
async def add_staff(context: Context, data: NamedColleague) -> Conversation:
    """Bring somebody of the staff into a conversation."""
    return await staffing.add_staff(context, data.conversation_id, data.account_id)


@on(
    "chat.staff.remove",
    permission="chat.conversation.supervise",
    problems=[ConversationClosed, Outranked],
)
async def remove_staff(context: Context, data: NamedColleague) -> Conversation:
    """Send somebody of the staff out of a conversation."""
    return await staffing.remove_staff(context, data.conversation_id, data.account_id)


@on(
    "chat.staff.replace",
    permission="chat.conversation.supervise",
    problems=[ConversationClosed, ConversationFull, NotStaff, Outranked],
)
async def replace_staff(context: Context, data: ReplaceStaff) -> Conversation:
    """Decide who of the staff is in a conversation."""
    return await staffing.replace_staff(context, data.conversation_id, data.account_ids)


@on(
    "chat.conversation.take_over",
    permission="chat.conversation.supervise",
    problems=[ConversationClosed, ConversationNotClaimed, Outranked],
)
async def take_over(context: Context, data: NamedConversation) -> Conversation:
    """Be the only one of the staff in a conversation, in place of those who stand below."""
    return await staffing.take_over(context, data.conversation_id)


@on(
    "chat.conversation.hand_over",
    permission="chat.conversation.handle",
    problems=[*NOT_IN_IT, NotStaff],
)
async def hand_over(context: Context, data: HandOverConversation) -> Conversation:
    """Leave a conversation to somebody else of the staff."""
    to = HandOver(account_id=data.account_id, note=data.note)
    return await staffing.hand_over(context, data.conversation_id, to)


@on("chat.conversation.close", permission="chat.conversation.close")
async def close_conversation(context: Context, data: NamedConversation) -> Conversation:
    """End a conversation."""
    return await conversations.close_conversation(context, data.conversation_id)


@on("chat.conversation.reopen", permission="chat.conversation.close", problems=[ConversationOpen])
async def reopen_conversation(context: Context, data: NamedConversation) -> Conversation:
    """Go on with a conversation that has ended."""
    return await conversations.reopen_conversation(context, data.conversation_id)


@on(
    "chat.conversation.flag",
    permission="chat.conversation.handle",
    problems=[ConversationClosed, NotInConversation],
)
async def flag_conversation(context: Context, data: FlagConversation) -> Case:
    """Ask supervisors to look at a conversation."""
    return await cases.flag(context, data.conversation_id, NewFlag(severity=data.severity, reason=data.reason))


@on("chat.conversation.unflag", permission="chat.conversation.supervise")
async def unflag_conversation(context: Context, data: NamedConversation) -> Case:
    """Say that a flagged conversation has been looked at."""
    return await cases.unflag(context, data.conversation_id)


@on("chat.conversation.handled", permission="chat.conversation.handle", problems=NOT_IN_IT)
async def mark_handled(context: Context, data: NamedConversation) -> Case:
    """Say that the visitor waits for no answer."""
    return await cases.mark_handled(context, data.conversation_id)


@on("chat.message.send", permission="chat.message.send", problems=NOT_IN_IT)
async def send_message(context: Context, data: SendMessage) -> Message:
    """Write in a conversation."""
    new = NewMessage(text=data.text, client_message_id=data.client_message_id)
    return await conversations.send_message(context, data.conversation_id, new)


@on("chat.message.see", permission="chat.conversation.read", problems=[NothingToSee])
async def see_messages(context: Context, data: SeeMessages) -> Seen:
    """Say how far one has read. It never goes back."""
    return await cases.see(context, data.conversation_id, data.number)


async def _may_hear_conversation(context: ReadContext, conversation_id: UUID | None) -> None:
    if conversation_id is not None:
        await queries.get_conversation(context, conversation_id)


async def _may_hear_queue(context: ReadContext, _: UUID | None) -> None:
    context.require("chat.queue.read")


async def _may_hear_person(context: ReadContext, account_id: UUID | None) -> None:
    if account_id != context.account_id:
        raise NotFound


SOCKETS = (
    open_conversation,
    claim_conversation,
    join_conversation,
    leave_conversation,
    add_staff,
    remove_staff,
    replace_staff,
    take_over,
    hand_over,
    close_conversation,
    reopen_conversation,
    flag_conversation,
    unflag_conversation,
    mark_handled,
    send_message,
    see_messages,
)

TOPICS = (
    Topic(
        kind=CONVERSATION_TOPIC,
        description="Everything that happens in a conversation.",
        permission="chat.conversation.read",
        authorise=_may_hear_conversation,
        has_id=True,
        presence=True,
    ),
    Topic(
        kind=QUEUE_TOPIC,
        description="What staff see of every conversation, and their notes.",
        permission="chat.queue.read",
        authorise=_may_hear_queue,
        presence=True,
    ),
    Topic(
        kind=PERSON_TOPIC,
        description="What concerns nobody but the account itself: bookmarks, and how far it has read.",
        permission="chat.conversation.open",
        authorise=_may_hear_person,
        has_id=True,
    ),
)
