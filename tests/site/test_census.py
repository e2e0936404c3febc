"""What waits in the databases of an installation, as Prometheus is told."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from typing_extensions import override

from courtyard.kernel.database import Database, Prepared, SharedPlacement
from courtyard.kernel.settings import DatabaseSettings, ShardSettings
from courtyard.kernel.shards import Shard
from courtyard.kernel.tasks import TaskRow, store
from courtyard.kernel.webhooks.models import WebhookPendingRow
from courtyard.site import Census, exposition
from courtyard.site.metrics import MOST_SHARDS, labelled
from tests.kernel.tasks import probe
from tests.kernel.tasks.conftest import House
from tests.running import MovableClock
from tests.services import Databases, Kind

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
FORGET_QUEUE = Prepared(
    update(TaskRow).where(TaskRow.name == probe.leave.name).values(queue="of-before"), across_workspaces=True
)


class Spread(SharedPlacement):
    """The main database, another one, and one that is away."""

    def __init__(self, main: Database, other: Database, away: Database) -> None:
        super().__init__(main)
        self.all = (main, away, other)

    @override
    def databases(self) -> Sequence[Database]:
        return self.all


@pytest.fixture
async def houses(
    databases: Databases, database_kind: Kind, clock: MovableClock, tmp_path: Path
) -> AsyncIterator[tuple[House, House]]:
    """Processes that take nothing: one of an installation of three databases, one of the second of these alone."""
    urls = [await databases.new(database_kind) for _ in range(2)]
    main, other, away = (Database(url, DatabaseSettings()) for url in (*urls, NOWHERE))
    made = House(tmp_path, urls[0], clock, placement=Spread(main, other, away)), House(tmp_path, urls[1], clock)
    yield made
    for house in made:
        await house.stop()


async def told(census: Census, house: House) -> dict[tuple[str, ...], float]:
    """Count, and return what is told: the name and the values of the labels → the value, without what is 0."""
    await census.count()
    families = text_string_to_metric_families(exposition(house.runtime, census).decode())
    return {
        (family.name, *sample.labels.values()): sample.value
        for family in families
        if family.name in {"courtyard_tasks_kept", "courtyard_task_oldest_seconds", "courtyard_webhook_notes_waiting"}
        for sample in family.samples
        if sample.value
    }


async def test_what_waits_in_all_databases_is_told_together(houses: tuple[House, House], clock: MovableClock) -> None:
    house, other = houses
    census, main = Census(house.runtime), house.runtime.placement.main
    assert "courtyard_tasks_kept{" not in exposition(house.runtime, census).decode()
    # One runs, one has failed, and one is of a queue that is not declared any more.
    await house.enqueue(probe.nothing)
    await house.enqueue(probe.stumble)
    now = clock.now()
    await store.take(main, [probe.nothing.name], now, timedelta(hours=2), 1)
    (claimed,) = await store.take(main, [probe.stumble.name], now, timedelta(hours=2), 1)
    statement, values = store.settling(claimed, "failed", None, b"{}", now)
    await main.fetch(statement, values, writers=True)
    await house.enqueue(probe.leave)
    await main.fetch(FORGET_QUEUE, {}, writers=True)
    await other.enqueue(probe.act_apart)
    clock.move(seconds=30)
    for one in houses:
        await one.enqueue(probe.act_apart)
        await one.enqueue(probe.act, delay=timedelta(hours=1))
    context = other.context()
    await context.db.insert(WebhookPendingRow, topic="a", number=1)
    await context.commit()
    clock.move(seconds=60)
    found = await told(census, house)
    waited = {name[1]: found.pop(name) for name in list(found) if name[0] == "courtyard_task_oldest_seconds"}
    assert found == {
        ("courtyard_tasks_kept", "default", "running"): 1,
        ("courtyard_tasks_kept", "default", "failed"): 1,
        ("courtyard_tasks_kept", "default", "delayed"): 2,
        ("courtyard_tasks_kept", "apart", "waiting"): 3,
        ("courtyard_tasks_kept", "(other)", "waiting"): 1,
        ("courtyard_webhook_notes_waiting",): 1,
    }
    assert {queue: round(seconds, -1) for queue, seconds in waited.items()} == {"apart": 90, "(other)": 90}


async def test_nothing_is_told_while_nothing_can_be_counted(tmp_path: Path, clock: MovableClock) -> None:
    house = House(tmp_path, NOWHERE, clock)
    assert await told(Census(house.runtime), house) == {}
    await house.stop()


def test_databases_of_workspaces_have_names_that_stay_and_no_more_than_are_read() -> None:
    made = [
        Shard(f"postgresql://courtyard:hidden-{n}@db{n}.example.org/w", DatabaseSettings(), ShardSettings(), print)
        for n in range(MOST_SHARDS + 5)
    ]
    named = labelled(made)
    assert labelled(reversed(made)) == named
    assert list(named)[-1] == "(other)"
    assert [len(found) for found in named.values()] == [1] * MOST_SHARDS + [5]
    assert all(name.startswith("shard-") for name in list(named)[:-1])
    # Another password is another way to the same one.
    again = Shard("postgresql://courtyard:changed@db0.example.org/w", DatabaseSettings(), ShardSettings(), print)
    assert again.name == made[0].name
