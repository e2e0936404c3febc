"""A database whose tables are not those of this code, such as in the middle of an upgrade, holds up no other."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from typing_extensions import override

from courtyard.kernel.database import Database, DatabaseUnavailable, SharedPlacement
from courtyard.kernel.settings import DatabaseSettings
from courtyard.kernel.tasks import TaskRow
from courtyard.kernel.tasks.queries import place_of
from courtyard.kernel.webhooks import Fanout, count_notes
from courtyard.kernel.webhooks.models import WebhookPendingRow
from tests.kernel.tasks import probe
from tests.kernel.tasks.conftest import House
from tests.running import MovableClock
from tests.services import Databases, Kind


class Beside(SharedPlacement):
    """The main database, behind one that has no tables."""

    def __init__(self, main: Database, bare: Database) -> None:
        super().__init__(main)
        self.bare = bare

    @override
    def databases(self) -> Sequence[Database]:
        return (self.bare, self.main)


@pytest.fixture
async def house(
    databases: Databases, database_kind: Kind, clock: MovableClock, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[House]:
    """A process that runs tasks, not yet."""
    url = await databases.new(database_kind)
    bare = Database(await databases.new(database_kind, migrated=False), DatabaseSettings())
    placement = Beside(Database(url, DatabaseSettings()), bare)
    made = House(tmp_path, url, clock, placement=placement, **getattr(request, "param", {}))
    yield made
    await made.stop()


async def test_tasks_are_run_all_the_same(house: House) -> None:
    await house.enqueue(probe.leave, "before")
    await house.start()
    await house.until("done")
    await house.enqueue(probe.leave, "after")
    # What nobody was told of is found by a look at all databases.
    await house.look()
    await house.until("done", count=2)
    assert await house.effects() == ["before", "after"]


@pytest.mark.parametrize("house", [{"runner": "celery", "broker_url": "redis://127.0.0.1:1/0"}], indirect=True)
async def test_who_tells_a_broker_goes_on(house: House) -> None:
    assert house.sender is not None
    await house.sender.adopt()


async def test_webhooks_are_thought_of_all_the_same(house: House) -> None:
    main = house.runtime.placement.main
    context = house.context()
    await context.db.insert(WebhookPendingRow, topic="a", number=1)
    await context.commit()
    assert await count_notes(main) == 1
    await asyncio.wait_for(Fanout(house.runtime).turn(), 10)
    assert await count_notes(main) == 0


async def test_an_operation_is_found_beside_a_database_that_is_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = uuid4()
    operation_id = await house.enqueue(probe.operate, "", workspace_id=uuid4())
    (row,) = await house.rows()
    context = house.context(row.workspace_id)
    await context.db.update(TaskRow, {"id": operation_id}, account_id=account_id)
    await context.commit()

    async def away(*_: object) -> None:
        raise DatabaseUnavailable

    placement = house.runtime.placement
    assert isinstance(placement, Beside)
    monkeypatch.setattr(placement.bare, "fetch", away)
    assert await place_of(placement, operation_id, account_id) == row.workspace_id
    # Nobody knows what is in there.
    with pytest.raises(DatabaseUnavailable):
        await place_of(placement, uuid4(), account_id)
