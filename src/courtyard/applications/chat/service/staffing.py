"""Who of the staff is in a conversation."""

from collections.abc import Sequence
from uuid import UUID

from msgspec import UNSET

from courtyard.applications.chat import rules
from courtyard.applications.chat.errors import ConversationClaimed, NotStaff
from courtyard.applications.chat.events import ConversationClaimedBy, ConversationStaffed
from courtyard.applications.chat.queries import conversations as queries
from courtyard.applications.chat.schemas import Action, Case, ChatSettings, Conversation, HandOver
from courtyard.applications.chat.service.changes import restaff, write_note
from courtyard.kernel.context import Context
from courtyard.kernel.workspaces import read_settings

CLAIM = "chat.conversation.claim"
HANDLE = "chat.conversation.handle"
SUPERVISE = "chat.conversation.supervise"


async def claim_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """Take a waiting conversation; claiming one that one is in already changes nothing.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationClaimed: somebody else has it.
        ConversationClosed: it has ended.
    """
    case = await _lock(context, conversation_id, CLAIM)
    own_id = context.account_id
    if own_id in case.staff_ids:
        return case.conversation
    if case.staff_ids:
        raise ConversationClaimed(staff_ids=case.staff_ids)
    return await _let_in(context, case, [own_id], [("joined", own_id)], claims=True)


async def join_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """Come into a conversation that others are in; joining again changes nothing.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationNotClaimed: nobody is in it: it is claimed.
        ConversationClosed: it has ended.
        ConversationFull: as many are in it as there may be.
    """
    case = await _lock(context, conversation_id, CLAIM)
    rules.ensure_active(case)
    own_id = context.account_id
    if own_id in case.staff_ids:
        return case.conversation
    return await _let_in(context, case, [*case.staff_ids, own_id], [("joined", own_id)])


async def leave_conversation(context: Context, conversation_id: UUID) -> Conversation:
    """Go out of a conversation; where nobody is left, it waits for somebody else.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationClosed: it has ended.
        ConversationNotClaimed: nobody is in it.
        NotInConversation: others are in it.
    """
    case = await _lock(context, conversation_id, HANDLE)
    own_id = context.account_id
    rules.ensure_in(case, own_id)
    return await _restaff(context, case, _without(case, own_id), [("left", own_id)])


async def add_staff(context: Context, conversation_id: UUID, account_id: UUID) -> Conversation:
    """Bring somebody of the staff into a conversation; whoever is in it stays so.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationClosed: it has ended.
        ConversationFull: as many are in it as there may be.
        NotStaff: the account does not answer visitors.
    """
    case = await _lock(context, conversation_id, SUPERVISE)
    if account_id in case.staff_ids:
        return case.conversation
    await _ensure_staff(context, [account_id])
    return await _let_in(context, case, [*case.staff_ids, account_id], [("added", account_id)])


async def remove_staff(context: Context, conversation_id: UUID, account_id: UUID) -> Conversation:
    """Send somebody out of a conversation; whoever is not in it stays so.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationClosed: it has ended.
        Outranked: they stand above the caller.
    """
    case = await _lock(context, conversation_id, SUPERVISE)
    if account_id not in case.staff_ids:
        return case.conversation
    await _ensure_not_above(context, [account_id])
    return await _restaff(context, case, _without(case, account_id), [("removed", account_id)])


async def replace_staff(context: Context, conversation_id: UUID, account_ids: Sequence[UUID]) -> Conversation:
    """Decide who is in a conversation. Those who are in it already and stay come first.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationClosed: it has ended.
        ConversationFull: they are too many.
        NotStaff: one of the accounts does not answer visitors.
        Outranked: somebody who would leave stands above the caller.
    """
    case = await _lock(context, conversation_id, SUPERVISE)
    wanted = list(dict.fromkeys(account_ids))
    leaving = [account_id for account_id in case.staff_ids if account_id not in wanted]
    coming = [account_id for account_id in wanted if account_id not in case.staff_ids]
    if not leaving and not coming:
        return case.conversation
    await _ensure_staff(context, coming)
    await _ensure_not_above(context, leaving)
    staying = [account_id for account_id in case.staff_ids if account_id in wanted]
    done: list[tuple[Action, UUID]] = [("removed", each) for each in leaving]
    return await _let_in(context, case, [*staying, *coming], [*done, *(("added", each) for each in coming)])


async def take_over(context: Context, conversation_id: UUID) -> Conversation:
    """Be the only one of the staff in a conversation, in place of all who are in it and stand below.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationClosed: it has ended.
        ConversationNotClaimed: nobody is in it: it is claimed.
        Outranked: somebody in it stands as high as the caller.
    """
    case = await _lock(context, conversation_id, SUPERVISE)
    rules.ensure_active(case)
    own_id = context.account_id
    others = _without(case, own_id)
    if not others:
        return case.conversation
    rules.ensure_above(_own_rank(context), await queries.load_ranks(context, others))
    return await _restaff(context, case, [own_id], [("took_over", own_id)])


async def hand_over(context: Context, conversation_id: UUID, to: HandOver) -> Conversation:
    """Leave a conversation to somebody else of the staff, with a note for them.

    Raises:
        NotFound: it does not exist, or the caller may not know of it.
        ConversationClosed: it has ended.
        ConversationNotClaimed: nobody is in it.
        NotInConversation: the caller is not.
        NotStaff: the account does not answer visitors, or is the caller.
    """
    case = await _lock(context, conversation_id, HANDLE)
    own_id = context.account_id
    rules.ensure_in(case, own_id)
    if to.account_id == own_id:
        raise NotStaff(account_id=own_id)
    staff_ids = _without(case, own_id)
    if to.account_id not in staff_ids:
        await _ensure_staff(context, [to.account_id])
        staff_ids.append(to.account_id)
    if to.note is not UNSET:
        await write_note(context, case.id, to.note, "handed_over")
    return await _restaff(context, case, staff_ids, [("handed_over", to.account_id)])


async def _lock(context: Context, conversation_id: UUID, permission: str) -> Case:
    case = await queries.lock_conversation(context, conversation_id)
    context.require(permission, case)
    rules.ensure_open(case)
    return case


async def _let_in(
    context: Context,
    case: Case,
    staff_ids: list[UUID],
    done: Sequence[tuple[Action, UUID]],
    *,
    claims: bool = False,
) -> Conversation:
    rules.ensure_room(staff_ids, (await read_settings(context, ChatSettings)).capacity)
    return await _restaff(context, case, staff_ids, done, claims=claims)


async def _restaff(
    context: Context, case: Case, staff_ids: list[UUID], done: Sequence[tuple[Action, UUID]], *, claims: bool = False
) -> Conversation:
    event = ConversationClaimedBy if claims else ConversationStaffed
    return (await restaff(context, case, staff_ids, event, done)).conversation


async def _ensure_staff(context: Context, account_ids: Sequence[UUID]) -> None:
    for account_id, rank in (await queries.load_ranks(context, account_ids)).items():
        if not rank:
            raise NotStaff(account_id=account_id)


async def _ensure_not_above(context: Context, account_ids: Sequence[UUID]) -> None:
    rules.ensure_not_above(_own_rank(context), await queries.load_ranks(context, account_ids))


def _own_rank(context: Context) -> int:
    access = context.workspace
    return rules.rank(access.roles, access.permissions)


def _without(case: Case, account_id: UUID) -> list[UUID]:
    return [each for each in case.staff_ids if each != account_id]
