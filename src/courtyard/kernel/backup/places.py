"""Where archives are kept: a folder or a bucket, both through the storage kernel that files use."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.settings import BackupSettings, StorageSettings
from courtyard.kernel.storage import Missing, open_storage

SUFFIX = ".courtyard-backup"
# So that an archive of 312 GiB fits into the 10,000 parts that S3 takes; two of them are held in memory.
PART_BYTES = 32 << 20
# A write that has not ended by then never will.
UNFINISHED = timedelta(days=2)
_TIME = f"%Y%m%dT%H%M%SZ{SUFFIX}"


class Kept(NamedTuple):
    """An archive that is whole, as far as its place knows.

    Attributes:
        name: under which it is kept.
        made_at: when it was begun, as its name says.
        size: in bytes.
    """

    name: str
    made_at: datetime
    size: int


class Place:
    """A folder or a bucket with the archives of one installation. What has another name than theirs is left alone.

    Every method raises `StorageUnavailable` where the storage does not do its part.

    Args:
        settings: of the storage.
        folder: where it is, for the local kind.
    """

    def __init__(self, settings: StorageSettings, folder: Path | None) -> None:
        self._folder = folder
        self._storage = open_storage(settings, folder or Path(), part_bytes=PART_BYTES)

    @classmethod
    def of_folder(cls, folder: Path) -> "Place":
        """Return a folder of this machine as a place."""
        return cls(StorageSettings(), folder.expanduser().absolute())

    @classmethod
    def configured(cls, settings: BackupSettings) -> "Place":
        """Return what the settings say.

        Raises:
            BackupRefused: they say nothing.
        """
        if not settings.has_place:
            raise BackupRefused("no place: name a folder, or set backup.storage")
        path = settings.storage.path
        return cls(settings.storage, None if path is None else path.expanduser().absolute())

    async def archives(self) -> list[Kept]:
        """Return what is there, the newest first."""
        found = [
            Kept(one.key, made_at, one.size)
            async for lot in self._storage.everything()
            for one in lot
            if (made_at := _made_at(one.key)) is not None
        ]
        return sorted(found, reverse=True)

    async def write(self, made_at: datetime, parts: AsyncIterator[bytes]) -> str:
        """Keep an archive, all of it or nothing, and return its name.

        Args:
            made_at: when it was begun.
            parts: its bytes. What they raise is raised here, and nothing is kept then.

        Raises:
            BackupRefused: there is one of this second, or the folder cannot be made.
        """
        name = _name(made_at)
        if self._folder is not None:
            try:
                await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise BackupRefused(f"{self._folder}: {error.strerror}") from error
        if any(each.name == name for each in await self.archives()):
            raise BackupRefused(f"{name} is there already")
        await self._storage.remove_unfinished(made_at - UNFINISHED)
        await self._storage.write(name, parts, {"Content-Type": "application/octet-stream"})
        if self._folder is not None:
            await asyncio.to_thread((self._folder / name).chmod, 0o600)
        return name

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Return the bytes of an archive, as they are asked for.

        Raises:
            BackupRefused: there is none of this name.
        """
        try:
            size = (await self._storage.stat(name)).size
            async for part in self._storage.read(name, 0, size):
                yield part
        except Missing:
            raise BackupRefused(f"there is no {name}") from None

    def shown(self, name: str) -> str:
        """Return where an archive is, for people: its path, or its name in a bucket."""
        return name if self._folder is None else str(self._folder / name)

    async def remove(self, names: list[str]) -> None:
        """Remove archives."""
        await self._storage.remove(names)


def _name(made_at: datetime) -> str:
    return f"{made_at.astimezone(UTC):{_TIME}}"


def _made_at(name: str) -> datetime | None:
    try:
        made_at = datetime.strptime(name, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return made_at if _name(made_at) == name else None
