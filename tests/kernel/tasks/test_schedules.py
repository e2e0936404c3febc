"""Schedules: when they are due, and that each time counts once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courtyard.kernel.application import Application, declared_schedules
from courtyard.kernel.database import ReadUnit
from courtyard.kernel.tasks import Schedule, Scheduler, store
from courtyard.kernel.tasks.upkeep import Nothing, prune
from tests.kernel.tasks import probe
from tests.kernel.tasks.conftest import House, HouseFactory
from tests.kernel.tasks.probe import Key


def of(**given_: Any) -> Schedule:
    return Schedule(**{"name": "probe.often", "task": probe.leave, "payload": Key("x"), **given_})


def times(schedule: Schedule, start: str, count: int) -> list[str]:
    first = datetime.fromisoformat(start).replace(tzinfo=UTC)
    return [f"{each:%m-%d %H:%M}" for each in islice(schedule.after(first), count)]


class TestPlans:
    def test_intervals_do_not_move_with_a_restart(self) -> None:
        schedule = of(every_seconds=900)
        assert times(schedule, "2026-11-21 10:07", 3) == ["11-21 10:15", "11-21 10:30", "11-21 10:45"]
        assert times(schedule, "2026-11-21 10:15", 1) == ["11-21 10:30"]

    def test_cron_lines_are_in_their_time_zone(self) -> None:
        schedule = of(cron="30 8 * * MON-FRI", time_zone="Europe/Helsinki")
        assert times(schedule, "2026-11-20 07:00", 2) == ["11-23 06:30", "11-24 06:30"]

    def test_what_falls_into_the_skipped_hour_is_done_behind_it(self) -> None:
        # 29 March 2026, 03:00 becomes 04:00 in Helsinki.
        schedule = of(cron="30 3 * * *", time_zone="Europe/Helsinki")
        assert times(schedule, "2026-03-28 00:00", 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]

    def test_nothing_is_done_twice_in_the_hour_that_comes_twice(self) -> None:
        # 25 October 2026, 04:00 becomes 03:00 in Helsinki.
        schedule = of(cron="30 3 * * *", time_zone="Europe/Helsinki")
        assert times(schedule, "2026-10-24 00:00", 3) == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]

    @given(
        # From 1990 to 2090.
        seconds=st.integers(631_152_000, 3_786_912_000),
        minute=st.integers(0, 59),
        zone=st.sampled_from(["UTC", "Europe/Helsinki", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    )
    def test_a_daily_line_comes_once_a_day(self, seconds: int, minute: int, zone: str) -> None:
        schedule = of(cron=f"{minute} 2 * * *", time_zone=zone)
        found = list(islice(schedule.after(datetime.fromtimestamp(seconds, UTC)), 5))
        assert found == sorted(set(found))
        gaps = {later - earlier for earlier, later in pairwise(found)}
        assert all(timedelta(hours=22) <= gap <= timedelta(hours=26) for gap in gaps)

    def test_those_that_are_due(self) -> None:
        schedule = of(every_seconds=60)
        first = schedule.next_after(datetime(2026, 1, 1, tzinfo=UTC))
        assert schedule.due(first, first) == [first]
        assert len(schedule.due(first, first + timedelta(minutes=9, seconds=59))) == 10
        assert len(schedule.due(first, first + timedelta(days=3_000))) == 1_000

    @pytest.mark.parametrize(
        "wrong",
        [
            {},
            {"every_seconds": 60, "cron": "* * * * *"},
            {"every_seconds": 0},
            {"cron": "61 * * * *"},
            {"cron": "0 0 31 2 *"},
            {"cron": "* * * * *", "time_zone": "Europe/Nowhere"},
            {"every_seconds": 60, "name": "x" * 101},
        ],
    )
    def test_what_is_no_plan(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"x|interval|plan"):
            of(**wrong)

    def test_declarations(self) -> None:
        tasks = probe.application.tasks
        for schedule in (of(every_seconds=60, name="other.often"), of(every_seconds=60, task=prune, payload=Nothing())):
            with pytest.raises(ValueError, match=r"a name of its own|not declared"):
                declared_schedules([Application(name="probe", description="", tasks=tasks, schedules=[schedule])])


@pytest.fixture
def planned() -> Callable[..., Scheduler]:
    """Make a scheduler that knows one schedule."""

    def make(house: House, **given_: Any) -> Scheduler:
        schedule = of(**{"every_seconds": 60, **given_})
        return Scheduler(replace(house.runtime, schedules={schedule.name: schedule}))

    return make


class TestScheduler:
    async def test_it_asks_when_the_time_has_come(
        self, houses: HouseFactory, planned: Callable[..., Scheduler]
    ) -> None:
        house = await houses()
        scheduler = planned(house)
        await scheduler.turn()
        await scheduler.turn()
        assert await house.rows() == []
        house.clock.move(seconds=60)
        await scheduler.turn()
        await scheduler.turn()
        await house.until("done")
        assert await house.effects() == ["x"]
        (row,) = await store.planned(ReadUnit(house.runtime.placement))
        assert (row.name, row.plan, row.last_task_id) == ("probe.often", "every 60 s", (await house.row()).id)
        assert row.last_at is not None
        assert row.next_at - row.last_at == timedelta(seconds=60)

    async def test_many_processes_ask_once(self, houses: HouseFactory, planned: Callable[..., Scheduler]) -> None:
        house = await houses(idle=True)
        schedulers = [planned(house, missed="catch_up") for _ in range(4)]
        for _ in range(3):
            await asyncio.gather(*(each.turn() for each in schedulers))
            house.clock.move(seconds=60)
        assert len(await house.rows()) == 2

    async def test_what_was_missed_is_skipped(self, houses: HouseFactory, planned: Callable[..., Scheduler]) -> None:
        house = await houses(idle=True)
        await planned(house).turn()
        house.clock.move(minutes=10)
        # Another process, after a stop of all.
        await planned(house).turn()
        assert len(await house.rows()) == 1
        house.clock.move(minutes=1)
        await planned(house).turn()
        assert len(await house.rows()) == 1, "the last one is still under way"

    async def test_or_caught_up_with(self, houses: HouseFactory, planned: Callable[..., Scheduler]) -> None:
        house = await houses(idle=True)
        await planned(house, missed="catch_up").turn()
        house.clock.move(minutes=10)
        await planned(house, missed="catch_up").turn()
        assert len(await house.rows()) == 10

    async def test_another_plan_counts_from_now(self, houses: HouseFactory, planned: Callable[..., Scheduler]) -> None:
        house = await houses(idle=True)
        await planned(house, every_seconds=86_400).turn()
        await planned(house, every_seconds=60).turn()
        house.clock.move(minutes=1)
        await planned(house, every_seconds=60).turn()
        assert len(await house.rows()) == 1

    async def test_the_engine_forgets_what_ended_long_ago(self, houses: HouseFactory) -> None:
        house = await houses(idle=True)
        for name in ("a", "b"):
            await house.enqueue(probe.leave, name)
        await house.enqueue(probe.act, "there is no such script")
        await house.start()
        await house.until("done", count=2)
        for tries in (1, 2):
            await house.until("waiting", tries=tries)
            house.clock.move(minutes=1)
            await house.look()
        await house.until("failed")
        house.clock.move(days=8)
        await prune(house.context(), Nothing())
        assert [row.state for row in await house.rows()] == ["failed"]
        house.clock.move(days=30)
        await prune(house.context(), Nothing())
        assert await house.rows() == []
