"""An archive back to where it came from, or to somewhere else."""

# A command: nobody waits beside it.

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from courtyard.kernel.application import Application
from courtyard.kernel.backup import databases
from courtyard.kernel.backup.archive import (
    SECRETS,
    Contents,
    Manifest,
    Say,
    Streamed,
    members,
    parts_of,
    reasons,
    verify,
)
from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.clock import SystemClock
from courtyard.kernel.crypto import CryptoError, KeyRing
from courtyard.kernel.database import Database, UnitOfWork, address, sqlite_path
from courtyard.kernel.rings import Ring
from courtyard.kernel.settings import Settings, StorageSettings
from courtyard.kernel.settings_sources import SECRETS_FILE
from courtyard.kernel.shards import (
    ShardedPlacement,
    encoded,
    holder_of,
    load_placements,
    load_stored,
    normalised,
    place,
    storages_of,
    store_in,
    url_of,
)
from courtyard.kernel.storage import Storage, open_storage

KEEP: Final = "keep"
MAIN: Final = 0


@dataclass(frozen=True)
class Choices:
    """What is to be restored otherwise than it was.

    Attributes:
        databases: number of a database in the archive → its new URL, or `keep` to leave the one that is there alone.
        storages: number of a storage → its new settings, or `keep`.
        force: whether what is there may go.
    """

    databases: Mapping[int, str] = field(default_factory=dict)
    storages: Mapping[int, StorageSettings | str] = field(default_factory=dict)
    force: bool = False


