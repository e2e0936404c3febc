"""Column types give back what was put in, on both databases, and sort and compare alike."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, MetaData, Table, Uuid, bindparam, delete, insert, select
from sqlalchemy.schema import CreateTable, DropTable

from courtyard.kernel.database import AnyOf, Database, Json, Prepared, UtcDateTime
from courtyard.kernel.settings import DatabaseSettings
from tests.services import Databases, Kind

SAMPLE = Table(
    f"sample_{uuid4().hex}",
    MetaData(),
    Column("id", Uuid(), primary_key=True),
    Column("moment", UtcDateTime()),
    Column("json", Json()),
    Column("raw", Json(raw=True)),
)
INSERT = Prepared(
    insert(SAMPLE).values({c.name: bindparam(c.name, type_=c.type, required=True) for c in SAMPLE.c}),
    across_workspaces=True,
)
CLEAR = Prepared(delete(SAMPLE), across_workspaces=True)
MOMENTS = Prepared(select(SAMPLE.c.moment).order_by(SAMPLE.c.moment), datetime, across_workspaces=True)
LATER = Prepared(
    select(SAMPLE.c.moment).where(SAMPLE.c.moment > bindparam("than", type_=UtcDateTime(), required=True)),
    datetime,
    across_workspaces=True,
)
JSON = Prepared(select(SAMPLE.c.json, SAMPLE.c.raw), list, across_workspaces=True)
BY_IDS = Prepared(select(SAMPLE.c.id).where(AnyOf(SAMPLE.c.id, "ids")), UUID, across_workspaces=True)
BY_MOMENTS = Prepared(select(SAMPLE.c.id).where(AnyOf(SAMPLE.c.moment, "moments")), UUID, across_workspaces=True)

several = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=offsets)  # noqa: DTZ001
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(-1e15, 1e15) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


class Sample:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def put(self, **row: Any) -> None:
        connection = await self.database.writers.acquire()
        full = {"id": uuid4(), "moment": None, "json": None, "raw": None, **row}
        await INSERT.execute(connection, self.database.dialect, full)
        self.database.writers.release(connection)

    async def clear(self) -> None:
        connection = await self.database.writers.acquire()
        await CLEAR.execute(connection, self.database.dialect, {})
        self.database.writers.release(connection)


@pytest.fixture
async def sample(databases: Databases, database_kind: Kind) -> AsyncIterator[Sample]:
    """A table of its own in the shared database."""
    database = Database(await databases.shared(database_kind), DatabaseSettings())
    connection = await database.writers.acquire()
    await connection.execute(str(CreateTable(SAMPLE).compile(dialect=database.dialect)), ())
    database.writers.release(connection)
    yield Sample(database)
    connection = await database.writers.acquire()
    await connection.execute(str(DropTable(SAMPLE).compile(dialect=database.dialect)), ())
    database.writers.release(connection)
    await database.close()


@several
@given(st.lists(moments, max_size=5))
async def test_moments_come_back_in_utc_and_sort_by_time(sample: Sample, times: list[datetime]) -> None:
    await sample.clear()
    for moment in times:
        await sample.put(moment=moment)
    found = await sample.database.fetch(MOMENTS, {})
    assert found == sorted(times)
    assert all(moment.tzinfo is UTC or moment.utcoffset() == timedelta(0) for moment in found)
    for than in times:
        later = await sample.database.fetch(LATER, {"than": than})
        assert sorted(later) == sorted(moment for moment in times if moment > than)


@several
@given(values)
async def test_json_comes_back(sample: Sample, value: object) -> None:
    await sample.clear()
    await sample.put(json=value, raw=value)
    ((found, raw),) = await sample.database.fetch(JSON, {})
    assert found == value
    if value is not None:
        assert isinstance(raw, msgspec.Raw)
        assert msgspec.json.decode(raw) == value


async def test_json_that_is_encoded_already_is_taken_as_it_is(sample: Sample) -> None:
    await sample.put(json=b'{"a": 1}', raw=msgspec.Raw(b"[2]"))
    ((found, raw),) = await sample.database.fetch(JSON, {})
    assert (found, bytes(raw)) == ({"a": 1}, b"[2]")


@pytest.mark.parametrize("count", [0, 1, 2, 500])
async def test_any_of_many(sample: Sample, count: int) -> None:
    here = [uuid4() for _ in range(3)]
    for id_ in here:
        await sample.put(id=id_)
    asked = [uuid4() for _ in range(count)]
    found = await sample.database.fetch(BY_IDS, {"ids": [*asked, *here[:2]] if count else []})
    assert sorted(found) == (sorted(here[:2]) if count else [])


async def test_any_of_converts_its_values(sample: Sample) -> None:
    moment = datetime(2026, 11, 21, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    id_ = uuid4()
    await sample.put(id=id_, moment=moment)
    await sample.put(moment=moment + timedelta(microseconds=1))
    assert await sample.database.fetch(BY_MOMENTS, {"moments": [moment.astimezone(UTC)]}) == [id_]
