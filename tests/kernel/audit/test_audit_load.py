"""Many writers at once, sealers beside them, and a chain that holds."""

import asyncio
import random
from uuid import UUID

import pytest
from sqlalchemy import Uuid, bindparam, delete, update

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.database import Prepared
from tests.kernel.audit.conftest import Lab

CHANGES = 10_000
WRITERS = 8
ID = bindparam("id", type_=Uuid(), required=True)
RENAME = Prepared(update(AccountRow).where(AccountRow.id == ID).values(version=AccountRow.version + 1))
REMOVE = Prepared(delete(AccountRow).where(AccountRow.id == ID))


async def write(lab: Lab, changes: int) -> int:
    """Create, update and delete in no particular order, in transactions of one to four changes; count what stays."""
    own: list[UUID] = []
    committed, unit, in_unit = 0, lab.unit(), 0
    for _ in range(changes):
        choice = random.random()
        if choice < 0.4 or not own:
            own.append(await lab.add_account(unit))
        elif choice < 0.85:
            assert await unit.execute(RENAME, id=random.choice(own)) == 1
        else:
            assert await unit.execute(REMOVE, id=own.pop(random.randrange(len(own)))) == 1
        in_unit += 1
        if random.random() < 0.5 or in_unit == 4:
            await unit.commit()
            committed, in_unit, unit = committed + in_unit, 0, lab.unit()
    await unit.commit()
    return committed + in_unit


@pytest.mark.slow
async def test_the_chain_holds_after_many_changes_by_many(lab: Lab) -> None:
    done = asyncio.Event()

    async def seal() -> None:
        while not done.is_set():
            await lab.seal()
            await asyncio.sleep(0.02)

    sealers = [asyncio.create_task(seal()) for _ in range(2)]
    try:
        counts = await asyncio.gather(*(write(lab, CHANGES // WRITERS) for _ in range(WRITERS)))
    finally:
        done.set()
        await asyncio.gather(*sealers)
    await lab.seal()
    assert sum(counts) == CHANGES
    verified = await lab.verify()
    assert (verified.entries, verified.number, verified.faults) == (CHANGES, CHANGES, ())
    assert await lab.numbers() == [*range(1, CHANGES + 1)]
    ids = [entry.id for entry in await lab.entries()]
    a, b, c = random.sample(range(1, CHANGES - 1), 3)
    await lab.tamper(
        f"UPDATE audit_entry SET actor_kind = 'persom' WHERE id = {lab.literal(ids[a])}",
        f"DELETE FROM audit_entry WHERE id = {lab.literal(ids[b])}",
        f"UPDATE audit_entry SET created_at = created_at WHERE id = {lab.literal(ids[c])}",
    )
    faults = {fault.entry_id: fault.kind for fault in (await lab.verify()).faults}
    assert faults == {ids[a]: "edited", ids[b]: "removed"}
