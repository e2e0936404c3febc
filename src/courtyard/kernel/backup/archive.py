"""What is in an archive, and how it comes in and out: one tar inside one encrypted stream, in flat memory.

First the manifest, then the secrets file, the databases, the files, and at the end how many there were. Databases are
copied before files: a file is stored before its row is ready, and goes after it, so every row finds its file, but for
those that people removed meanwhile.
"""

# A command: nobody waits beside it.
# ruff: noqa: ASYNC240

import io
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from courtyard import __version__
from courtyard.kernel.backup import databases
from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.backup.sealed import SealedReader, SealedWriter
from courtyard.kernel.database import address
from courtyard.kernel.settings import Settings, StorageSettings
from courtyard.kernel.shards import ShardedPlacement, ShardedStorage
from courtyard.kernel.storage import Missing, Storage, open_storage

MANIFEST, SECRETS, END = "manifest.json", "secrets", "end.json"
SUFFIX = ".courtyard-backup"
PART = 1 << 20

Say = Callable[[str], object]


class Manifest(msgspec.Struct, frozen=True):
    """What an archive begins with.

    Attributes:
        version: of Courtyard, which made it.
        created_at: when.
        databases: their URLs, the main one first.
        storages: the settings of the storages; None for the shared one.
    """

    version: str
    created_at: datetime
    databases: list[str]
    storages: list[str | None]


class Contents(msgspec.Struct):
    """How much is in an archive."""

    databases: int = 0
    files: int = 0
    bytes: int = 0


