"""The unit of work: all or nothing, in one transaction per database, and nothing left open behind it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NoReturn, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import insert, select, update
from typing_extensions import override

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.database import (
    INSTALLATION,
    WORKSPACE,
    Database,
    DatabaseUnavailable,
    Placement,
    Prepared,
    ReadUnit,
    SharedPlacement,
    UniqueViolation,
    UnitOfWork,
)
from courtyard.kernel.database.drivers import Connection
from courtyard.kernel.events import TopicRow
from courtyard.kernel.ids import new_id
from courtyard.kernel.settings import DatabaseSettings
from tests.running import MovableClock
from tests.services import Databases, Kind

OF_TENANT = TopicRow.workspace_id == WORKSPACE
TOPICS = Prepared(select(TopicRow.topic).where(OF_TENANT).order_by(TopicRow.topic), str)
COUNT_UP = Prepared(update(TopicRow).where(OF_TENANT).values(number=TopicRow.number + 1))
NUMBER = Prepared(select(TopicRow.number).where(OF_TENANT), int)
QUICK = DatabaseSettings(lock_timeout_seconds=0.3, busy_timeout_seconds=0.3, acquire_timeout_seconds=2)


@pytest.fixture
async def shared(databases: Databases, database_kind: Kind) -> AsyncIterator[Database]:
    """A database with all tables, with short waits."""
    database = Database(await databases.shared(database_kind), QUICK)
    yield database
    assert (database.readers.in_use, database.writers.in_use) == (0, 0), "a connection was not given back"
    await database.close()


@pytest.fixture
def placement(shared: Database) -> SharedPlacement:
    return SharedPlacement(shared)


@pytest.fixture
async def other(shared: Database) -> AsyncIterator[Connection]:
    """A connection of another process."""
    elsewhere = Database(shared.url, QUICK)
    connection = await elsewhere.writers.acquire()
    yield connection
    await connection.close()


async def topics(placement: Placement, workspace_id: UUID) -> list[str]:
    return await ReadUnit(placement, workspace_id).all(TOPICS)


async def test_what_is_committed_is_there(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    unit = UnitOfWork(placement, workspace_id)
    await unit.insert(TopicRow, topic="a", number=1)
    assert await unit.all(TOPICS) == ["a"]
    assert await topics(placement, workspace_id) == []
    await unit.commit()
    assert await topics(placement, workspace_id) == ["a"]


async def test_what_is_rolled_back_is_not(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    unit = UnitOfWork(placement, workspace_id)
    await unit.insert(TopicRow, topic="a", number=1)
    await unit.rollback()
    await unit.rollback()
    assert await topics(placement, workspace_id) == []


async def test_a_unit_that_did_nothing_costs_nothing(placement: SharedPlacement) -> None:
    unit = UnitOfWork(placement)
    await unit.commit()
    await unit.rollback()
    assert placement.main.writers.in_use == 0


async def test_a_unit_can_be_used_again_after_its_commit(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    unit = UnitOfWork(placement, workspace_id)
    for topic in ("a", "b"):
        await unit.insert(TopicRow, topic=topic, number=1)
        await unit.commit()
    assert await topics(placement, workspace_id) == ["a", "b"]


async def test_a_taken_key_is_told_by_its_constraint(placement: SharedPlacement) -> None:
    unit = UnitOfWork(placement, uuid4())
    await unit.insert(TopicRow, topic="a", number=1)
    with pytest.raises(UniqueViolation) as refused:
        await unit.insert(TopicRow, topic="a", number=1)
    assert refused.value.constraint == "pk_event_topic"
    await unit.rollback()


async def test_a_taken_value_is_told_by_its_constraint(placement: SharedPlacement) -> None:
    now, email = MovableClock().now(), f"{uuid4().hex}@example.org"
    values = {"kind": "person", "email": email, "password_hash": "x", "name": "Ada", "version": 1, "created_at": now}
    values |= {"rights_epoch": 0, "must_change_password": False}
    unit = UnitOfWork(placement)
    await unit.insert(AccountRow, id=new_id(), **values)
    with pytest.raises(UniqueViolation) as refused:
        await unit.insert(AccountRow, id=new_id(), **values)
    assert refused.value.constraint == "uq_account_email"
    await unit.rollback()


async def test_the_last_statement_can_be_a_transaction_by_itself(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    insertion = Prepared(
        insert(TopicRow).values(workspace_id=WORKSPACE, topic="a", number=1).returning(TopicRow.topic), str
    )
    unit = UnitOfWork(placement, workspace_id)
    assert await unit.conclude(insertion) == ["a"]
    assert placement.main.writers.in_use == 0
    assert await topics(placement, workspace_id) == ["a"]
    with pytest.raises(UniqueViolation):
        await unit.conclude(insertion)


async def test_a_last_statement_that_clashes_leaves_the_unit_as_it_was(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    insertion = Prepared(
        insert(TopicRow).values(workspace_id=WORKSPACE, topic="a", number=1).returning(TopicRow.topic), str
    )
    unit = UnitOfWork(placement, workspace_id)
    await unit.insert(TopicRow, topic="a", number=1)
    with pytest.raises(UniqueViolation):
        await unit.conclude(insertion)
    await unit.insert(TopicRow, topic="b", number=1)
    await unit.commit()
    assert await topics(placement, workspace_id) == ["a", "b"]


async def test_reading_cannot_write(placement: SharedPlacement) -> None:
    """The database itself refuses, whatever a query says."""
    workspace_id = uuid4()
    writing = Prepared(
        insert(TopicRow).values(workspace_id=WORKSPACE, topic="a", number=1).returning(TopicRow.topic), str
    )
    with pytest.raises((asyncpg.ReadOnlySQLTransactionError, sqlite3.OperationalError)):
        await ReadUnit(placement, workspace_id).all(writing)
    assert await topics(placement, workspace_id) == []


async def test_writers_queue_and_none_is_lost(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    unit = UnitOfWork(placement, workspace_id)
    await unit.insert(TopicRow, topic="a", number=0)
    await unit.commit()

    async def count_up() -> None:
        unit = UnitOfWork(placement, workspace_id)
        await unit.execute(COUNT_UP)
        await asyncio.sleep(0)
        await unit.commit()

    await asyncio.gather(*(count_up() for _ in range(30)))
    assert await ReadUnit(placement, workspace_id).one(NUMBER) == 30


async def test_a_transaction_that_reads_first_may_write_later(placement: SharedPlacement, other: Connection) -> None:
    """On SQLite a read transaction could not become one that writes after somebody else has written."""
    workspace_id = uuid4()
    unit = UnitOfWork(placement, workspace_id)
    assert await unit.all(TOPICS) == []
    if placement.main.is_sqlite:
        with pytest.raises(DatabaseUnavailable):
            await other.begin()
    await unit.insert(TopicRow, topic="a", number=1)
    await unit.commit()
    assert await topics(placement, workspace_id) == ["a"]


async def hold(other: Connection, workspace_id: UUID, *, sqlite: bool) -> None:
    """Let another process hold what a change of the topics of a workspace needs."""
    await other.begin()
    if not sqlite:
        await other.fetch("SELECT 1 FROM event_topic WHERE workspace_id = $1 FOR UPDATE", (workspace_id,))


async def test_a_lock_is_not_waited_for_without_end(placement: SharedPlacement, other: Connection) -> None:
    workspace_id = uuid4()
    unit = UnitOfWork(placement, workspace_id)
    await unit.insert(TopicRow, topic="a", number=0)
    await unit.commit()
    await hold(other, workspace_id, sqlite=placement.main.is_sqlite)
    with pytest.raises(DatabaseUnavailable):
        await unit.execute(COUNT_UP)
    await unit.rollback()
    await other.rollback()
    await unit.execute(COUNT_UP)
    await unit.commit()


@pytest.mark.parametrize("seconds", [0.0, 0.02])
async def test_whoever_is_interrupted_while_waiting_leaves_a_good_connection(
    placement: SharedPlacement, other: Connection, seconds: float
) -> None:
    workspace_id = uuid4()
    unit = UnitOfWork(placement, workspace_id)
    await unit.insert(TopicRow, topic="a", number=0)
    await unit.commit()
    await hold(other, workspace_id, sqlite=placement.main.is_sqlite)

    async def count_up() -> None:
        unit = UnitOfWork(placement, workspace_id)
        try:
            await unit.execute(COUNT_UP)
            await unit.commit()
        except BaseException:
            await unit.rollback()
            raise

    waiting = asyncio.create_task(count_up())
    await asyncio.sleep(seconds)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        # The rollback must not wait for a lock that nobody wants any more for longer than it is waited for anyway.
        await asyncio.wait_for(waiting, 1.0)
    await other.rollback()
    for _ in range(3):
        await count_up()
    assert await ReadUnit(placement, workspace_id).one(NUMBER) == 3


async def test_reads_that_are_interrupted_leave_good_connections(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    for turn in range(20):
        reading = asyncio.create_task(topics(placement, workspace_id))
        await asyncio.sleep(0.0002 * (turn % 5))
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert await asyncio.gather(*(topics(placement, workspace_id) for _ in range(20))) == [[]] * 20


@pytest.fixture
async def alone(databases: Databases) -> AsyncIterator[Database]:
    """A PostgreSQL database whose connections can be cut, because nobody else uses it."""
    database = Database(await databases.new("postgresql"), QUICK)
    yield database
    assert (database.readers.in_use, database.writers.in_use) == (0, 0)
    await database.close()


async def cut(database: Database) -> None:
    """Do to the connections what a restart of the server does."""
    server = await asyncpg.connect(database.url)
    await server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await server.close()


@pytest.mark.services
async def test_after_a_restart_of_the_database_idle_connections_are_replaced(alone: Database) -> None:
    placement, workspace_id = SharedPlacement(alone), uuid4()

    async def work(topic: str) -> None:
        unit = UnitOfWork(placement, workspace_id)
        await unit.insert(TopicRow, topic=topic, number=1)
        await unit.commit()

    await asyncio.gather(*(work(f"a{n}") for n in range(5)), *(topics(placement, workspace_id) for _ in range(5)))
    await cut(alone)
    await work("b")
    assert len(await topics(placement, workspace_id)) == 6


@pytest.mark.services
async def test_after_a_restart_of_the_database_reads_go_on(alone: Database) -> None:
    placement, workspace_id = SharedPlacement(alone), uuid4()
    await asyncio.gather(*(topics(placement, workspace_id) for _ in range(5)))
    await cut(alone)
    assert await topics(placement, workspace_id) == []
    await alone.ping()


class Lost:
    """A connection whose server goes away when it is next used.

    Attributes:
        closed: whether that has happened.
        asked: how often it was used.
    """

    def __init__(self) -> None:
        self.closed = False
        self.asked = 0

    async def _use(self, *_: object) -> NoReturn:
        self.asked += 1
        self.closed = True
        raise DatabaseUnavailable("lost")

    fetch = execute = begin = _use

    async def rollback(self) -> None:
        await self._use()

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
async def lost(shared: Database) -> list[Lost]:
    """Idle connections of the pools, a reader and a writer, that are lost without anybody knowing."""
    found = [Lost(), Lost()]
    for pool, connection in zip((shared.readers, shared.writers), found, strict=True):
        pool._idle.append(cast("Connection", connection))
    return found


async def test_a_read_on_a_lost_connection_is_repeated_on_a_new_one(
    placement: SharedPlacement, lost: list[Lost]
) -> None:
    assert await topics(placement, uuid4()) == []
    assert [connection.asked for connection in lost] == [1, 0]


async def test_a_transaction_on_a_lost_connection_begins_on_a_new_one(
    placement: SharedPlacement, lost: list[Lost]
) -> None:
    workspace_id = uuid4()
    unit = UnitOfWork(placement, workspace_id)
    await unit.insert(TopicRow, topic="a", number=1)
    await unit.commit()
    assert [connection.asked for connection in lost] == [0, 1]
    assert await topics(placement, workspace_id) == ["a"]


async def test_what_may_have_been_done_is_not_repeated(placement: SharedPlacement, lost: list[Lost]) -> None:
    insertion = Prepared(
        insert(TopicRow).values(workspace_id=WORKSPACE, topic="a", number=1).returning(TopicRow.topic), str
    )
    unit = UnitOfWork(placement, uuid4())
    with pytest.raises(DatabaseUnavailable):
        await unit.conclude(insertion)
    assert [connection.asked for connection in lost] == [0, 1]


@pytest.mark.services
async def test_a_transaction_that_is_cut_is_undone_and_told(alone: Database) -> None:
    placement, workspace_id = SharedPlacement(alone), uuid4()
    unit = UnitOfWork(placement, workspace_id)
    await unit.insert(TopicRow, topic="a", number=1)
    await cut(alone)
    with pytest.raises(DatabaseUnavailable):
        await unit.commit()
    assert await topics(placement, workspace_id) == []


async def test_a_server_that_is_away_is_told() -> None:
    database = Database("postgresql://nobody@127.0.0.1:9/nothing", QUICK)
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
    assert database.readers.in_use == 0


async def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.sqlite3").mkdir()
    database = Database(f"sqlite:///{tmp_path / 'folder.sqlite3'}", QUICK)
    with pytest.raises(DatabaseUnavailable):
        await database.ping()


async def test_sqlite_is_set_up_for_many_readers_and_one_writer(databases: Databases) -> None:
    database = Database(await databases.shared("sqlite"), QUICK)
    for pool, query_only in ((database.readers, 1), (database.writers, 0)):
        connection = await pool.acquire()
        for pragma, value in (
            ("journal_mode", "wal"),
            ("foreign_keys", 1),
            ("synchronous", 1),
            ("busy_timeout", 300),
            ("query_only", query_only),
        ):
            assert [tuple(row) for row in await connection.fetch(f"PRAGMA {pragma}", ())] == [(value,)]
        pool.release(connection)
    assert database.writers.size == 1
    await database.close()


class Split(Placement):
    """One database for the main side, another for every workspace.

    Args:
        main: the main database.
        workspaces: the other one.
    """

    def __init__(self, main: Database, workspaces: Database) -> None:
        self._main, self._workspaces = main, workspaces

    @property
    @override
    def main(self) -> Database:
        return self._main

    @override
    async def database_of(self, workspace_id: UUID) -> Database:
        return self._main if workspace_id == INSTALLATION else self._workspaces

    @override
    def databases(self) -> Sequence[Database]:
        return (self._main, self._workspaces)


@pytest.fixture
async def split(shared: Database, databases: Databases, database_kind: Kind) -> AsyncIterator[Split]:
    workspaces = Database(await databases.new(database_kind, main=False), QUICK)
    yield Split(shared, workspaces)
    assert workspaces.writers.in_use == 0
    await workspaces.close()


async def account_and_topic(split: Split, workspace_id: UUID, account_id: UUID) -> UnitOfWork:
    unit = UnitOfWork(split, workspace_id)
    await unit.insert(TopicRow, topic="a", number=1)
    now = MovableClock().now()
    await unit.insert(
        AccountRow,
        id=account_id,
        kind="visitor",
        name="Ada",
        version=1,
        rights_epoch=0,
        must_change_password=False,
        created_at=now,
    )
    return unit


def account(account_id: UUID) -> Prepared[UUID]:
    return Prepared(select(AccountRow.id).where(AccountRow.id == account_id), UUID)


async def test_a_unit_spans_two_databases(split: Split) -> None:
    workspace_id, account_id = uuid4(), new_id()
    unit = await account_and_topic(split, workspace_id, account_id)
    await unit.commit()
    assert await topics(split, workspace_id) == ["a"]
    assert await topics(SharedPlacement(split.main), workspace_id) == []
    assert await ReadUnit(split).first(account(account_id)) == account_id


async def test_both_are_rolled_back(split: Split) -> None:
    workspace_id, account_id = uuid4(), new_id()
    unit = await account_and_topic(split, workspace_id, account_id)
    await unit.rollback()
    assert await topics(split, workspace_id) == []
    assert await ReadUnit(split).first(account(account_id)) is None


async def test_where_the_main_database_fails_that_of_the_workspace_is_not_committed(
    split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the answer under an idempotency key, which must not be there without what it speaks of."""
    workspace_id, account_id = uuid4(), new_id()
    unit = await account_and_topic(split, workspace_id, account_id)

    async def fail(_: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(unit._open[split.main], "commit", fail)
    with pytest.raises(DatabaseUnavailable):
        await unit.commit()
    assert await topics(split, workspace_id) == []
    assert await ReadUnit(split).first(account(account_id)) is None
