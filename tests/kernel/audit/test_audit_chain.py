"""The chain: every entry gets its place, and whatever is done to it afterwards is found and named."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from courtyard.kernel.audit import service, store
from courtyard.kernel.audit.rules import Link, Walk
from courtyard.kernel.crypto import Signer
from courtyard.kernel.trail import GENESIS, canonical, chained
from tests.kernel.audit.conftest import RING, Lab

LATER = timedelta(minutes=5)


async def test_every_entry_gets_a_number_without_gaps(lab: Lab) -> None:
    await lab.fill(7)
    assert await lab.seal(limit=3) == 7
    assert await lab.numbers() == [1, 2, 3, 4, 5, 6, 7]
    verified = await lab.verify()
    assert (verified.entries, verified.number, verified.faults) == (7, 7, ())
    assert await lab.seal() == 0
    await lab.fill(2)
    await lab.seal()
    assert await lab.numbers() == [*range(1, 10)]
    assert await lab.told() == []


async def test_a_change_that_is_rolled_back_leaves_nothing(lab: Lab) -> None:
    unit = lab.unit()
    await lab.add_account(unit)
    await unit.rollback()
    assert await lab.entries() == []
    assert await store.waiting(lab.database, lab.workspace_id, 1) != [lab.workspace_id]


async def test_a_long_transaction_is_sealed_when_it_has_committed(lab: Lab) -> None:
    """An entry may be older than others that were sealed before it."""
    if lab.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    slow = lab.unit()
    await lab.add_account(slow, "Slow")
    await slow.write_entries()
    await lab.fill(3)
    assert await lab.seal() == 3
    await slow.commit()
    assert await lab.seal() == 1
    assert await lab.numbers() == [1, 2, 3, 4]
    assert await lab.told() == []


async def test_who_writes_does_not_wait_for_the_sealer(lab: Lab) -> None:
    if lab.database.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    await lab.fill(2)
    sealer = lab.plain_unit()
    await service.seal(sealer, lab.signer, [lab.workspace_id])
    await asyncio.wait_for(lab.fill(2), 5)
    await sealer.commit()
    await lab.seal()
    assert await lab.numbers() == [1, 2, 3, 4]
    assert await lab.told() == []


async def test_two_sealers_at_once_make_one_chain(lab: Lab) -> None:
    async def seal_all() -> None:
        while await lab.seal(limit=7):
            pass

    await lab.fill(60)
    await asyncio.gather(*(seal_all() for _ in range(4)))
    await lab.seal()
    assert await lab.numbers() == [*range(1, 61)]
    assert await lab.told() == []


async def test_a_flipped_byte_is_found(lab: Lab) -> None:
    ids = await lab.fill(5)
    await lab.seal()
    await lab.tamper(
        f"UPDATE audit_entry SET after = replace(after, 'visitor', 'visitos') WHERE id = {lab.literal(ids[2])}"
    )
    (fault,) = (await lab.verify()).faults
    assert (fault.kind, fault.number, fault.entry_id) == ("edited", 3, ids[2])
    assert str(ids[2]) in fault.sentence()


@pytest.mark.parametrize(
    "change",
    [
        "actor_id = NULL",
        "actor_kind = 'system'",
        "name = 'accounts:account:deleted'",
        "object_id = 'other'",
        "after = NULL",
        "before = '{}'",
        "request_id = NULL",
        "address = '10.0.0.1'",
        "origin = 'cli'",
    ],
)
async def test_whatever_is_changed_in_an_entry_is_found(lab: Lab, change: str) -> None:
    ids = await lab.fill(3)
    await lab.seal()
    await lab.tamper(f"UPDATE audit_entry SET {change} WHERE id = {lab.literal(ids[1])}")
    assert await lab.told() == [("edited", 2)]


async def test_a_removed_entry_is_found(lab: Lab) -> None:
    ids = await lab.fill(5)
    await lab.seal()
    await lab.tamper(f"DELETE FROM audit_entry WHERE id = {lab.literal(ids[1])}")
    (fault,) = (await lab.verify()).faults
    assert (fault.kind, fault.number, fault.entry_id) == ("removed", 2, ids[1])


async def test_entries_that_are_removed_with_their_seals_are_found(lab: Lab) -> None:
    ids = await lab.fill(6)
    await lab.seal()
    gone = ", ".join(lab.literal(one) for one in ids[1:3])
    await lab.tamper(
        f"DELETE FROM audit_entry WHERE id IN ({gone})", f"DELETE FROM audit_seal WHERE entry_id IN ({gone})"
    )
    (fault,) = (await lab.verify()).faults
    assert (fault.kind, fault.number, fault.until) == ("removed", 2, 3)


async def test_a_cut_tail_is_found(lab: Lab) -> None:
    ids = await lab.fill(5)
    await lab.seal()
    gone = ", ".join(lab.literal(one) for one in ids[3:])
    await lab.tamper(
        f"DELETE FROM audit_entry WHERE id IN ({gone})", f"DELETE FROM audit_seal WHERE entry_id IN ({gone})"
    )
    (fault,) = (await lab.verify()).faults
    assert (fault.kind, fault.number, fault.until) == ("cut", 4, 5)


async def test_a_cut_tail_is_found_though_the_head_was_moved_back(lab: Lab) -> None:
    ids = await lab.fill(5)
    await lab.seal()
    gone = lab.literal(ids[4])
    await lab.tamper(
        f"DELETE FROM audit_entry WHERE id = {gone}",
        f"DELETE FROM audit_seal WHERE entry_id = {gone}",
        "UPDATE audit_chain SET number = 4, digest = "
        "(SELECT digest FROM audit_seal WHERE workspace_id = :workspace AND number = 4) "
        "WHERE workspace_id = :workspace",
    )
    assert await lab.told() == [("head_forged", None)]


async def test_a_chain_that_was_made_anew_is_found(lab: Lab) -> None:
    """Whoever writes other entries and other seals still cannot sign the head."""
    ids = await lab.fill(3)
    await lab.seal()
    head = await lab.head()
    await lab.tamper(f"UPDATE audit_entry SET actor_kind = 'system' WHERE id = {lab.literal(ids[1])}")
    rows = await store.links(lab.database, lab.workspace_id, 0, 3, 10)
    digest, statements = GENESIS, []
    for number, _, _, *fields in rows:
        digest = chained(digest, canonical(number, fields))
        statements.append(
            f"UPDATE audit_seal SET digest = '{digest}' WHERE workspace_id = :workspace AND number = {number}"
        )
    await lab.tamper(*statements, f"UPDATE audit_chain SET digest = '{digest}' WHERE workspace_id = :workspace")
    assert await lab.told() == [("head_forged", None)]
    assert (await lab.head()).mac == head.mac


async def test_a_removed_head_is_found_and_nothing_is_built_on_it(lab: Lab) -> None:
    await lab.fill(3)
    await lab.seal()
    await lab.tamper("DELETE FROM audit_chain WHERE workspace_id = :workspace")
    assert await lab.told() == [("head_missing", None)]
    await lab.fill(1)
    assert await lab.seal() == 0


async def test_nothing_is_sealed_behind_a_forged_head(lab: Lab) -> None:
    await lab.fill(3)
    await lab.seal()
    await lab.tamper("UPDATE audit_chain SET number = 2 WHERE workspace_id = :workspace")
    await lab.fill(1)
    unit = lab.plain_unit()
    sealed = await service.seal(unit, lab.signer, [lab.workspace_id])
    await unit.rollback()
    assert sealed == service.Sealed(0, (lab.workspace_id,))


SWAPS = {
    "seals exchange their entries": (
        "UPDATE audit_seal SET entry_id = {spare} WHERE workspace_id = :workspace AND number = {a}",
        "UPDATE audit_seal SET entry_id = {id_a} WHERE workspace_id = :workspace AND number = {b}",
        "UPDATE audit_seal SET entry_id = {id_b} WHERE workspace_id = :workspace AND number = {a}",
    ),
    "seals exchange their numbers": (
        "UPDATE audit_seal SET number = 0 WHERE workspace_id = :workspace AND number = {a}",
        "UPDATE audit_seal SET number = {a} WHERE workspace_id = :workspace AND number = {b}",
        "UPDATE audit_seal SET number = {b} WHERE workspace_id = :workspace AND number = 0",
    ),
    "entries exchange their ids": (
        "UPDATE audit_entry SET id = {spare} WHERE workspace_id = :workspace AND id = {id_a}",
        "UPDATE audit_entry SET id = {id_a} WHERE workspace_id = :workspace AND id = {id_b}",
        "UPDATE audit_entry SET id = {id_b} WHERE workspace_id = :workspace AND id = {spare}",
    ),
}


@pytest.mark.parametrize("how", SWAPS)
@pytest.mark.parametrize(("a", "b"), [(2, 3), (2, 5), (1, 6)])
async def test_two_swapped_rows_are_found(lab: Lab, how: str, a: int, b: int) -> None:
    ids = await lab.fill(6)
    await lab.seal()
    names = {
        "a": a,
        "b": b,
        "id_a": lab.literal(ids[a - 1]),
        "id_b": lab.literal(ids[b - 1]),
        "spare": lab.literal(uuid4()),
    }
    await lab.tamper(*(statement.format(**names) for statement in SWAPS[how]))
    assert await lab.told() == [("reordered", a), ("reordered", b)]


@pytest.mark.parametrize("number", [1, 3, 5])
async def test_a_changed_seal_is_not_taken_for_a_changed_entry(lab: Lab, number: int) -> None:
    await lab.fill(5)
    await lab.seal()
    await lab.tamper(
        f"UPDATE audit_seal SET digest = '{'ab' * 32}' WHERE workspace_id = :workspace AND number = {number}"
    )
    assert await lab.told() == [("seal_edited", number)]


async def test_an_entry_that_nobody_seals_is_found(lab: Lab) -> None:
    ids = await lab.fill(2)
    await lab.seal()
    (left,) = set(await lab.fill(1)) - set(ids)
    assert await lab.told() == []
    await lab.tamper("DELETE FROM audit_pending WHERE workspace_id = :workspace")
    await lab.seal()
    (fault,) = (await lab.verify(now=datetime.now(UTC) + LATER)).faults
    assert (fault.kind, fault.entry_id) == ("unsealed", left)


REFUSED = [
    "UPDATE audit_entry SET actor_kind = 'system' WHERE workspace_id = :workspace",
    "DELETE FROM audit_entry WHERE workspace_id = :workspace",
    "UPDATE audit_seal SET number = number + 100 WHERE workspace_id = :workspace",
    "DELETE FROM audit_seal WHERE workspace_id = :workspace",
]


@pytest.mark.parametrize("statement", [*REFUSED, "TRUNCATE audit_entry", "TRUNCATE audit_seal"])
async def test_the_database_refuses_to_change_or_remove_entries(lab: Lab, statement: str) -> None:
    if statement.startswith("TRUNCATE") and lab.database.is_sqlite:
        pytest.skip("SQLite has no TRUNCATE")
    await lab.fill(2)
    await lab.seal()
    await lab.fill(1)
    connection = await lab.database.writers.acquire()
    try:
        with pytest.raises(Exception, match="append-only"):
            await connection.execute(statement.replace(":workspace", lab.literal(lab.workspace_id)), ())
    finally:
        lab.database.writers.release(connection)
    assert len(await lab.entries()) == 3


async def test_what_is_too_old_is_removed_and_the_rest_still_verifies(lab: Lab) -> None:
    now = datetime.now(UTC)
    await lab.fill(4, clock=lambda: now - timedelta(days=40))
    await lab.fill(3)
    await lab.seal()
    # Not sealed yet, so not removed however old it is.
    await lab.fill(1, clock=lambda: now - timedelta(days=50))
    unit = lab.plain_unit()
    count = await service.prune(unit, lab.database, lab.signer, lab.workspace_id, now - timedelta(days=30))
    await unit.commit()
    assert count == 4
    assert await lab.numbers() == [5, 6, 7]
    assert len(await lab.entries()) == 4
    assert await lab.told() == [("unsealed", None)]
    await lab.seal()
    assert await lab.numbers() == [5, 6, 7, 8]
    assert await lab.told() == []
    # The base is signed too.
    await lab.tamper("UPDATE audit_chain SET base_number = 5, base_digest = digest WHERE workspace_id = :workspace")
    assert ("head_forged", None) in await lab.told()


async def test_what_does_not_verify_is_not_removed(lab: Lab) -> None:
    now = datetime.now(UTC)
    ids = await lab.fill(4, clock=lambda: now - timedelta(days=40))
    await lab.seal()
    await lab.tamper(f"UPDATE audit_entry SET actor_kind = 'system' WHERE id = {lab.literal(ids[1])}")
    unit = lab.plain_unit()
    assert await service.prune(unit, lab.database, lab.signer, lab.workspace_id, now) is None
    await unit.rollback()
    assert len(await lab.entries()) == 4


async def test_a_new_key_takes_over_from_an_old_one(lab: Lab) -> None:
    await lab.fill(2)
    await lab.seal()
    new = ("second", bytes(range(32)))
    both, only_new = Signer((new, *RING)), Signer((new,))
    assert (await lab.verify(both)).faults == ()
    assert [fault.kind for fault in (await lab.verify(only_new)).faults] == ["head_forged"]
    unit = lab.plain_unit()
    assert await service.renew_heads(unit, both, [await lab.head()]) == 1
    await unit.commit()
    assert (await lab.verify(only_new)).faults == ()
    unit = lab.plain_unit()
    assert await service.renew_heads(unit, both, [await lab.head()]) == 0
    await unit.rollback()


async def test_every_workspace_of_a_database_is_looked_at(lab: Lab) -> None:
    other = Lab(lab.database)
    await lab.fill(1)
    await other.fill(1)
    await lab.seal()
    await other.seal()
    seen = [chain.workspace_id async for chain in service.verify(lab.database, lab.signer, datetime.now(UTC))]
    assert {lab.workspace_id, other.workspace_id} <= set(seen)
    assert seen == sorted(set(seen))
    alone = service.verify(lab.database, lab.signer, datetime.now(UTC), lab.workspace_id)
    assert [chain.workspace_id async for chain in alone] == [lab.workspace_id]


# ------------------------------------------------------------------------------------------- the rules alone


def chain_of(count: int) -> list[Link]:
    links, digest = [], GENESIS
    for number in range(1, count + 1):
        entry_id = uuid4()
        fields = [uuid4(), entry_id, f"entry {number}"]
        digest = chained(digest, canonical(number, fields))
        links.append(Link(number, entry_id, digest, fields))
    return links


def faults_of(links: list[Link], number: int, digest: str) -> list[tuple[str, int | None]]:
    walk = Walk(0, GENESIS)
    for link in links:
        walk.follow(link)
    return [(fault.kind, fault.number) for fault in walk.faults(number, digest)]


@settings(deadline=None)
@given(st.integers(0, 20))
def test_a_chain_that_is_as_it_was_has_no_fault(count: int) -> None:
    links = chain_of(count)
    digest = links[-1].digest if links else GENESIS
    assert faults_of(links, count, digest) == []


@settings(deadline=None)
@given(st.integers(1, 12).flatmap(lambda count: st.tuples(st.just(count), st.sets(st.integers(1, count)))))
def test_exactly_what_was_edited_is_named(given_: tuple[int, set[int]]) -> None:
    count, edited = given_
    links = chain_of(count)
    digest = links[-1].digest
    changed = [
        link._replace(fields=[*(link.fields or ())[:2], "forged"]) if link.number in edited else link for link in links
    ]
    assert faults_of(changed, count, digest) == [("edited", number) for number in sorted(edited)]


@settings(deadline=None)
@given(st.integers(2, 12).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count - 1))))
def test_what_is_gone_is_named(given_: tuple[int, int]) -> None:
    count, gone = given_
    links = chain_of(count)
    digest = links[-1].digest
    left = [link for link in links if link.number != gone]
    assert faults_of(left, count, digest) == [("removed", gone)]


def test_so_many_faults_are_not_looked_for_to_the_end() -> None:
    walk = Walk(0, GENESIS)
    links: list[Any] = chain_of(1_200)
    followed = 0
    for link in links:
        if walk.full:
            break
        walk.follow(link._replace(fields=[UUID(int=1), UUID(int=2), "forged"]))
        followed += 1
    assert followed == 1_000
