"""What an operator does with the databases of workspaces."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from sqlalchemy import exc

from courtyard.kernel.context import Context
from courtyard.kernel.database import address
from courtyard.kernel.relocation.errors import CannotMove, HasRows
from courtyard.kernel.relocation.models import DONE
from courtyard.kernel.relocation.mover import Mover, note_placement, start
from courtyard.kernel.relocation.moves import Move, find_move, urls_of
from courtyard.kernel.relocation.preparation import make_ready
from courtyard.kernel.relocation.store import count_rows
from courtyard.kernel.relocation.tables import workspace_tables
from courtyard.kernel.shards import load_placed, normalised, place, url_of


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


async def move(
    context: Context, workspace_id: UUID, url: str | None, say: Callable[[str], object], pause_seconds: float
) -> None:
    """Move a workspace to another database while it is used, or go on with the move that was begun.

    Args:
        context: of an operator, outside of any workspace; the move commits by itself.
        workspace_id: which workspace.
        url: of the database; None for the main one.
        say: is told what happens, line by line.
        pause_seconds: the longest time for which changes are refused.

    Raises:
        CannotMove: it lives there already, or the last move has not been cleared away.
        UnfitDatabase: the database cannot take it.
    """
    # No transaction of the context may be open: SQLite has one writer.
    runtime, reading = context.runtime, context.outside().db
    found = await find_move(reading, workspace_id)
    if found is None:
        if url is not None:
            url = await make_ready(runtime, url, say)
        placed = await load_placed(reading, workspace_id)
        present = None if placed is None else url_of(runtime.keys, placed)
        if present == url:
            raise CannotMove("the workspace lives there already")
        found = await start(runtime, workspace_id, present, url)
    elif found.state == DONE and _leads_to(url, urls_of(runtime.keys, found)[1]):
        # The same command again, for the files that it has not come to.
        say(f"lives in {'the main database' if url is None else address(url)} already")
        return
    elif found.state == DONE:
        raise CannotMove("the old rows of the last move are still there: `courtyard workspaces move --clean` first")
    else:
        say(f"going on with the move of {found.started_at:%Y-%m-%d %H:%M} UTC, which is {found.state}")
    await with_mover(context, found, say, Mover.run, pause_seconds)


def _leads_to(url: str | None, present: str | None) -> bool:
    try:
        return present == (None if url is None else normalised(url))
    except ValueError:
        return False


async def with_mover(
    context: Context,
    found: Move | None,
    say: Callable[[str], object],
    work: Callable[[Mover], Awaitable[None]],
    pause_seconds: float = 10.0,
) -> None:
    """Do something about a move.

    Raises:
        CannotMove: there is none, or it cannot be done.
    """
    if found is None:
        raise CannotMove("there is no move")
    # A command sends signals only then.
    await context.runtime.bus.start(lambda _: None)
    mover = Mover(context.runtime, found, say, pause_seconds)
    try:
        await work(mover)
    except exc.SQLAlchemyError as error:
        # Behind the first line may stand rows.
        raise CannotMove(str(error).splitlines()[0]) from error
    finally:
        await mover.close()
