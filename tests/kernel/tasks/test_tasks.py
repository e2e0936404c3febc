"""Tasks from the change that asks for them to their end."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from courtyard.kernel.application import Application, declared_tasks
from courtyard.kernel.context import Context
from courtyard.kernel.errors import Conflict, Unavailable
from courtyard.kernel.tasks import Again, GiveUp, Retry, Task, enqueue, store, task
from tests.kernel.tasks import probe
from tests.kernel.tasks.conftest import Gate, House, HouseFactory
from tests.kernel.tasks.probe import Key, Script

Keep = Callable[[Script], str]


class TestEnqueueing:
    async def test_it_runs_once_after_the_commit(self, house: House) -> None:
        task_id = await house.enqueue(probe.leave, "a")
        (row,) = await house.until("done")
        assert (row.id, row.attempt, row.due_at, row.code) == (task_id, 1, None, None)
        assert await house.effects() == ["a"]

    async def test_what_is_rolled_back_was_never_asked_for(self, house: House) -> None:
        context = house.context()
        await enqueue(context, probe.leave, Key("never"))
        await context.rollback()
        assert await house.rows() == []

    async def test_it_starts_at_once(self, house: House, script: Keep) -> None:
        began: list[float] = []

        async def note(_: Context) -> None:
            began.append(time.perf_counter())

        await house.enqueue(probe.act, script(note))
        committed = time.perf_counter()
        await house.until("done")
        assert began[0] - committed < 1, "it waited for a sweep"

    async def test_it_runs_in_the_workspace_of_the_change(self, house: House, script: Keep) -> None:
        seen: list[Any] = []

        async def look(context: Context) -> None:
            seen.append((context.access, context.principal, context.request_id))

        await house.enqueue(probe.act, script(look))
        await house.until("done")
        assert seen == [(None, None, "request-of-the-test")]

    async def test_not_before_its_time(self, house: House) -> None:
        await house.enqueue(probe.leave, "later", delay=timedelta(minutes=5))
        await house.enqueue(probe.leave, "then", at=house.clock.now() + timedelta(minutes=1))
        await house.enqueue(probe.leave, "now")
        await house.until("done")
        assert await house.effects() == ["now"]
        house.clock.move(minutes=2)
        await house.look()
        await house.until("done", count=2)
        house.clock.move(minutes=5)
        await house.look()
        await house.until("done", count=3)
        assert await house.effects() == ["now", "then", "later"]

    async def test_the_most_urgent_goes_first(self, houses: HouseFactory) -> None:
        house = await houses(idle=True, concurrency=1)
        for priority in (9, 5, 0, 5):
            await house.enqueue(probe.leave, str(priority), priority=priority)
        await house.start()
        await house.until("done", count=4)
        assert await house.effects() == ["0", "5", "5", "9"]

    async def test_a_worker_takes_its_queues_only(self, houses: HouseFactory, script: Keep, gate: Gate) -> None:
        gate.open()
        apart = await houses(queues=["apart"])
        key = script(gate)
        await apart.enqueue(probe.leave, "a")
        await apart.enqueue(probe.act_apart, key)
        (row,) = await apart.until("done")
        assert row.name == "probe.act_apart"
        await houses()
        await apart.until("done", count=2)

    @pytest.mark.parametrize(
        ("options", "payload"),
        [({}, "x" * 70_000), ({"priority": 10}, ""), ({"unique_key": "x" * 201}, ""), ({"priority": -1}, "")],
    )
    async def test_bounds(self, houses: HouseFactory, options: dict[str, Any], payload: str) -> None:
        house = await houses(idle=True)
        with pytest.raises(ValueError, match=r"probe\.leave: "):
            await house.enqueue(probe.leave, payload, **options)

    async def test_a_task_that_nobody_declares(self, houses: HouseFactory) -> None:
        @task(name="probe.unknown")
        async def unknown(context: Context, payload: Key) -> None: ...

        house = await houses(idle=True)
        with pytest.raises(ValueError, match="no part declares"):
            await house.enqueue(unknown)


class TestUniqueKeys:
    async def test_the_first_one_is_returned(self, houses: HouseFactory) -> None:
        house = await houses(idle=True)
        first = await house.enqueue(probe.leave, "a", unique_key="k")
        assert await house.enqueue(probe.leave, "b", unique_key="k") == first
        other = await house.enqueue(probe.leave, "c", unique_key="other")
        elsewhere = await house.enqueue(probe.leave, "d", unique_key="k", workspace_id=uuid4())
        of_another_name = await house.enqueue(probe.nothing, "e", unique_key="k")
        assert len({first, other, elsewhere, of_another_name}) == 4

    async def test_many_at_once(self, houses: HouseFactory) -> None:
        house = await houses(idle=True)
        ids = await asyncio.gather(*(house.enqueue(probe.leave, "a", unique_key="k") for _ in range(8)))
        assert len(set(ids)) == 1
        assert len(await house.rows()) == 1

    async def test_while_it_runs_and_not_after(self, house: House, script: Keep, gate: Gate) -> None:
        key = script(gate)
        first = await house.enqueue(probe.act, key, unique_key="k")
        await gate.reach(1)
        assert await house.enqueue(probe.act, key, unique_key="k") == first
        gate.open()
        await house.until("done")
        assert await house.enqueue(probe.act, key, unique_key="k") != first


class TestFailures:
    async def test_it_is_tried_again_and_what_it_did_is_undone(self, house: House, script: Keep) -> None:
        tries: list[int] = []

        async def fail(context: Context) -> None:
            tries.append(len(tries))
            probe.effect(context, str(len(tries)))
            if len(tries) < 3:
                raise RuntimeError("not yet, with Bearer abcdefghijkl")

        await house.enqueue(probe.act, script(fail))
        (row,) = await house.until("waiting", tries=1)
        assert (row.code, row.detail) == ("task_fault", "RuntimeError: not yet, with [redacted]")
        assert row.due_at is not None
        assert timedelta(seconds=9) < row.due_at - house.clock.now() <= timedelta(seconds=10)
        house.clock.move(seconds=11)
        await house.look()
        await house.until("waiting", tries=2)
        house.clock.move(seconds=21)
        await house.look()
        (row,) = await house.until("done")
        assert (row.tries, row.code) == (3, None)
        assert await house.effects() == ["3"]

    async def test_it_fails_when_all_tries_are_used(self, house: House, script: Keep) -> None:
        async def fail(_: Context) -> None:
            raise Unavailable("The other side is away.")

        await house.enqueue(probe.act, script(fail))
        for tries in (1, 2):
            await house.until("waiting", tries=tries)
            house.clock.move(minutes=1)
            await house.look()
        (row,) = await house.until("failed")
        assert (row.tries, row.code, row.detail) == (3, "unavailable", "The other side is away.")
        assert row.ended_at is not None

    @pytest.mark.parametrize(
        ("error", "code"), [(GiveUp("The picture is broken."), "task_failed"), (Conflict("No."), "conflict")]
    )
    async def test_what_another_try_does_not_help(
        self, house: House, script: Keep, error: Exception, code: str
    ) -> None:
        async def fail(_: Context) -> None:
            raise error

        await house.enqueue(probe.act, script(fail))
        (row,) = await house.until("failed")
        assert (row.tries, row.code) == (1, code)

    async def test_a_time_limit(self, house: House, script: Keep, gate: Gate) -> None:
        await house.enqueue(probe.act_briefly, script(gate))
        (row,) = await house.until("waiting", tries=1)
        assert (row.code, gate.inside) == ("task_timeout", 0)

    async def test_a_payload_that_is_no_longer_understood(self, houses: HouseFactory) -> None:
        house = await houses(idle=True)
        context = house.context()
        other: Any = msgspec.defstruct("Other", [("other", int)])(other=1)
        await enqueue(context, probe.leave, other)
        await context.commit()
        await house.start()
        (row,) = await house.until("waiting", tries=1)
        assert row.detail.startswith("ValidationError: ")

    async def test_a_result_is_kept_and_one_that_is_too_long_fails(self, house: House, script: Keep) -> None:
        async def small(_: Context) -> dict[str, int]:
            return {"pages": 3}

        async def big(_: Context) -> str:
            return "x" * 70_000

        await house.enqueue(probe.act, script(small))
        (row,) = await house.until("done")
        assert row.result is not None
        assert msgspec.json.decode(row.result) == {"pages": 3}
        await house.enqueue(probe.act, script(big))
        (row,) = await house.until("failed")
        assert "more than 65536" in row.detail

    async def test_a_step_of_longer_work(self, house: House, script: Keep) -> None:
        steps: list[int] = []

        async def step(context: Context) -> Again | None:
            steps.append(len(steps))
            probe.effect(context, str(len(steps)))
            return Again() if len(steps) < 5 else None

        await house.enqueue(probe.act, script(step))
        while len(steps) < 5:
            await house.until("waiting", "running", "done")
            await house.look()
        (row,) = await house.until("done")
        assert (row.attempt, row.tries) == (5, 1)
        assert await house.effects() == ["1", "2", "3", "4", "5"]


class TestLeases:
    async def test_what_a_dead_process_had_is_done_by_another(self, houses: HouseFactory) -> None:
        dead, living = await houses(idle=True), await houses(idle=True)
        await dead.enqueue(probe.leave, "a")
        names, database = [probe.leave.name], dead.runtime.placement.main
        (lost,) = await store.take(database, names, dead.clock.now(), timedelta(seconds=30), 10)
        await living.start()
        await living.look()
        dead.clock.move(seconds=31)
        await living.look()
        (row,) = await living.until("done")
        assert row.attempt == 2
        # Not dead, only late: its word does not count.
        statement, values = store.settling(lost, "failed", None, b"{}", dead.clock.now())
        assert await database.fetch(statement, values, writers=True) == []
        assert await store.settle_many(database, [lost], dead.clock.now()) == set()
        assert await living.rows() == [row]

    async def test_who_was_late_does_not_change_anything(self, houses: HouseFactory, script: Keep) -> None:
        house = await houses()
        others: list[Any] = []

        async def be_late(context: Context) -> None:
            probe.effect(context, "late")
            if not others:
                later = house.clock.now() + timedelta(seconds=60)
                names, database = [probe.act.name], house.runtime.placement.main
                others.extend(await store.take(database, names, later, timedelta(seconds=60), 10))

        await house.enqueue(probe.act, script(be_late))
        async with asyncio.timeout(5):
            while house.runner.running or not others:  # noqa: ASYNC110 - the runner tells nobody
                await asyncio.sleep(0.005)
        assert (await house.row()).state == "running"
        assert await house.effects() == []
        house.clock.move(minutes=5)
        await house.look()
        await house.until("done")
        assert await house.effects() == ["late"]

    async def test_heartbeats_hold_it(self, houses: HouseFactory, script: Keep, gate: Gate) -> None:
        house, other = await houses(), await houses(idle=True)
        await house.enqueue(probe.act, script(gate))
        await gate.reach(1)
        for _ in range(3):
            house.clock.move(seconds=20)
            await house.runner._beat()
        names, database = [probe.act.name], other.runtime.placement.main
        assert await store.take(database, names, other.clock.now(), timedelta(seconds=30), 10) == []
        gate.open()
        assert (await house.until("done"))[0].attempt == 1

    async def test_who_lost_it_is_cut_off_by_the_next_heartbeat(
        self, houses: HouseFactory, script: Keep, gate: Gate
    ) -> None:
        house, other = await houses(), await houses(idle=True)
        await house.enqueue(probe.act, script(gate))
        await gate.reach(1)
        house.clock.move(seconds=31)
        names, database = [probe.act.name], other.runtime.placement.main
        assert len(await store.take(database, names, other.clock.now(), timedelta(seconds=30), 10)) == 1
        await house.runner._beat()
        await gate.reach(0)
        assert (await house.row()).attempt == 2

    async def test_what_kills_its_worker_each_time_ends(self, houses: HouseFactory) -> None:
        house = await houses(idle=True)
        await house.enqueue(probe.act, "kills")
        for _ in range(probe.QUICK.attempts):
            taken = await store.take(
                house.runtime.placement.main, [probe.act.name], house.clock.now(), timedelta(seconds=30), 10
            )
            assert len(taken) == 1
            house.clock.move(seconds=31)
        await house.start()
        (row,) = await house.until("failed")
        assert row.code == "worker_lost"

    async def test_many_look_at_once_and_each_takes_its_own(self, houses: HouseFactory) -> None:
        house = await houses(idle=True)
        for number in range(20):
            await house.enqueue(probe.leave, str(number))
        database, now, names = house.runtime.placement.main, house.clock.now(), [probe.leave.name]
        looks = (store.take(database, names, now, timedelta(seconds=60), 7) for _ in range(5))
        taken = await asyncio.gather(*looks)
        ids = [one.id for some in taken for one in some]
        assert max(len(some) for some in taken) <= 7
        assert len(ids) == len(set(ids)) == 20


class TestConcurrency:
    async def test_no_more_at_once_than_a_process_may(self, houses: HouseFactory, script: Keep, gate: Gate) -> None:
        house = await houses(concurrency=3)
        key = script(gate)
        for _ in range(10):
            await house.enqueue(probe.act, key)
        await gate.reach(3)
        await house.look()
        assert house.runner.running == 3
        gate.open()
        # All of them, without another sweep.
        await house.until("done", count=10)
        assert gate.most_inside == 3

    async def test_no_more_of_a_key_than_it_declares(self, houses: HouseFactory, script: Keep, gate: Gate) -> None:
        first, second = await houses(), await houses()
        key = script(gate)
        for number in range(5):
            for each in ("a", "b"):
                await (first, second)[number % 2].enqueue(probe.act_two_at_once, key, concurrency_key=each)
        await gate.reach(4)
        for house in (first, second):
            await house.look()
        rows = [row for row in await first.rows() if row.state == "running"]
        assert sorted(row.slot or 0 for row in rows) == [1, 1, 2, 2]
        gate.open()
        async with asyncio.timeout(10):
            while len([row for row in await first.rows() if row.state == "done"]) < 10:
                # In life, a signal tells the others of a free slot.
                await asyncio.gather(first.look(), second.look())
                await asyncio.sleep(0.01)
        assert gate.most_inside <= 4

    async def test_processes_race_for_the_slots(self, houses: HouseFactory) -> None:
        house = await houses(idle=True)
        for _ in range(12):
            await house.enqueue(probe.act_two_at_once, "x")
        database, now, name = house.runtime.placement.main, house.clock.now(), probe.act_two_at_once.name
        for _ in range(3):
            looks = (store.take_limited(database, name, 2, now, timedelta(seconds=60), 12) for _ in range(4))
            await asyncio.gather(*looks)
        running = [row.slot for row in await house.rows() if row.state == "running"]
        assert sorted(slot or 0 for slot in running) == [1, 2]

    async def test_what_was_lost_keeps_its_slot(self, houses: HouseFactory) -> None:
        house = await houses(idle=True)
        for _ in range(3):
            await house.enqueue(probe.act_two_at_once, "x")
        database, name, lease = house.runtime.placement.main, probe.act_two_at_once.name, timedelta(seconds=30)
        first = await store.take_limited(database, name, 2, house.clock.now(), lease, 12)
        house.clock.move(seconds=31)
        again = await store.take_limited(database, name, 2, house.clock.now(), lease, 12)
        assert [one.id for one in again] == [one.id for one in first]


class TestStopping:
    async def test_what_runs_may_end(self, house: House, script: Keep, gate: Gate) -> None:
        await house.enqueue(probe.act, script(gate))
        await gate.reach(1)
        stopping = asyncio.create_task(house.runner.stop(10))
        await house.enqueue(probe.leave, "too late")
        gate.open()
        await stopping
        assert [row.state for row in await house.rows()] == ["done", "waiting"]

    async def test_the_rest_is_handed_back(self, houses: HouseFactory, script: Keep, gate: Gate) -> None:
        house = await houses()
        await house.enqueue(probe.act, script(gate))
        await gate.reach(1)
        await house.runner.stop(0.01)
        row = await house.row()
        assert (row.state, row.attempt, row.tries) == ("waiting", 1, 0)
        gate.open()
        await houses()
        (row,) = await house.until("done")
        assert (row.attempt, row.tries) == (2, 1)


class TestDeclarations:
    @pytest.mark.parametrize(
        "wrong",
        [{"priority": 10}, {"time_limit_seconds": 0}, {"concurrency": 0}, {"name": "x" * 101}, {"queue": ""}],
    )
    def test_bounds(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"priority|limit|names"):
            task(**{"name": "probe.wrong", **wrong})(probe.leave.function)

    @pytest.mark.parametrize("wrong", [{"attempts": 0}, {"jitter": 2}, {"first_pause_seconds": -1}])
    def test_policies(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="policy"):
            Retry(**wrong)

    def test_names(self) -> None:
        part = Application(name="other", description="", tasks=[probe.leave])
        with pytest.raises(ValueError, match="begins with other"):
            declared_tasks([part])
        with pytest.raises(ValueError, match="two tasks"):
            declared_tasks([probe.application, probe.application])

    def test_a_payload_is_a_struct(self) -> None:
        wrong: Task[Any] = task(name="probe.wrong")(_takes_text)
        with pytest.raises(TypeError, match="a Struct"):
            _ = wrong.payload_type

    def test_pauses_double_up_to_a_limit(self) -> None:
        retry = Retry(first_pause_seconds=2, longest_pause_seconds=60, jitter=0.5)
        whole = [retry.pause(tries, chance=0).total_seconds() for tries in range(1, 8)]
        assert whole == [2, 4, 8, 16, 32, 60, 60]
        assert retry.pause(3, chance=1).total_seconds() == 4
        assert timedelta(seconds=30) <= retry.pause(1_000) <= timedelta(seconds=60)


async def _takes_text(context: Context, payload: str) -> None: ...
