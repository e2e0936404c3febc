"""What may happen in which state of a conversation, with plain values."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courtyard.applications.chat import rules
from courtyard.applications.chat.errors import ConversationClosed, ConversationNotClaimed, NotInConversation
from courtyard.applications.chat.permissions import VISITOR
from courtyard.applications.chat.schemas import Conversation

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
VISITOR_ID, VOLUNTEER, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)


def conversation(**changes: Any) -> Conversation:
    values: dict[str, Any] = {
        "id": UUID(int=9),
        "state": "waiting",
        "subject": None,
        "visitor_id": VISITOR_ID,
        "staff_ids": [],
        "message_count": 0,
        "version": 1,
        "created_at": NOW,
        "claimed_at": None,
        "closed_at": None,
    }
    return Conversation(**{**values, **changes})


WAITING = conversation()
ACTIVE = conversation(state="active", staff_ids=[VOLUNTEER], claimed_at=NOW)
CLOSED = conversation(state="closed", staff_ids=[VOLUNTEER], claimed_at=NOW, closed_at=NOW)
# A visitor may leave before anybody has come.
GIVEN_UP = conversation(state="closed", closed_at=NOW)


@pytest.mark.parametrize("lasting", [WAITING, ACTIVE])
def test_a_conversation_lasts_until_it_is_closed(lasting: Conversation) -> None:
    rules.ensure_open(lasting)


@pytest.mark.parametrize("ended", [CLOSED, GIVEN_UP])
def test_a_closed_conversation_is_over(ended: Conversation) -> None:
    with pytest.raises(ConversationClosed):
        rules.ensure_open(ended)
    for author in (VISITOR_ID, VOLUNTEER, OTHER):
        with pytest.raises(ConversationClosed):
            rules.ensure_may_write(ended, author)


def test_the_visitor_may_write_at_once() -> None:
    rules.ensure_may_write(WAITING, VISITOR_ID)
    rules.ensure_may_write(ACTIVE, VISITOR_ID)


def test_staff_may_write_when_they_are_in_it() -> None:
    with pytest.raises(ConversationNotClaimed):
        rules.ensure_may_write(WAITING, VOLUNTEER)
    rules.ensure_may_write(ACTIVE, VOLUNTEER)
    with pytest.raises(NotInConversation):
        rules.ensure_may_write(ACTIVE, OTHER)


SUPERVISES = {"chat.conversation.claim", "chat.conversation.supervise"}


@pytest.mark.parametrize(
    ("roles", "permissions", "expected"),
    [
        ((), (), 0),
        (("owner", "administrator"), (), 0),
        (("chat.volunteer",), {"chat.conversation.claim"}, 1),
        (("custom.helper",), {"chat.conversation.claim"}, 1),
        (("custom.lead",), SUPERVISES, 2),
        (("chat.volunteer", "chat.supervisor"), SUPERVISES, 2),
        (("administrator", "chat.volunteer"), SUPERVISES, 3),
        (("owner",), SUPERVISES, 4),
    ],
)
def test_ranks(roles: tuple[str, ...], permissions: set[str], expected: int) -> None:
    assert rules.rank(roles, permissions) == expected


def test_every_rank_has_a_name_for_visitors() -> None:
    assert [rules.role_of(rank) for rank in range(5)] == [
        None,
        "volunteer",
        "supervisor",
        "administrator",
        "administrator",
    ]


@given(st.uuids())
def test_only_whoever_opened_it_is_its_visitor(account_id: UUID) -> None:
    expected = frozenset({VISITOR}) if account_id == VISITOR_ID else frozenset()
    assert ACTIVE.relations_of(account_id) == expected
    assert ACTIVE.relations_of(VISITOR_ID) == {VISITOR}


def test_the_topic_names_the_conversation() -> None:
    assert ACTIVE.topic == f"chat.conversation:{UUID(int=9)}"
