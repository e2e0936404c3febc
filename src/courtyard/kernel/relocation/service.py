"""What an operator does with the databases of workspaces."""

from collections.abc import Callable
from uuid import UUID

from courtyard.kernel.context import Context
from courtyard.kernel.database import address
from courtyard.kernel.events import Signal
from courtyard.kernel.relocation.errors import HasRows
from courtyard.kernel.relocation.preparation import make_ready
from courtyard.kernel.relocation.store import count_rows
from courtyard.kernel.relocation.tables import workspace_tables
from courtyard.kernel.shards import PLACEMENTS_CHANNEL, place

PLACED = "placements:workspace:placed"


async def set_database(context: Context, workspace_id: UUID, url: str | None, say: Callable[[str], object]) -> None:
    """Let a workspace that has no rows yet live in another database.

    Args:
        context: of an operator, outside of any workspace.
        workspace_id: which workspace.
        url: of the database; None for the main one.
        say: is told what happens, line by line.

    Raises:
        HasRows: it has rows where it lives, so it has to be moved.
        UnfitDatabase: the database cannot take it.
    """
    runtime = context.runtime
    present = await runtime.placement.database_of(workspace_id)
    for table in workspace_tables(runtime.parts):
        if count := await count_rows(present, table, workspace_id):
            raise HasRows(f"{table.name} has {count}: `courtyard workspaces move` takes them along")
    if url is not None:
        url = await make_ready(runtime, url, say)
    await place(context.db, runtime.keys, workspace_id, url, context.now)
    note_placement(context, workspace_id, url)


def note_placement(context: Context, workspace_id: UUID, url: str | None) -> None:
    """Write into the audit log where a workspace lives now, and tell all processes at the commit."""
    runtime = context.runtime
    where = "main" if url is None else address(url)
    context.note(PLACED, object_type="workspace", object_id=str(workspace_id), database=where)

    def tell() -> None:
        runtime.placement.forget()
        runtime.bus.publish(Signal(PLACEMENTS_CHANNEL, "changed"))

    context.after_commit(tell)
