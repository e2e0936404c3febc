"""What is asked of the tables of a workspace, whichever they are."""

from functools import lru_cache
from uuid import UUID

from sqlalchemy import Table, func, select

from courtyard.kernel.database import WORKSPACE, Database, Prepared


@lru_cache(maxsize=1_024)
def _counting(table: Table) -> Prepared[int]:
    return Prepared(select(func.count()).select_from(table).where(table.c.workspace_id == WORKSPACE), int)


async def count_rows(database: Database, table: Table, workspace_id: UUID) -> int:
    """Return how many rows a table of a database has of a workspace."""
    (count,) = await database.fetch(_counting(table), {"workspace_id": workspace_id})
    return count
