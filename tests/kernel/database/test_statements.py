"""Statements: compiled once per database, refused where they would read another tenant or fill a Struct wrongly."""

import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import Update, bindparam, delete, literal, select, text, update
from sqlalchemy.schema import CreateTable

import courtyard
from courtyard.applications.chat.models import ConversationRow, MessageRow
from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.database import WORKSPACE, Database, Prepared, ReadUnit, SharedPlacement, UnitOfWork
from courtyard.kernel.database.drivers import POSTGRESQL, SQLITE
from courtyard.kernel.events import EventRow, TopicRow
from courtyard.kernel.settings import DatabaseSettings
from tests.services import Databases, Kind

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
async def placement(databases: Databases, database_kind: Kind) -> AsyncIterator[SharedPlacement]:
    """A database with all tables, shared with other tests."""
    database = Database(await databases.shared(database_kind), DatabaseSettings())
    yield SharedPlacement(database)
    await database.close()


class Counter(msgspec.Struct, frozen=True):
    topic: str
    number: int


OF_TENANT = TopicRow.workspace_id == WORKSPACE
COUNTERS = Prepared(select(TopicRow.topic, TopicRow.number).where(OF_TENANT).order_by(TopicRow.topic), Counter)


async def counters(placement: SharedPlacement, workspace_id: UUID, *rows: Counter) -> None:
    """Put counters of topics into a workspace."""
    unit = UnitOfWork(placement, workspace_id)
    for row in rows:
        await unit.insert(TopicRow, topic=row.topic, number=row.number)
    await unit.commit()