async def create(
    file: IO[bytes],
    passphrase: str,
    placement: ShardedPlacement,
    storage: ShardedStorage,
    secrets: Path,
    now: datetime,
    say: Say,
) -> Contents:
    """Write everything of an installation into an archive.

    Raises:
        BackupRefused: a database cannot be read.
        StorageUnavailable: a storage does not do its part.
    """
    await placement.load()
    urls = [database.url for database in placement.databases()]
    own = {each for stored in placement.stored.values() for each in stored[:2] if each is not None}
    storages: list[bytes | None] = [None, *sorted(own)]
    manifest = Manifest(__version__, now, urls, [None if each is None else each.decode() for each in storages])
    contents, sealed = Contents(), SealedWriter(file, passphrase)
    with tarfile.open(fileobj=sealed, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        _add(tar, MANIFEST, msgspec.json.encode(manifest))
        if secrets.exists():
            _add(tar, SECRETS, secrets.read_bytes())
        with tempfile.TemporaryDirectory(prefix="courtyard-backup-") as folder:
            for number, url in enumerate(urls):
                say(address(url))
                path = Path(folder) / str(number)
                await databases.dump(url, path)
                tar.add(path, f"databases/{number}")
                contents.databases += 1
                contents.bytes += path.stat().st_size
                path.unlink()
        for number, settings in enumerate(storages):
            await _add_files(tar, number, storage.made(settings), contents)
        say(f"{contents.files} files")
        _add(tar, END, msgspec.json.encode(contents))
    sealed.close()
    return contents


async def _add_files(tar: tarfile.TarFile, number: int, storage: Storage, contents: Contents) -> None:
    async for lot in storage.everything():
        for stored in lot:
            try:
                size = (await storage.stat(stored.key)).size
            except Missing:
                continue
            info = tarfile.TarInfo(f"files/{number}/{stored.key}")
            info.size = size
            tar.addfile(info)
            # What `addfile` would do with a file of this machine.
            out: Any = tar.fileobj
            async for part in storage.read(stored.key, 0, size):
                out.write(part)
            out.write(bytes(-size % tarfile.BLOCKSIZE))
            tar.offset += size + -size % tarfile.BLOCKSIZE
            contents.files += 1
            contents.bytes += size


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


@contextmanager
def _members(file: IO[bytes], passphrase: str) -> Iterator[tuple[Manifest, Iterator[tuple[str, IO[bytes]]]]]:
    sealed = SealedReader(file, passphrase)
    try:
        with tarfile.open(fileobj=sealed, mode="r|") as tar:  # type: ignore[call-overload]

            def each() -> Iterator[tuple[str, IO[bytes]]]:
                for info in tar:
                    content = tar.extractfile(info)
                    if content is not None:
                        yield info.name, content

            members = each()
            name, content = next(members, ("", io.BytesIO()))
            if name != MANIFEST:
                raise BackupRefused("it does not begin with what is in it")
            yield msgspec.json.decode(content.read(), type=Manifest), members
    except (tarfile.TarError, msgspec.MsgspecError) as error:
        raise BackupRefused(f"it is damaged: {error}") from error


def verify(file: IO[bytes], passphrase: str) -> tuple[Manifest, Contents]:
    """Read an archive from the first to the last byte, and return what is in it.

    Raises:
        BackupRefused: it is not whole, not ours, or of another passphrase.
    """
    found, end = Contents(), None
    with _members(file, passphrase) as (manifest, members):
        for name, content in members:
            size = 0
            if name == END:
                end = msgspec.json.decode(content.read(), type=Contents)
                continue
            while part := content.read(PART):
                size += len(part)
            kind = name.partition("/")[0]
            if kind in {"databases", "files"}:
                found.databases += kind == "databases"
                found.files += kind == "files"
                found.bytes += size
    if end != found or found.databases != len(manifest.databases):
        raise BackupRefused("it is not complete")
    return manifest, found


async def restore(path: Path, passphrase: str, settings: Settings, secrets: Path, say: Say, *, force: bool) -> Contents:
    """Write everything of an archive back: the main database where the settings say, all others where they were.

    Args:
        path: of the archive. It is read whole before anything is changed.
        passphrase: with which it was made.
        settings: of this installation.
        secrets: the file of generated keys.
        say: is told what happens, line by line.
        force: whether what is there may go.

    Raises:
        BackupRefused: it is not whole, or a place is not free.
    """
    with path.open("rb") as file:
        manifest, contents = verify(file, passphrase)
    urls = [settings.database_url, *manifest.databases[1:]]
    for here, there in zip(urls, manifest.databases, strict=True):
        if here.partition(":")[0] != there.partition(":")[0]:
            raise BackupRefused(f"{address(here)} is of another kind than the database in the backup")
        if not force and not await databases.is_empty(here):
            raise BackupRefused(f"{address(here)} is not empty: --force replaces what is in it")
    if secrets.exists() and not force:
        raise BackupRefused(f"{secrets} is there already: --force replaces it")
    storages = _storages(settings, manifest)
    with (
        path.open("rb") as file,
        tempfile.TemporaryDirectory(prefix="courtyard-restore-") as folder,
        _members(file, passphrase) as (_, members),
    ):
        for name, content in members:
            kind, _, rest = name.partition("/")
            if kind == SECRETS:
                secrets.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                secrets.touch(mode=0o600)
                secrets.write_bytes(content.read())
            elif kind == "databases":
                url = urls[int(rest)]
                say(address(url))
                dumped = Path(folder) / rest
                with dumped.open("wb") as out:
                    while part := content.read(PART):
                        out.write(part)
                await databases.restore(dumped, url)
                dumped.unlink()
            elif kind == "files":
                number, _, key = rest.partition("/")
                await storages[int(number)].write(key, _parts(content), {})
    say(f"{contents.files} files")
    return contents


def _storages(settings: Settings, manifest: Manifest) -> list[Storage]:
    shared = open_storage(settings.files.storage, settings.files_path)
    own = [None if each is None else StorageSettings.model_validate_json(each) for each in manifest.storages]
    return [shared if each is None else open_storage(each, each.path or settings.files_path) for each in own]


async def _parts(content: IO[bytes]) -> AsyncIterator[bytes]:
    while part := content.read(PART):
        yield part
