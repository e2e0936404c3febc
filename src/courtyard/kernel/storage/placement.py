"""Which storage the files of a workspace are in."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from typing_extensions import override

from courtyard.kernel.storage.storage import Storage


class StoragePlacement(Protocol):
    """Knows the storage of each workspace."""

    async def storage_of(self, workspace_id: UUID) -> Storage:
        """Return the storage that holds the files of a workspace."""
        ...

    def storages(self) -> Sequence[Storage]:
        """Return every storage that is in use."""
        ...


class SharedStorage(StoragePlacement):
    """The default: the files of all workspaces are in one storage."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @override
    async def storage_of(self, workspace_id: UUID) -> Storage:
        return self._storage

    @override
    def storages(self) -> Sequence[Storage]:
        return (self._storage,)
