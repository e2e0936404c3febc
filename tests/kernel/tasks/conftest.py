"""Processes that run tasks and do nothing else, in this very process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import delete, func, select

from courtyard.kernel.context import Access, Context
from courtyard.kernel.database import Database, Placement, Prepared, ReadUnit
from courtyard.kernel.events import EventRow, TopicRow, newest_number
from courtyard.kernel.events.log import read
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import DatabaseSettings
from courtyard.kernel.tasks import TASKS_CHANNEL, Runner, ScheduleRow, Sender, Task, TaskRow, enqueue
from courtyard.kernel.workspaces import DatabaseIdentity
from tests.kernel.tasks import probe
from tests.kernel.tasks.probe import Key, Script
from tests.running import MovableClock, make_settings
from tests.services import PARTS, Databases, Kind

DEADLINE_SECONDS = 10


class TaskRecord(msgspec.Struct, frozen=True):
    """A row of the table."""

    workspace_id: UUID
    id: UUID
    name: str
    queue: str
    state: str
    attempt: int
    tries: int
    sends: int
    ready_at: datetime
    due_at: datetime | None
    slot: int | None
    account_id: UUID | None
    request_id: str
    result: msgspec.Raw | None
    problem: msgspec.Raw | None
    ended_at: datetime | None

    @property
    def code(self) -> str | None:
        """The code of its problem."""
        return None if self.problem is None else msgspec.json.decode(self.problem)["code"]

    @property
    def detail(self) -> str:
        """What its problem says."""
        return "" if self.problem is None else msgspec.json.decode(self.problem).get("detail", "")


_RECORDS = Prepared(
    select(*(getattr(TaskRow, name) for name in TaskRecord.__struct_fields__)).order_by(TaskRow.id),
    TaskRecord,
    across_workspaces=True,
)


_UNFINISHED = Prepared(
    select(func.count()).select_from(TaskRow).where(TaskRow.due_at.is_not(None)), int, across_workspaces=True
)
_CLEARING = [Prepared(delete(model), across_workspaces=True) for model in (TaskRow, ScheduleRow, EventRow, TopicRow)]


class House:
    """A process that runs tasks, and nothing else.

    Attributes:
        runtime: the process.
        clock: its clock.
        runner: what runs them; its sweep runs when a test says so.
    """

    def __init__(
        self,
        data_dir: Path,
        url: str,
        clock: MovableClock,
        *,
        placement: Placement | None = None,
        queues: Collection[str] | None = None,
        prefix: str | None = None,
        sections: Mapping[str, Mapping[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        redis = {"redis": {"prefix": prefix}} if prefix else {}
        tasks = {"sweep_seconds": 60, **settings}
        chosen = make_settings(data_dir, url, tasks=tasks, **{**redis, **(sections or {})})
        parts = [*PARTS, probe.application]
        self.runtime = Runtime.create(chosen, parts, DatabaseIdentity(), clock=clock, placement=placement)
        self.clock = clock
        self.runner = Runner(self.runtime, queues=queues)
        self.sender = Sender(self.runtime) if chosen.tasks.runner == "celery" else None
        self.scripts: list[str] = []

    async def start(self) -> None:
        """Begin to hear of tasks that are committed."""
        await self.runtime.bus.start(self.runner.heard if self.sender is None else self.sender.heard)
        await self.runtime.bus.listen(TASKS_CHANNEL)
        if self.sender is None:
            self.runner.start()
        else:
            self.sender.start()

    async def stop(self, timeout_seconds: float = 0) -> None:
        """End."""
        if self.sender is not None:
            await self.sender.stop()
        await self.runner.stop(timeout_seconds)
        await self.runtime.close()

    def context(self, workspace_id: UUID | None = None) -> Context:
        """Return a context of nobody, in a workspace or outside of any."""
        access = None if workspace_id is None else Access(workspace_id, "w", frozenset(), frozenset())
        return Context(self.runtime, None, access, "request-of-the-test")

    async def enqueue(
        self, task: Task[Any], payload: str | msgspec.Struct = "", *, workspace_id: UUID | None = None, **options: Any
    ) -> UUID:
        """Ask for a task, and commit."""
        context = self.context(workspace_id)
        try:
            task_id = await enqueue(context, task, Key(payload) if isinstance(payload, str) else payload, **options)
            await context.commit()
        finally:
            await context.rollback()
        return task_id

    async def rows(self, database: Database | None = None) -> list[TaskRecord]:
        """Return every row, the oldest first."""
        return await (database or self.runtime.placement.main).fetch(_RECORDS, {})

    async def unfinished(self) -> int:
        """Return how many tasks have not ended."""
        return (await self.runtime.placement.main.fetch(_UNFINISHED, {}))[0]

    async def row(self, task_id: UUID | None = None) -> TaskRecord:
        """Return a row, the only one unless an id is given."""
        (row,) = [row for row in await self.rows() if task_id in {None, row.id}]
        return row

    async def until(
        self, *states: str, count: int = 1, tries: int = 0, seconds: float = DEADLINE_SECONDS
    ) -> list[TaskRecord]:
        """Return the rows in one of the states as soon as there are so many, each tried so often at least."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    rows = [row for row in await self.rows() if row.state in states and row.tries >= tries]
                    if len(rows) >= count:
                        return rows
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"waited for {count} {states}: {await self.rows()}") from None

    async def look(self) -> None:
        """Let the runner look for what is due."""
        await self.runner._sweep()

    async def effects(self, workspace_id: UUID | None = None) -> list[str]:
        """Return what the tasks have left, in the order in which it was committed."""
        unit = (
            ReadUnit(self.runtime.placement) if workspace_id is None else ReadUnit(self.runtime.placement, workspace_id)
        )
        newest = await newest_number(unit, probe.EFFECTS)
        envelopes = await read(unit, probe.EFFECTS, after=0, until=newest, limit=100_000)
        return [msgspec.json.decode(envelope.data)["key"] for envelope in envelopes]


