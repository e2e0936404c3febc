"""Rows from one end to the other: all of them as they are at one moment, then every change behind it in its order.

The log is replayed as full images of rows, ordered by when they were written. A change that stands on another one
(a child on its parent, a name on its having been given up) was made after that had been committed, so it has a higher
number and no snapshot shows it without the other: replaying what a snapshot shows, in the order of the numbers, breaks
no constraint. Within one statement of PostgreSQL the numbers say nothing, so its deletions go first, children before
parents, and then its other rows, parents before children.

As the state behind a batch is one that the source was in, the last images of its rows are written together first; only
where a row is in the place of another on the way there are they replayed one by one.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Row, Table, case, delete, exc, func, insert, literal, select, tuple_, union_all
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from courtyard.kernel.relocation.bulk import Side
from courtyard.kernel.relocation.capture import set_fence
from courtyard.kernel.relocation.plan import GROUP, OP, SEQ, Moved, Plan
from courtyard.kernel.shards import CLOSED, OPEN

BATCH = 1_000

Key = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True)
class _Entry:
    seq: int
    op: str
    # Of the statement that it belongs to.
    last: int
    number: int
    key: Sequence[str]
    row: dict[str, Any]


class Copier:
    """Copies the rows of a workspace.

    Args:
        plan: what.
        source: from where.
        target: to where.

    Attributes:
        copied: how many rows so far.
        touched: the rows that were replayed since this was made an empty set; None while nobody wants to know.
    """

    def __init__(self, plan: Plan, source: Side, target: Side) -> None:
        self._plan = plan
        self._source = source
        self._target = target
        self.copied = 0
        self.touched: set[Key] | None = None

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction in the target in which the fence is open, for nobody else to see."""
        async with self._target.change() as connection:
            await set_fence(connection, self._plan, OPEN)
            yield connection
            # What triggers have made of the rows waits like everything that is taken up; it is among the rows itself.
            for moved in self._plan.tables:
                if moved.is_staged:
                    await connection.execute(self._all(moved.rows))
            await set_fence(connection, self._plan, CLOSED)

    def _all(self, table: Table) -> Any:  # noqa: ANN401
        return delete(table).where(table.c.workspace_id == self._plan.workspace_id)

    async def copy(self) -> None:
        """Copy every row as it is at this moment, and leave in the log what comes later."""
        async with self._source.snapshot() as reading:
            known = {}
            for moved in self._plan.tables:
                known[moved.name] = list((await reading.execute(select(moved.log.c[SEQ]))).scalars())
            for moved in self._plan.tables:
                async for rows in self._batches(reading, moved):
                    async with self.writing() as connection:
                        await connection.execute(insert(moved.destination), rows)
                    self.copied += len(rows)
        async with self._source.change() as connection:
            for moved in self._plan.tables:
                await _forget(connection, moved.log, known[moved.name])

    async def _batches(self, reading: AsyncConnection, moved: Moved) -> AsyncIterator[list[dict[str, Any]]]:
        chosen = select(moved.rows).where(moved.rows.c.workspace_id == self._plan.workspace_id)
        async with reading.stream(chosen) as result:
            async for part in result.mappings().partitions(BATCH):
                yield [dict(row) for row in part]

    async def resume(self) -> None:
        """Forget what the last transaction in the target has made true, and the source was not told of."""
        async with self._target.snapshot() as reading:
            applied = list((await reading.execute(select(self._plan.applied.c[SEQ]))).scalars())
        async with self._source.change() as connection:
            for moved in self._plan.tables:
                await _forget(connection, moved.log, applied)

    async def drain(self, reading: AsyncConnection | None = None) -> int:
        """Make true in the target what the log holds, as a snapshot of the source shows it; return how many entries.

        Args:
            reading: the snapshot; a new one unless given.
        """
        if reading is None:
            async with self._source.snapshot() as own:
                return await self.drain(own)
        heads = await self._heads(reading)
        start = 0
        while start < len(heads):
            end = min(start + BATCH, len(heads))
            # Not in the middle of a statement.
            while end < len(heads) and heads[end].last == heads[end - 1].last:
                end += 1
            entries = await self._entries(reading, heads[start:end])
            try:
                # What comes of all of them together, a few statements however many they are.
                async with self.writing() as connection:
                    await self._apply(connection, _together(entries), entries)
            except exc.IntegrityError:
                # On the way, one row was in the place of another. One by one they are never.
                async with self.writing() as connection:
                    await self._apply(connection, _in_order(entries), entries)
            await self._done(entries)
            start = end
        return len(heads)

    async def _heads(self, reading: AsyncConnection) -> Sequence[Row[Any]]:
        """Return what the log holds without the images, statement by statement, in the order in which they ended.

        Two statements whose numbers are mixed ran at once, so the one that has the last word did not see the other
        undone: it is replayed behind it.
        """
        every = union_all(
            *(
                select(moved.log.c[SEQ].label("seq"), moved.log.c[GROUP].label("grp"), literal(number).label("number"))
                for number, moved in enumerate(self._plan.tables)
            )
        ).subquery()
        last = case((every.c.grp == "", every.c.seq), else_=func.max(every.c.seq).over(partition_by=every.c.grp)).label(
            "last"
        )
        return (await reading.execute(select(every, last).order_by(last, every.c.seq))).all()

    async def _entries(self, reading: AsyncConnection, heads: Sequence[Row[Any]]) -> list[_Entry]:
        images: dict[int, Any] = {}
        for number, moved in enumerate(self._plan.tables):
            seqs = [head.seq for head in heads if head.number == number]
            for first in range(0, len(seqs), BATCH):
                some = moved.log.c[SEQ].in_(seqs[first : first + BATCH])
                rows = await reading.execute(select(moved.log).where(some))
                images |= {row[SEQ]: row for row in rows.mappings()}
        return [
            _Entry(
                head.seq, image[OP], head.last, head.number, moved.key, {name: image[name] for name in moved.columns}
            )
            for head in heads
            for image, moved in [(images[head.seq], self._plan.tables[head.number])]
        ]

    async def _apply(self, connection: AsyncConnection, ordered: Iterable[_Entry], entries: Sequence[_Entry]) -> None:
        for _, run in groupby(ordered, key=lambda entry: (entry.op, entry.number)):
            await self._apply_run(connection, list(run))
        await connection.execute(delete(self._plan.applied))
        await connection.execute(insert(self._plan.applied), [{SEQ: entry.seq} for entry in entries])

    async def _apply_run(self, connection: AsyncConnection, run: Sequence[_Entry]) -> None:
        """Apply entries of one table that do the same."""
        moved = self._plan.tables[run[0].number]
        table, key = moved.destination, moved.key
        if self.touched is not None:
            self.touched |= {(moved.name, tuple(entry.row[name] for name in key)) for entry in run}
        if run[0].op == "d":
            columns = tuple_(*(table.c[name] for name in key))
            await connection.execute(delete(table).where(columns.in_([tuple(e.row[n] for n in key) for e in run])))
            return
        make = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
        statement = make(table)
        others = {name: statement.excluded[name] for name in moved.columns if name not in key}
        if others:
            statement = statement.on_conflict_do_update(index_elements=key, set_=others)
        else:
            statement = statement.on_conflict_do_nothing(index_elements=key)
        # One after the other: a row may be among them twice.
        await connection.execute(statement, [entry.row for entry in run])

    async def _done(self, entries: Sequence[_Entry]) -> None:
        async with self._source.change() as connection:
            for number, moved in enumerate(self._plan.tables):
                await _forget(connection, moved.log, [entry.seq for entry in entries if entry.number == number])

    async def merge(self) -> None:
        """Let the rows that waited be where they belong, and the workspace be changed, in one transaction."""
        async with self._target.change() as connection:
            await set_fence(connection, self._plan, OPEN)
            for moved in self._plan.tables:
                if moved.is_staged:
                    await connection.execute(self._all(moved.rows))
                    await connection.execute(insert(moved.rows).from_select(moved.columns, select(moved.stage)))
                    await connection.execute(delete(moved.stage))

    async def empty(self, side: Side, *, only_staged: bool = False, state: str = CLOSED) -> None:
        """Remove the rows of the workspace from one end, children first."""
        for moved in reversed(self._plan.tables):
            if only_staged and not moved.is_staged:
                continue
            is_more = True
            while is_more:
                async with side.change() as connection:
                    await set_fence(connection, self._plan, OPEN)
                    key = [moved.rows.c[name] for name in moved.key]
                    mine = moved.rows.c.workspace_id == self._plan.workspace_id
                    some = select(*key).where(mine).limit(BATCH)
                    done = await connection.execute(delete(moved.rows).where(mine, tuple_(*key).in_(some)))
                    await set_fence(connection, self._plan, state)
                is_more = done.rowcount >= BATCH

    async def waiting(self) -> int:
        """Return how many entries of the log are not replayed yet."""
        async with self._source.snapshot() as reading:
            counts = [
                (await reading.execute(select(func.count()).select_from(moved.log))).scalar_one()
                for moved in self._plan.tables
            ]
        return sum(counts)


async def _forget(connection: AsyncConnection, log: Table, seqs: Sequence[int]) -> None:
    for first in range(0, len(seqs), BATCH):
        await connection.execute(delete(log).where(log.c[SEQ].in_(seqs[first : first + BATCH])))


def _together(entries: Sequence[_Entry]) -> list[_Entry]:
    """Return the last image of each row: what is gone, children first, then what is there, parents first."""
    last = {(entry.number, *(entry.row[name] for name in entry.key)): entry for entry in entries}
    gone = sorted((entry for entry in last.values() if entry.op == "d"), key=lambda entry: -entry.number)
    return gone + sorted((entry for entry in last.values() if entry.op != "d"), key=lambda entry: entry.number)


def _in_order(entries: Sequence[_Entry]) -> list[_Entry]:
    ordered: list[_Entry] = []
    for _, statement in groupby(entries, key=attrgetter("last")):
        one = list(statement)
        ordered += sorted((e for e in one if e.op == "d"), key=lambda e: (-e.number, e.seq))
        ordered += sorted((e for e in one if e.op != "d"), key=lambda e: (e.number, e.seq))
    return ordered
