"""The rules of a conversation: what may happen in which state, and what becomes of it. No I/O."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from courtyard.applications.chat.errors import (
    ConversationClosed,
    ConversationFull,
    ConversationNotClaimed,
    NotInConversation,
    Outranked,
)
from courtyard.applications.chat.permissions import SUPERVISOR
from courtyard.applications.chat.schemas import Case, OpeningHours, PersonRole, Talk
from courtyard.kernel.calendar import Calendar, Hours

# Who stands above whom. A role that a workspace has made itself counts by what it permits.
_RANKS = {"owner": 4, "administrator": 3, SUPERVISOR: 2}
VOLUNTEER_RANK = 1


def rank(roles: Collection[str], permissions: Collection[str]) -> int:
    """Return how high somebody stands: 0 who does not answer visitors, and 1 to 4 as volunteer up to owner."""
    if "chat.conversation.claim" not in permissions:
        return 0
    by_permission = 2 if "chat.conversation.supervise" in permissions else VOLUNTEER_RANK
    return max(by_permission, *(_RANKS.get(role, 0) for role in roles), 0)


def role_of(standing: int) -> PersonRole | None:
    """Return what visitors are told of a rank; nothing of who does not answer them any more."""
    names: list[PersonRole | None] = [None, "volunteer", "supervisor", "administrator", "administrator"]
    return names[standing]


def ensure_open(conversation: Talk) -> None:
    """Go on only while the conversation lasts.

    Raises:
        ConversationClosed: it has ended.
    """
    if conversation.state == "closed":
        raise ConversationClosed


def ensure_active(conversation: Talk) -> None:
    """Go on only where staff is in the conversation.

    Raises:
        ConversationClosed: it has ended.
        ConversationNotClaimed: nobody is in it.
    """
    ensure_open(conversation)
    if not conversation.staff_ids:
        raise ConversationNotClaimed


def ensure_in(conversation: Talk, account_id: UUID) -> None:
    """Go on only where somebody of the staff is in the conversation, which lasts.

    Raises:
        ConversationClosed: it has ended.
        ConversationNotClaimed: nobody is in it.
        NotInConversation: others are in it.
    """
    ensure_active(conversation)
    if account_id not in conversation.staff_ids:
        raise NotInConversation


def ensure_was_in(conversation: Talk, account_id: UUID) -> None:
    """Go on only where somebody of the staff is in the conversation, or was at its end.

    Raises:
        NotInConversation: they are not.
    """
    if account_id not in conversation.staff_ids:
        raise NotInConversation


def ensure_may_write(conversation: Talk, author_id: UUID) -> None:
    """Go on only where this account may add a message now: the visitor at once, staff who are in the conversation.

    Raises:
        ConversationClosed: it has ended.
        ConversationNotClaimed: a member of the staff writes before anybody has claimed it.
        NotInConversation: a member of the staff writes where others are.
    """
    ensure_open(conversation)
    if author_id != conversation.visitor_id:
        ensure_in(conversation, author_id)


def ensure_room(staff_ids: Collection[UUID], capacity: int) -> None:
    """Go on only where a conversation can have all of these in it.

    Raises:
        ConversationFull: they are too many.
    """
    if len(staff_ids) > capacity:
        raise ConversationFull(capacity=capacity)


def ensure_not_above(own_rank: int, ranks: Mapping[UUID, int]) -> None:
    """Go on only where nobody of those who are to leave stands above whoever sends them away.

    Raises:
        Outranked: somebody does.
    """
    for account_id, other in ranks.items():
        if other > own_rank:
            raise Outranked(account_id=account_id)


def ensure_above(own_rank: int, ranks: Mapping[UUID, int]) -> None:
    """Go on only where whoever takes a conversation over stands above all who are in it.

    Raises:
        Outranked: somebody stands as high, or higher.
    """
    for account_id, other in ranks.items():
        if other >= own_rank:
            raise Outranked(account_id=account_id)


def with_staff(case: Case, staff_ids: Sequence[UUID], now: datetime) -> Case:
    """Return a conversation that lasts with these of the staff in it. Where nobody is left, the visitor waits."""
    return msgspec.structs.replace(
        case,
        state="active" if staff_ids else "waiting",
        staff_ids=list(staff_ids),
        claimed_at=case.claimed_at or (now if staff_ids else None),
        waiting_since=case.waiting_since if staff_ids else case.waiting_since or now,
        conversation_version=case.conversation_version + 1,
    )


def closed(case: Case, now: datetime) -> Case:
    """Return a conversation after its end: nobody waits any more."""
    return msgspec.structs.replace(
        case, state="closed", closed_at=now, waiting_since=None, conversation_version=case.conversation_version + 1
    )


def opening_hours(calendar: Calendar | None, now: datetime) -> OpeningHours:
    """Return what a calendar says of now; no calendar is always open."""
    if calendar is None:
        return OpeningHours(is_open=True, opens_at=None, closes_at=None)
    hours = Hours(calendar)
    if hours.is_open(now):
        return OpeningHours(is_open=True, opens_at=None, closes_at=hours.next_closed(now))
    return OpeningHours(is_open=False, opens_at=hours.next_open(now), closes_at=None)
