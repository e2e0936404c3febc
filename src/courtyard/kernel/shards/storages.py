"""Which storage the files of a workspace are in; while they are moved, two."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID

import msgspec
from typing_extensions import override

from courtyard.kernel.settings import StorageSettings
from courtyard.kernel.shards.placement import ShardedPlacement
from courtyard.kernel.storage import Missing, Storage, StoragePlacement, StoredObject, open_storage


def encoded(settings: StorageSettings) -> bytes:
    """Return the settings of a storage in the one form that is stored, secrets included."""
    revealed = {
        name: value.get_secret_value() if hasattr(value, "get_secret_value") else value
        for name, value in settings
        if value is not None
    }
    return msgspec.json.encode(revealed, enc_hook=str, order="sorted")


class Overlay(Storage):
    """Writes to one storage, and reads from another what is not there. A key is written once, so both say the same.

    Args:
        first: what is written to.
        second: what is read too.
    """

    def __init__(self, first: Storage, second: Storage) -> None:
        self.first = first
        self.second = second

    @override
    async def write(self, key: str, parts: AsyncIterator[bytes], attributes: Mapping[str, str]) -> None:
        await self.first.write(key, parts, attributes)

    @override
    async def read(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        try:
            await self.first.stat(key)
            chosen = self.first
        except Missing:
            chosen = self.second
        async for part in chosen.read(key, start, end):
            yield part

    @override
    async def stat(self, key: str) -> StoredObject:
        try:
            return await self.first.stat(key)
        except Missing:
            return await self.second.stat(key)

    @override
    async def remove(self, keys: Sequence[str]) -> None:
        await self.second.remove(keys)
        await self.first.remove(keys)

    @override
    async def everything(self) -> AsyncIterator[Sequence[StoredObject]]:
        for storage in (self.first, self.second):
            async for lot in storage.everything():
                yield lot

    @override
    async def remove_unfinished(self, before: datetime) -> int:
        return await self.first.remove_unfinished(before) + await self.second.remove_unfinished(before)

    @override
    async def sign(self, key: str, seconds: int) -> str | None:
        # Which of the two has it is known when it is read.
        return None

    @override
    async def check(self) -> None:
        await self.first.check()
        await self.second.check()


class ShardedStorage(StoragePlacement):
    """Most workspaces keep their files in the shared storage, some in others.

    Args:
        shared: the shared storage.
        placement: knows which.
        folder: where storages of the local kind are that name no path.
    """

    def __init__(self, shared: Storage, placement: ShardedPlacement, folder: Path) -> None:
        self._shared = shared
        self._placement = placement
        self._folder = folder
        self._made: dict[bytes, Storage] = {}
        self._overlays: dict[tuple[bytes | None, bytes | None], Overlay] = {}

    @override
    async def storage_of(self, workspace_id: UUID) -> Storage:
        stored = await self._placement.stored_in(workspace_id)
        if stored is None:
            return self._shared
        written, also_read, is_also_read = stored
        if not is_also_read:
            return self.made(written)
        key = (written, also_read)
        if key not in self._overlays:
            self._overlays[key] = Overlay(self.made(written), self.made(also_read))
        return self._overlays[key]

    def made(self, settings: bytes | None) -> Storage:
        """Return the storage of these settings, the same for the same."""
        if settings is None:
            return self._shared
        if settings not in self._made:
            chosen = StorageSettings.model_validate_json(settings)
            self._made[settings] = open_storage(chosen, chosen.path or self._folder)
        return self._made[settings]

    @override
    def storages(self) -> Sequence[Storage]:
        used = {each for stored in self._placement.stored.values() for each in stored[:2] if each is not None}
        return (self._shared, *(self.made(each) for each in used))