class Restore:
    """What is written where.

    Args:
        manifest: of the archive.
        settings: of this installation.
        choices: what is to be otherwise.

    Raises:
        BackupRefused: the choices cannot be followed.
    """

    def __init__(self, manifest: Manifest, settings: Settings, choices: Choices) -> None:
        for kind, chosen, there in (
            ("database", choices.databases, manifest.databases),
            ("storage", choices.storages, manifest.storages),
        ):
            if unknown := sorted(number for number in chosen if not 0 <= number < len(there)):
                raise BackupRefused(f"there is no {kind} {unknown[0]} in it: they are 0 to {len(there) - 1}")
        if choices.databases.get(MAIN, KEEP) != KEEP or choices.storages.get(MAIN, KEEP) != KEEP:
            raise BackupRefused("where number 0 goes is what the settings say; it can only be kept")
        self.manifest = manifest
        self._settings = settings
        self._choices = choices
        self.urls = list(self._urls())
        self.storages = list(self._storages())

    def _urls(self) -> Iterator[str | None]:
        for number, there in enumerate(self.manifest.databases):
            chosen = self._choices.databases.get(number)
            if chosen == KEEP:
                yield None
                continue
            try:
                here = self._settings.database_url if number == MAIN else normalised(chosen or there)
            except ValueError as error:
                raise BackupRefused(f"database {number}: {error}") from None
            if here.partition(":")[0] != there.partition(":")[0]:
                raise BackupRefused(f"{address(here)} is of another kind than the database in the backup")
            yield here

    def _storages(self) -> Iterator[Storage | None]:
        for number, there in enumerate(self.manifest.storages):
            chosen = self._choices.storages.get(number)
            if isinstance(chosen, str):
                yield None
                continue
            here = chosen or (
                self._settings.files.storage if there is None else StorageSettings.model_validate_json(there)
            )
            folder = self._settings.files_path if number == MAIN or here.path is None else here.path
            yield open_storage(here, folder)

    async def check(self) -> None:
        """Look at every place before anything is changed.

        Raises:
            BackupRefused: two are the same, or one is not free.
            DatabaseUnavailable: a database does not answer.
            StorageUnavailable: a storage does not.
        """
        used = [url for url in self.urls if url is not None]
        if len({*used, self._settings.database_url}) < len(used) + (self.urls[MAIN] is None):
            raise BackupRefused("two databases of the backup cannot be restored into one")
        if self._choices.force:
            return
        for url in used:
            if (holder := await self._holder(url)) is not None:
                raise BackupRefused(f"{address(url)} {holder}: --force replaces what is in it")
        for number, storage in enumerate(self.storages):
            if storage is not None and not await _is_empty(storage):
                raise BackupRefused(
                    f"storage {number} is not empty: --force writes into it, --storage {number}=keep leaves it alone"
                )
        secrets = self._settings.data_path / SECRETS_FILE
        if self.urls[MAIN] is not None and secrets.exists():
            raise BackupRefused(f"{secrets} is there already: --force replaces it")

    async def _holder(self, url: str) -> str | None:
        if url.startswith("sqlite:") and not sqlite_path(url).exists():
            return None
        database = Database(url, self._settings.database)
        try:
            tables, owner = await holder_of(database)
        finally:
            await database.close()
        if not tables:
            return None
        if owner == self.manifest.installation_id:
            return "is not empty (it is of this installation)"
        return "is not empty, and not of Courtyard" if owner is None else "belongs to another installation"

    async def write(self, parts: AsyncGenerator[bytes], passphrase: str, say: Say) -> None:
        """Write what is in the archive to where it belongs."""
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory(prefix="courtyard-restore-") as folder, ExitStack() as stack, reasons():
            # Whatever reads waits for the loop, so it does in a thread.
            archive = members(Streamed(parts, loop), passphrase)
            _, each = await asyncio.to_thread(stack.enter_context, archive)
            while (found := await asyncio.to_thread(next, each, None)) is not None:
                await self._write_one(*found, Path(folder), say)
            await asyncio.to_thread(stack.close)

    async def _write_one(self, name: str, content: IO[bytes], folder: Path, say: Say) -> None:
        kind, _, rest = name.partition("/")
        if kind == SECRETS and self.urls[MAIN] is not None:
            secrets = self._settings.data_path / SECRETS_FILE
            secrets.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            secrets.touch(mode=0o600)
            secrets.write_bytes(await asyncio.to_thread(content.read))
        elif kind == "databases" and (url := self.urls[int(rest)]) is not None:
            say(address(url))
            dumped = folder / rest
            with dumped.open("wb") as out:
                async for part in parts_of(content):
                    out.write(part)
            await databases.restore(dumped, url)
            dumped.unlink()
        elif kind == "files":
            number, _, key = rest.partition("/")
            storage = self.storages[int(number)]
            if storage is not None:
                await storage.write(key, parts_of(content), {})

    async def point(self, settings: Settings, parts: list[Application], say: Say) -> None:
        """Let workspaces live where their rows and files are now.

        Args:
            settings: of this installation, with the keys that were restored.
            parts: what is installed.
            say: is told what happens.

        Raises:
            BackupRefused: the keys are not there that the places are encrypted with.
        """
        moved = {
            self.manifest.databases[number]: normalised(url)
            for number, url in self._choices.databases.items()
            if url != KEEP
        }
        stored = {
            (self.manifest.storages[number] or "").encode(): encoded(chosen)
            for number, chosen in self._choices.storages.items()
            if isinstance(chosen, StorageSettings)
        }
        if not moved and not stored:
            return
        clock = SystemClock()
        keys, main = KeyRing(Ring(settings.security.encryption_ring, clock)), self._settings.database_url
        placement = ShardedPlacement(Database(main, settings.database), settings, parts, keys)
        unit = UnitOfWork(placement)
        try:
            for each in await load_placements(placement.main):
                if (url := moved.get(url_of(keys, each))) is not None:
                    await place(unit, keys, each.workspace_id, url, clock.now())
                    say(f"{each.workspace_id} lives in {address(url)}")
            for files in await load_stored(placement.main):
                before = storages_of(keys, files)
                now = tuple(None if one is None else stored.get(one, one) for one in before)
                if now != tuple(before):
                    written, also_read = now
                    await store_in(
                        unit, keys, files.workspace_id, (written, also_read), clock.now(), also=files.is_also_read
                    )
                    say(f"{files.workspace_id} keeps its files elsewhere")
            await unit.commit()
        except CryptoError as error:
            raise BackupRefused(
                f"all is restored, but where workspaces live cannot be read without the keys that were configured "
                f"({error}): configure them, and restore again with --force"
            ) from error
        finally:
            await unit.rollback()
            await placement.close()


async def restore(
    opened: Callable[[], AsyncGenerator[bytes]],
    passphrase: str,
    settings: Settings,
    choices: Choices,
    say: Say,
    reread: Callable[[], tuple[Settings, list[Application]]],
) -> Contents:
    """Write everything of an archive back: the main database where the settings say, all others where they were.

    Args:
        opened: begins to read the archive. It is read whole before anything is changed.
        passphrase: with which it was made.
        settings: of this installation.
        choices: what is to be otherwise.
        say: is told what happens, line by line.
        reread: returns the settings, with the keys that are there then, and what is installed.

    Raises:
        BackupRefused: it is not whole, or a place is not free.
        DumpFailed: a database cannot be written.
        StorageUnavailable: a storage does not do its part.
    """
    async with aclosing(opened()) as parts:
        manifest, contents = await verify(parts, passphrase)
    restoring = Restore(manifest, settings, choices)
    await restoring.check()
    async with aclosing(opened()) as parts:
        await restoring.write(parts, passphrase, say)
    say(f"{contents.files} files")
    await restoring.point(*reread(), say)
    return contents


async def _is_empty(storage: Storage) -> bool:
    async for lot in storage.everything():
        if lot:
            return False
    return True
