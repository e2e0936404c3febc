"""Writing to and reading from the log."""

from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    FromClause,
    Insert,
    Select,
    bindparam,
    insert,
    literal,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import Insert as PostgreSQLInsert
from sqlalchemy.dialects.postgresql import insert as upsert

from courtyard.kernel.database import WORKSPACE, AnyOf, Database, Prepared, ReadUnit, UnitOfWork
from courtyard.kernel.events.models import EventRow, TopicRow
from courtyard.kernel.events.schemas import Envelope, Event
from courtyard.kernel.ids import new_id
from courtyard.kernel.telemetry import current_traceparent

_TOPIC = bindparam("topic", type_=TopicRow.topic.type, required=True)
_NAMES = ("workspace_id", "topic", "number", "id", "name", "actor_id", "created_at", "traceparent", "data")
# Named apart from the columns of a change that they may stand in one statement with.
_VALUES = (
    bindparam("event_id", type_=EventRow.id.type, required=True),
    bindparam("event_name", type_=EventRow.name.type, required=True),
    bindparam("actor_id", type_=EventRow.actor_id.type, required=True),
    bindparam("now", type_=EventRow.created_at.type, required=True),
    bindparam("traceparent", type_=EventRow.traceparent.type, required=True),
)


def newest() -> Select[int]:
    """Return the statement that reads the number of the newest event of `topic`."""
    return select(TopicRow.number).where(TopicRow.workspace_id == WORKSPACE, TopicRow.topic == _TOPIC)


def appending(data: ColumnElement[Any], source: FromClause | None = None) -> tuple[CTE, tuple[Insert, Insert]]:
    """Return what gives an event its number and writes it: as part of one statement, and as two.

    The counter stays locked until the commit: whoever comes next on this topic waits, so no number is skipped or
    seen late. The statement binds `topic`, `event_id`, `event_name`, `actor_id`,
    `now`, and as `traceparent` what `current_traceparent` returns.

    Args:
        data: the JSON of the event.
        source: what `data` is selected from; without a row there, no event is written.

    Returns:
        A common table expression with the column `number`, for a `WITH` of PostgreSQL, and the two statements that
        do the same one after the other.
    """

    def allocate(values: Select[Any]) -> PostgreSQLInsert:
        return (
            upsert(TopicRow)
            .from_select(["workspace_id", "topic", "number"], values)
            .on_conflict_do_update(
                index_elements=[TopicRow.workspace_id, TopicRow.topic], set_={"number": TopicRow.number + 1}
            )
        )

    def write(number: ColumnElement[int], *sources: FromClause) -> Insert:
        values = select(WORKSPACE, _TOPIC, number, *_VALUES, data).select_from(*sources)
        return insert(EventRow).from_select(_NAMES, values)

    # `true()` keeps SQLite from reading ON CONFLICT as the condition of a join.
    first = select(WORKSPACE, _TOPIC, literal(1, BigInteger())).where(true())
    sources = () if source is None else (source,)
    allocated = allocate(first.select_from(*sources)).returning(TopicRow.number).cte("allocated")
    counter = newest().subquery("counter")
    together = write(allocated.c.number, allocated, *sources).returning(EventRow.number).cte("event_written")
    return together, (allocate(first), write(counter.c.number, counter, *sources))


_together, (_allocate, _write) = appending(bindparam("data", type_=EventRow.data.type, required=True))
_APPEND = Prepared(select(_together.c.number), int, sqlite=(_allocate, _write.returning(EventRow.number)))
_COLUMNS = (
    EventRow.workspace_id,
    EventRow.topic,
    EventRow.number,
    EventRow.id,
    EventRow.name,
    EventRow.actor_id,
    EventRow.data,
    EventRow.created_at,
)
_READ = Prepared(
    select(*_COLUMNS)
    .where(
        EventRow.workspace_id == WORKSPACE,
        EventRow.topic == _TOPIC,
        EventRow.number > bindparam("after", type_=BigInteger(), required=True),
        EventRow.number <= bindparam("until", type_=BigInteger(), required=True),
    )
    .order_by(EventRow.number)
    .limit(bindparam("limit", type_=BigInteger(), required=True)),
    Envelope,
)
_NEWEST = Prepared(newest(), int)


class TopicNumber(msgspec.Struct, frozen=True):
    """How far a topic has come."""

    workspace_id: UUID
    topic: str
    number: int


_NEWEST_OF_MANY = Prepared(
    select(TopicRow.workspace_id, TopicRow.topic, TopicRow.number).where(
        AnyOf(TopicRow.workspace_id.expression, "workspaces"), AnyOf(TopicRow.topic.expression, "topics")
    ),
    TopicNumber,
    across_workspaces=True,
)


async def append(
    unit: UnitOfWork, recorded: Sequence[tuple[str, Event]], actor_id: UUID | None, now: datetime
) -> list[Envelope]:
    """Give events their numbers and write them, as the last statements before the commit.

    Topics are locked in the order of their names, so that two transactions never wait for each other.

    Args:
        unit: the unit of work of the change.
        recorded: topic and event, in the order in which they happened.
        actor_id: the account that causes them.
        now: the time of the change.
    """
    envelopes = []
    # One thing that is told on several topics has one id.
    ids: dict[int, UUID] = {}
    traceparent = current_traceparent()
    # Sorting keeps the order within a topic.
    for topic, event in sorted(recorded, key=itemgetter(0)):
        event_id, data = ids.setdefault(id(event), new_id()), msgspec.Raw(msgspec.json.encode(event))
        number = await unit.one(
            _APPEND,
            topic=topic,
            event_id=event_id,
            event_name=event.name,
            actor_id=actor_id,
            now=now,
            traceparent=traceparent,
            data=data,
        )
        envelopes.append(Envelope(unit.workspace_id, topic, number, event_id, event.name, actor_id, data, now))
    return envelopes


async def read(unit: ReadUnit, topic: str, *, after: int, until: int, limit: int) -> list[Envelope]:
    """Return the events of a topic with `after < number <= until`, oldest first, at most `limit`."""
    return await unit.all(_READ, topic=topic, after=after, until=until, limit=limit)


async def newest_number(unit: ReadUnit, topic: str) -> int:
    """Return the number of the newest event of a topic, 0 where there is none."""
    return await unit.first(_NEWEST, topic=topic) or 0


async def newest_numbers(database: Database, topics: Sequence[tuple[UUID, str]]) -> list[TopicNumber]:
    """Return how far topics have come, each given as workspace and name; those without events are left out."""
    wanted = set(topics)
    values = {
        "workspaces": list({workspace_id for workspace_id, _ in wanted}),
        "topics": list({topic for _, topic in wanted}),
    }
    found = await database.fetch(_NEWEST_OF_MANY, values)
    return [row for row in found if (row.workspace_id, row.topic) in wanted]