async def test_rows_become_structs(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    await counters(placement, workspace_id, Counter("a", 1), Counter("b", 2))
    assert await ReadUnit(placement, workspace_id).all(COUNTERS) == [Counter("a", 1), Counter("b", 2)]


async def test_a_tenant_sees_its_own_rows_alone(placement: SharedPlacement) -> None:
    mine, other = uuid4(), uuid4()
    await counters(placement, mine, Counter("a", 1))
    await counters(placement, other, Counter("a", 9))
    assert await ReadUnit(placement, mine).all(COUNTERS) == [Counter("a", 1)]
    unit = UnitOfWork(placement, mine)
    assert await unit.update(TopicRow, {"topic": "a"}, number=5) == 1
    await unit.commit()
    assert await ReadUnit(placement, other).all(COUNTERS) == [Counter("a", 9)]


async def test_a_single_column_becomes_its_value(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    await counters(placement, workspace_id, Counter("a", 1), Counter("b", 2))
    numbers = Prepared(select(TopicRow.number).where(OF_TENANT).order_by(TopicRow.number), int)
    ids = Prepared(select(TopicRow.workspace_id).where(OF_TENANT), UUID)
    unit = ReadUnit(placement, workspace_id)
    assert await unit.all(numbers) == [1, 2]
    assert await unit.first(ids) == workspace_id


async def test_without_a_struct_rows_are_sequences(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    await counters(placement, workspace_id, Counter("a", 1))
    unit = ReadUnit(placement, workspace_id)
    plain = Prepared(select(TopicRow.topic, TopicRow.number).where(OF_TENANT), tuple)
    converted = Prepared(select(TopicRow.topic, TopicRow.workspace_id).where(OF_TENANT), tuple)
    assert [tuple(row) for row in await unit.all(plain)] == [("a", 1)]
    assert [tuple(row) for row in await unit.all(converted)] == [("a", workspace_id)]


async def test_nothing_and_too_much(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    unit = ReadUnit(placement, workspace_id)
    assert await unit.first(COUNTERS) is None
    with pytest.raises(ValueError, match="not enough values"):
        await unit.one(COUNTERS)
    await counters(placement, workspace_id, Counter("a", 1), Counter("b", 2))
    with pytest.raises(ValueError, match="too many values"):
        await unit.one(COUNTERS)


async def test_changes_are_counted(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    await counters(placement, workspace_id, Counter("a", 1), Counter("b", 1), Counter("c", 3))
    raise_ = Prepared(update(TopicRow).where(OF_TENANT, TopicRow.number == 1).values(number=TopicRow.number + 1))
    remove = Prepared(delete(TopicRow).where(OF_TENANT, TopicRow.number == bindparam("n", required=True)))
    unit = UnitOfWork(placement, workspace_id)
    assert await unit.execute(raise_) == 2
    assert await unit.execute(remove, n=3) == 1
    assert await unit.execute(remove, n=3) == 0
    assert await unit.all(COUNTERS) == [Counter("a", 2), Counter("b", 2)]
    await unit.rollback()


async def test_constants_and_values_go_together(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    await counters(placement, workspace_id, Counter("a", 1), Counter("b", 2))
    statement = Prepared(
        select(TopicRow.topic, (TopicRow.number + 10).label("number")).where(
            OF_TENANT, TopicRow.topic != "a", TopicRow.number < bindparam("below", required=True)
        ),
        Counter,
    )
    assert await ReadUnit(placement, workspace_id).all(statement, below=5) == [Counter("b", 12)]


async def test_a_value_that_is_not_given_is_missed(placement: SharedPlacement) -> None:
    statement = Prepared(
        select(TopicRow.topic, TopicRow.number).where(OF_TENANT, TopicRow.number < bindparam("below", required=True)),
        Counter,
    )
    with pytest.raises(KeyError, match="below"):
        await ReadUnit(placement, uuid4()).all(statement)


def count_up(name: str) -> Update:
    return update(TopicRow).where(OF_TENANT, TopicRow.topic == name).values(number=TopicRow.number + 1)


async def test_on_sqlite_several_statements_may_do_what_one_does(
    placement: SharedPlacement, database_kind: Kind
) -> None:
    workspace_id = uuid4()
    await counters(placement, workspace_id, Counter("a", 1), Counter("b", 1))
    returned = count_up("b").returning(TopicRow.topic, TopicRow.number)
    statement = Prepared(returned, Counter, sqlite=(count_up("a"), returned))
    unit = UnitOfWork(placement, workspace_id)
    assert await unit.one(statement) == Counter("b", 2)
    first = 2 if database_kind == "sqlite" else 1
    assert await unit.all(COUNTERS) == [Counter("a", first), Counter("b", 2)]
    await unit.rollback()


async def test_the_first_of_several_that_changes_nothing_is_the_last(placement: SharedPlacement) -> None:
    workspace_id = uuid4()
    await counters(placement, workspace_id, Counter("b", 1))
    returned = count_up("b").returning(TopicRow.topic, TopicRow.number)
    unit = UnitOfWork(placement, workspace_id)
    chain = (count_up("missing"), returned)
    assert await unit.all(Prepared(count_up("missing").returning(TopicRow.topic), str, sqlite=chain)) == []
    assert await unit.execute(Prepared(count_up("missing"), sqlite=(count_up("missing"), count_up("b")))) == 0
    assert await unit.all(COUNTERS) == [Counter("b", 1)]
    await unit.rollback()


async def test_a_value_is_data_whatever_it_holds(placement: SharedPlacement) -> None:
    workspace_id, nasty = uuid4(), "'; DROP TABLE event_topic; -- $1 ? :x %s"
    await counters(placement, workspace_id, Counter(nasty, 1))
    assert await ReadUnit(placement, workspace_id).all(COUNTERS) == [Counter(nasty, 1)]


class Swapped(msgspec.Struct):
    number: int
    topic: str


class Short(msgspec.Struct):
    topic: str


@pytest.mark.parametrize("row", [Swapped, Short])
async def test_columns_that_are_not_the_fields_are_refused(
    placement: SharedPlacement, row: type[msgspec.Struct]
) -> None:
    statement = Prepared(select(TopicRow.topic, TopicRow.number).where(OF_TENANT), row)
    with pytest.raises(TypeError, match="has the fields"):
        await ReadUnit(placement, uuid4()).all(statement)


def test_a_statement_has_one_side() -> None:
    both = select(AccountRow.id).join(ConversationRow, ConversationRow.visitor_id == AccountRow.id)
    with pytest.raises(TypeError, match="one side"):
        Prepared(both.where(ConversationRow.workspace_id == WORKSPACE), UUID)
    with pytest.raises(TypeError, match="one side"):
        Prepared(select(literal(1)), int)


def test_the_tenant_is_part_of_every_statement() -> None:
    for statement in (
        select(TopicRow.number),
        select(TopicRow.number).where(TopicRow.workspace_id == uuid4()),
        select(TopicRow.number).where(TopicRow.workspace_id == bindparam("tenant", required=True)),
        delete(MessageRow),
        update(EventRow).values(name="x"),
    ):
        with pytest.raises(TypeError, match="tenant is missing"):
            Prepared(statement)
    assert not Prepared(select(TopicRow.number), int, across_workspaces=True).main
    assert Prepared(select(AccountRow.id), UUID).main


def test_what_is_not_a_statement_with_rows_is_refused() -> None:
    with pytest.raises(TypeError):
        Prepared(text("SELECT 1"))
    table = Prepared.__new__(Prepared)
    table._statement = CreateTable(TopicRow.__table__)  # type: ignore[arg-type]
    table._sqlite, table._row, table._texts = (table._statement,), None, {}
    with pytest.raises(TypeError, match="not a statement with rows"):
        table._compile(SQLITE)


def prepared() -> Iterator[tuple[str, Prepared[object]]]:
    """Find every statement that a module of the package keeps."""
    for found in pkgutil.walk_packages(courtyard.__path__, "courtyard."):
        if "alembic" in found.name or "migrations." in found.name:
            continue
        for name, value in vars(importlib.import_module(found.name)).items():
            several = value.values() if isinstance(value, dict) else [value]
            yield from ((f"{found.name}.{name}", one) for one in several if isinstance(one, Prepared))


def test_every_statement_of_the_package_compiles_on_both_databases() -> None:
    """Fields and columns are compared when a statement is first used, which should not be in production."""
    names = set()
    for name, statement in prepared():
        names.add(name)
        for dialect in (POSTGRESQL, SQLITE):
            statement._compile(dialect)
    assert len(names) > 20
