"""The audit log of a workspace that leaves a database of its own."""

from uuid import UUID

from sqlalchemy import Table, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from courtyard.kernel.relocation.bulk import Side
from courtyard.kernel.relocation.copying import BATCH
from courtyard.kernel.relocation.plan import Plan
from courtyard.kernel.trail import AuditEntryRow


async def append_entries(plan: Plan, source: Side, target: Side) -> int:
    """Append the entries of a workspace to its log in another database, where they are sealed anew; return how many.

    Entries are never changed, so those that are there already are left alone, and nothing has to be kept from being
    written meanwhile. Their old chain stays where it was: a chain belongs to one database.
    """
    table: Table = AuditEntryRow.__table__  # type: ignore[assignment]  # it is one
    make = sqlite_insert if target.is_sqlite else postgresql_insert
    statement = make(table).on_conflict_do_nothing()
    first, total = UUID(int=0), 0
    while True:
        async with source.snapshot() as reading:
            mine = select(table).where(table.c.workspace_id == plan.workspace_id, table.c.id > first)
            rows = [dict(row) for row in (await reading.execute(mine.order_by(table.c.id).limit(BATCH))).mappings()]
        if not rows:
            return total
        async with target.change() as connection:
            await connection.execute(statement, rows)
        first, total = rows[-1]["id"], total + len(rows)
