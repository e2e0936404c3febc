"""Where workspaces live, as the main database says; remembered for less than a second."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Sequence
from uuid import UUID

import structlog
from typing_extensions import override

from courtyard.kernel.application import Application
from courtyard.kernel.crypto import CryptoError, KeyRing
from courtyard.kernel.database import INSTALLATION, Database, DatabaseUnavailable, Placement
from courtyard.kernel.events import Background
from courtyard.kernel.settings import Settings
from courtyard.kernel.shards.shard import Shard
from courtyard.kernel.shards.store import (
    Placed,
    load_placements,
    load_stored,
    marker_of,
    number_of_changes,
    storages_of,
    url_of,
)

log = structlog.get_logger()

# What is logged where the address of a database cannot be decrypted.
UNREADABLE = "placement.unreadable"

PLACEMENTS_CHANNEL = "placements"
# A placement is never older than this in any process: a move waits for so long before it goes on.
FRESH_SECONDS = 0.9
# All is read anew now and then: rows also go with their workspaces, which nobody counts.
RELOAD_SECONDS = 60.0


class ShardedPlacement(Placement):
    """Most workspaces live in the main database, some in others.

    Args:
        main: the main database.
        settings: bounds and time-outs.
        parts: whose tables a database of workspaces has to have.
        keys: decrypts the URLs.
    """

    def __init__(self, main: Database, settings: Settings, parts: Sequence[Application], keys: KeyRing) -> None:
        self._main = main
        self._settings = settings
        self._parts = parts
        self._keys = keys
        self._where: dict[UUID, Shard | None] = {}
        # By URL, the one that was not used for longest first.
        self._shards: OrderedDict[str, Shard] = OrderedDict()
        # No longer in use, and perhaps not yet let go of by everybody.
        self._retired: list[Shard] = []
        self._urls: dict[bytes, str] = {}
        # Where files are written, and where they are read from too.
        self.stored: dict[UUID, tuple[bytes | None, bytes | None, bool]] = {}
        self._installation_id: UUID | None = None
        self._number = -1
        self._fresh_until = 0.0
        self._reload_at = 0.0
        self._loading = asyncio.Lock()
        self._background = Background()

    @property
    @override
    def main(self) -> Database:
        return self._main

    @override
    async def database_of(self, workspace_id: UUID) -> Database:
        if workspace_id == INSTALLATION:
            return self._main
        if time.monotonic() >= self._fresh_until:
            await self.load()
        if workspace_id not in self._where:
            return self._main
        shard = self._where[workspace_id]
        if shard is None:
            raise DatabaseUnavailable("Where this workspace lives cannot be read.")
        self._shards.move_to_end(shard.url)
        await shard.admit(self._parts, self._installation_id)
        return shard

    async def stored_in(self, workspace_id: UUID) -> tuple[bytes | None, bytes | None, bool] | None:
        """Return the settings of the storage of a workspace, of the one that is read too, and whether there is one.

        None where the files are in the shared storage.
        """
        if time.monotonic() >= self._fresh_until:
            await self.load()
        return self.stored.get(workspace_id)

    @override
    def databases(self) -> Sequence[Database]:
        return (self._main, *self._shards.values())

    @override
    async def load(self) -> None:
        async with self._loading:
            started = time.monotonic()
            if started < self._fresh_until:
                return
            number = await number_of_changes(self._main)
            if number != self._number or started >= self._reload_at:
                self._take(await load_placements(self._main))
                self.stored = {
                    each.workspace_id: (*storages_of(self._keys, each), each.is_also_read)  # type: ignore[misc]
                    for each in await load_stored(self._main)
                }
                self._installation_id = await marker_of(self._main) if self._shards else None
                # Only now: what was read is at least as new as the number.
                self._number = number
                self._reload_at = started + RELOAD_SECONDS
            # From the moment it was asked, so that what is used is never older than it may be.
            self._fresh_until = started + FRESH_SECONDS

    def _take(self, placed: Sequence[Placed]) -> None:
        urls: dict[bytes, str | None] = {each.uri: self._url_of(each) for each in placed}
        known = {url for url in urls.values() if url is not None}
        for url in known - self._shards.keys():
            self._shards[url] = Shard(url, self._settings.database, self._settings.shards, self._opened)
        self._retired += [self._shards.pop(url) for url in self._shards.keys() - known]
        self._where = {
            each.workspace_id: None if (where := urls[each.uri]) is None else self._shards[where] for each in placed
        }
        self._urls = {uri: url for uri, url in urls.items() if url is not None}

    def _url_of(self, placed: Placed) -> str | None:
        known = self._urls.get(placed.uri)
        if known is not None:
            return known
        try:
            return url_of(self._keys, placed)
        except CryptoError:
            # Of this workspace alone: the others go on.
            log.exception(UNREADABLE, workspace_id=str(placed.workspace_id))
            return None

    def _opened(self, shard: Shard) -> None:
        is_open = [each for each in self._shards.values() if each.is_open and each is not shard]
        for each in is_open[: max(0, len(is_open) + 1 - self._settings.shards.open)]:
            self._background.spawn(each.close())

    @override
    def start(self) -> None:
        self._background.every(FRESH_SECONDS, self._look)

    async def _look(self) -> None:
        """See new databases without being asked for them, and those that hang."""
        await self.load()
        await asyncio.gather(*(shard.watch() for shard in self._shards.values()))
        for shard in self._retired:
            await shard.close()
        self._retired = [shard for shard in self._retired if shard.in_use]

    @override
    def forget(self) -> None:
        self._fresh_until = 0.0

    @override
    async def close(self) -> None:
        await self._background.end()
        for database in (*self.databases(), *self._retired):
            await database.close()
