"""Who may give what to whom, with plain values."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courtyard.kernel.application import Application, Role, declared_roles
from courtyard.kernel.context import Access, Scope
from courtyard.kernel.errors import Forbidden, LastOwner
from courtyard.kernel.workspaces import rules
from courtyard.kernel.workspaces.errors import AboveOwnRights, OwnershipIsWhole, RoleNotForAccount
from courtyard.kernel.workspaces.rules import HeldRole, Meaning, Standing

PERMISSIONS = ["a.thing.read", "a.thing.edit", "a.thing.delete", "b.queue.read", "b.queue.edit"]
SCOPES = [("a.thing", UUID(int=n)) for n in range(1, 4)]
sets = st.frozensets(st.sampled_from(PERMISSIONS))
scopes = st.none() | st.sampled_from(SCOPES)
names = st.sampled_from(["owner", "administrator", "member", "custom.x", "custom.y"])
meanings = st.builds(Meaning, names, sets, st.booleans(), st.booleans())
held = st.lists(st.builds(HeldRole, meanings, scopes), max_size=6)
standings = st.builds(rules.add_up, st.uuids(), held)


def refused(check: Callable[..., None], *arguments: object) -> bool:
    try:
        check(*arguments)
    except (AboveOwnRights, Forbidden):
        return True
    return False


@given(st.uuids(), held)
def test_roles_add_up_to_what_each_gives_where_it_counts(account_id: UUID, roles: list[HeldRole]) -> None:
    standing = rules.add_up(account_id, roles)
    for scope in (None, *SCOPES):
        wanted = frozenset[str]().union(*(each.role.permissions for each in roles if each.scope in {None, scope}))
        assert standing.on(scope) == wanted
    assert standing.roles == {each.role.name for each in roles if each.scope is None}


@given(standings, standings)
def test_nobody_is_below_somebody_who_has_anything_less(own: Standing, other: Standing) -> None:
    if not rules.is_above(own, other):
        for scope in (None, *SCOPES):
            assert other.on(scope) <= own.on(scope)
        assert "owner" not in other.roles or "owner" in own.roles


@given(standings, meanings, scopes)
def test_whatever_is_given_was_had(own: Standing, role: Meaning, scope: Scope | None) -> None:
    if not refused(rules.ensure_may_give, own, role, scope):
        assert role.permissions <= own.on(scope)
        assert role.name != "owner" or "owner" in own.roles


@given(standings, sets, sets, st.lists(standings, max_size=3))
def test_whoever_defines_a_role_has_all_that_is_in_it_before_and_after(
    own: Standing, before: frozenset[str], after: frozenset[str], holders: list[Standing]
) -> None:
    if not refused(rules.ensure_may_define, own, before, after, holders):
        assert before | after <= own.permissions
        assert not any(holder.account_id == own.account_id or rules.is_above(own, holder) for holder in holders)


@given(standings, sets, sets, sets)
def test_a_request_never_uses_more_than_the_account_has_nor_more_than_it_may(
    standing: Standing, allowed: frozenset[str], on_one: frozenset[str], everybody: frozenset[str]
) -> None:
    access = Access(uuid4(), "place", frozenset({"owner"}), allowed, scoped={SCOPES[0]: on_one})
    own = rules.cut_down(standing, access, everybody)
    for scope in (None, *SCOPES):
        assert own.on(scope) <= standing.on(scope) | everybody
        assert own.on(scope) <= access.on(scope)
    assert own.roles <= standing.roles & {"owner"}


def test_on_one_thing_only_what_counts_there_is_compared() -> None:
    mine, theirs = SCOPES[:2]
    own = Standing(uuid4(), scoped={mine: frozenset({"a.thing.read"})})
    other = Standing(uuid4(), scoped={mine: frozenset({"a.thing.read"}), theirs: frozenset({"a.thing.edit"})})
    rules.ensure_not_above_on(own, other, mine)
    with pytest.raises(AboveOwnRights):
        rules.ensure_not_above_on(own, other, theirs)
    with pytest.raises(AboveOwnRights):
        rules.ensure_not_above_on(own, other, None)


@given(st.lists(st.uuids(), max_size=3), st.uuids())
def test_an_owner_always_remains(owners: list[UUID], going: UUID) -> None:
    for one in [*owners, going]:
        try:
            rules.ensure_owner_remains(owners, one)
        except LastOwner:
            assert not set(owners) - {one}
        else:
            assert set(owners) - {one}


@pytest.mark.parametrize(
    ("kind", "role", "allowed"),
    [
        ("person", "owner", True),
        ("person", "member", True),
        ("service", "administrator", True),
        ("service", "owner", False),
        ("visitor", "member", False),
        ("visitor", "owner", False),
        ("", "owner", False),
    ],
)
def test_which_accounts_may_have_which_roles(kind: str, role: str, *, allowed: bool) -> None:
    if allowed:
        rules.ensure_may_have(kind, [role])
    else:
        with pytest.raises(RoleNotForAccount):
            rules.ensure_may_have(kind, [role])


def test_ownership_is_neither_of_a_part_nor_for_a_time() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    rules.ensure_limits_fit("owner", None, None)
    rules.ensure_limits_fit("administrator", SCOPES[0], moment)
    for scope, end in ((SCOPES[0], None), (None, moment)):
        with pytest.raises(OwnershipIsWhole):
            rules.ensure_limits_fit("owner", scope, end)


STAFF = HeldRole(Meaning("chat.volunteer", frozenset(), is_staff=True))
PLAIN = HeldRole(Meaning("member", frozenset()))
FLAGGED = HeldRole(Meaning("custom.x", frozenset(), requires_second_factor=True), SCOPES[0])


@pytest.mark.parametrize(
    ("settings", "held", "required"),
    [
        ({}, [STAFF], False),
        ({}, [PLAIN, FLAGGED], True),
        ({"workspaces": {"require_second_factor": "nobody"}}, [STAFF], False),
        ({"workspaces": {"require_second_factor": "staff"}}, [PLAIN], False),
        ({"workspaces": {"require_second_factor": "staff"}}, [PLAIN, STAFF], True),
        ({"workspaces": {"require_second_factor": "everybody"}}, [], True),
        ({"workspaces": {"require_second_factor": "nonsense"}}, [STAFF], False),
    ],
)
def test_who_has_to_log_in_with_a_second_factor(
    settings: dict[str, Any], held: list[HeldRole], *, required: bool
) -> None:
    assert rules.requires_second_factor(rules.second_factor_for(settings), held) == required


BUILT_IN = {
    "member": Role(description="", permissions=frozenset({"a.thing.read"}), staff=False),
    "everybody": Role(description="", permissions=frozenset(), assignable=False),
}


def test_a_role_of_the_workspaces_own_has_only_permissions_that_there_are() -> None:
    role = rules.custom_role(BUILT_IN, PERMISSIONS, "custom.x", ["a.thing.edit", "gone.thing.read"], second_factor=True)
    assert role == Meaning("custom.x", frozenset({"a.thing.edit"}), is_staff=True, requires_second_factor=True)
    reader = rules.custom_role(BUILT_IN, PERMISSIONS, "custom.y", ["a.thing.read"], second_factor=False)
    assert not reader.is_staff


def test_only_roles_of_members_are_found_among_the_built_in() -> None:
    assert rules.built_in_role(BUILT_IN, "member") == Meaning("member", frozenset({"a.thing.read"}))
    assert rules.built_in_role(BUILT_IN, "everybody") is None
    assert rules.built_in_role(BUILT_IN, "custom.x") is None


def test_no_part_declares_a_role_with_a_name_of_workspaces() -> None:
    part = Application(name="a", description="", roles={"custom.night": Role(description="", permissions=frozenset())})
    with pytest.raises(ValueError, match=r"custom\.night has a name that belongs to workspaces"):
        declared_roles([part])
