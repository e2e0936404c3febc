"""A new archive in its place, and the old ones that may go then."""

from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

import msgspec

from courtyard.kernel.backup.archive import Contents, Say, packed, verify
from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.backup.places import Place
from courtyard.kernel.backup.rules import Rule
from courtyard.kernel.shards import ShardedPlacement, ShardedStorage


class Source(msgspec.Struct, frozen=True):
    """What a backup is made of.

    Attributes:
        placement: the databases.
        storage: the storages.
        secrets: the file of generated keys.
        passphrase: what opens archives.
    """

    placement: ShardedPlacement
    storage: ShardedStorage
    secrets: Path
    passphrase: str


async def make(source: Source, place: Place, now: datetime, say: Say) -> tuple[str, Contents]:
    """Keep a new archive, and return its name and what is in it.

    Raises:
        BackupRefused: there is one of this second, or a program is missing.
        DumpFailed: a database or a file cannot be read now.
        StorageUnavailable: a storage, that of archives included, does not do its part.
    """
    contents = Contents()
    parts = packed(source.passphrase, source.placement, source.storage, source.secrets, now, say, contents)
    async with aclosing(parts):
        return await place.write(now, parts), contents


async def tidy(place: Place, rule: Rule, passphrase: str, say: Callable[[str], object]) -> list[str]:
    """Remove what the rule does not keep, and return the names.

    Before anything goes, the newest archive is read back from the first to the last byte: one that is good is left,
    whatever has become of the others.

    Raises:
        BackupRefused: the newest is not good, so nothing has been removed.
        StorageUnavailable: the storage of archives does not do its part.
    """
    archives = await place.archives()
    kept = rule.kept([each.made_at for each in archives])
    over = [each.name for each in archives if each.made_at not in kept]
    if over:
        newest = archives[0].name
        try:
            await verify(place.read(newest), passphrase)
        except BackupRefused as error:
            raise BackupRefused(f"{newest}: {error.detail}; nothing was removed") from error
        await place.remove(over)
        for name in over:
            say(f"removed {name}")
    return over