class HouseFactory(Protocol):
    """Makes processes that run tasks."""

    def __call__(self, *, idle: bool = False, **options: Any) -> Awaitable[House]:
        """Start one on the database of the test.

        Args:
            idle: whether it takes no task by itself.
            options: those of `House`, and changes to the settings of tasks.
        """
        ...


@pytest.fixture(scope="session")
def of_tasks() -> dict[Kind, str]:
    """The databases that the tests of tasks share, each test as if it were its own."""
    return {}


@pytest.fixture
async def houses(
    databases: Databases, database_kind: Kind, clock: MovableClock, of_tasks: dict[Kind, str]
) -> AsyncIterator[HouseFactory]:
    """Starts processes that run tasks, on one database in which there is nothing. They end with the test."""
    if database_kind not in of_tasks:
        of_tasks[database_kind] = await databases.new(database_kind)
    url = of_tasks[database_kind]
    started: list[House] = []

    async def start(*, idle: bool = False, **options: Any) -> House:
        house = House(databases.data_dir(url), url, clock, **options)
        started.append(house)
        if not idle:
            await house.start()
        return house

    yield start
    for house in started:
        await house.stop()
    database = Database(url, DatabaseSettings())
    for statement in _CLEARING:
        await database.fetch(statement, {}, writers=True)
    await database.close()


@pytest.fixture
async def house(houses: HouseFactory) -> House:
    """One process that runs tasks."""
    return await houses()


@pytest.fixture
def script() -> Iterator[Callable[[Script], str]]:
    """Keeps what a task is to do; returns the key for its payload."""
    keys: list[str] = []

    def keep(function: Script) -> str:
        # What another test has left behind in the database finds no script of this one.
        key = f"script-{uuid4().hex}"
        probe.SCRIPTS[key] = function
        keys.append(key)
        return key

    yield keep
    for key in keys:
        del probe.SCRIPTS[key]


class Gate:
    """What tasks wait for, with a count of those that wait."""

    def __init__(self) -> None:
        self.inside = 0
        self.most_inside = 0
        self.entered = 0
        self._open = asyncio.Event()

    def open(self) -> None:
        """Let everybody through."""
        self._open.set()

    async def __call__(self, _: Context) -> None:
        """Wait, as a script."""
        self.entered += 1
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            await self._open.wait()
        finally:
            self.inside -= 1

    async def reach(self, inside: int) -> None:
        """Return when so many wait."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while self.inside != inside:  # noqa: ASYNC110 - tasks come and go on several ways
                await asyncio.sleep(0.005)


@pytest.fixture
def gate() -> Gate:
    """A gate for tasks."""
    return Gate()
