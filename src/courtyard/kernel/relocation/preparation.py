"""Before a workspace lives in a database: it is looked at, given its tables, and marked as ours."""

from collections.abc import Callable
from uuid import UUID

from courtyard.kernel.database import Database
from courtyard.kernel.database.migrator import upgrade
from courtyard.kernel.relocation.errors import UnfitDatabase
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.shards import Fault, check_database, claim, installation_id, normalised


async def examine(runtime: Runtime, url: str) -> list[Fault]:
    """Return what keeps a database from taking a workspace of this installation."""
    try:
        url = normalised(url)
    except ValueError as error:
        return [Fault("url", str(error))]
    main = runtime.placement.main
    if url == main.url:
        return [Fault("database", "is the main database")]
    own = await installation_id(main, runtime.clock.now())
    settings = runtime.settings
    return await check_database(url, settings.database, runtime.parts, own, settings.shards.answer_seconds)


async def make_ready(runtime: Runtime, url: str, say: Callable[[str], object]) -> str:
    """Give a database the tables of a workspace, and return its URL as it is stored.

    Raises:
        UnfitDatabase: it cannot take a workspace.
        MigrationError: its tables cannot be made.
    """
    if faults := await examine(runtime, url):
        raise UnfitDatabase.of(faults)
    url = normalised(url)
    database = Database(url, runtime.settings.database)
    try:
        await upgrade(database, runtime.parts, main=False, say=say)
        own: UUID = await installation_id(runtime.placement.main, runtime.clock.now())
        await claim(database, own, runtime.clock.now())
    finally:
        await database.close()
    return url
