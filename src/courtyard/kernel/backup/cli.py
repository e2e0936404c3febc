"""The commands of `courtyard backup`."""

# A command: nobody waits beside it.
# ruff: noqa: ASYNC230, ASYNC240

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from courtyard.kernel.application import Application
from courtyard.kernel.backup import archive, making, restoring
from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.backup.places import Place
from courtyard.kernel.backup.rules import Rule
from courtyard.kernel.clock import SystemClock
from courtyard.kernel.crypto import KeyRing
from courtyard.kernel.database import Database, address
from courtyard.kernel.rings import Ring
from courtyard.kernel.settings import Settings, StorageSettings
from courtyard.kernel.settings_backup import LEAST_PASSPHRASE
from courtyard.kernel.settings_sources import SECRETS_FILE
from courtyard.kernel.shards import ShardedPlacement, ShardedStorage
from courtyard.kernel.storage import open_storage

Configured = Callable[[], tuple[Settings, list[Application]]]
Named = Annotated[
    str, typer.Argument(metavar="ARCHIVE", help="File of an archive, or the name of one where the settings say.")
]
Folder = Annotated[Path | None, typer.Argument(help="Folder of archives. Not given: what `backup.storage` says.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="Its first line opens the archive. Not given: the settings, or asked for."),
]


def commands(configured: Configured) -> typer.Typer:
    """Return the commands.

    Args:
        configured: reads the settings and returns whose tables there are; is called when a command runs.
    """
    app = typer.Typer(name="backup", help="Make backups, look at them, and restore.", no_args_is_help=True)

    @app.command("create")
    def create_(
        folder: Folder = None,
        passphrase_file: PassphraseFile = None,
        *,
        keep: Annotated[
            int | None, typer.Option(min=1, max=10_000, help="Remove all but so many of the newest, and those below.")
        ] = None,
        keep_daily: Annotated[
            int | None, typer.Option(min=1, max=10_000, help="Keep the newest of each of so many days.")
        ] = None,
        keep_weekly: Annotated[int | None, typer.Option(min=1, max=10_000, help="… of so many weeks.")] = None,
        keep_monthly: Annotated[int | None, typer.Option(min=1, max=10_000, help="… of so many months.")] = None,
    ) -> None:
        """Write everything into a new archive: databases, files and generated keys. The server may run meanwhile."""
        settings, parts = configured()
        place = _place(settings, folder)
        counts = (keep, keep_daily, keep_weekly, keep_monthly)
        if any(counts):
            rule = Rule(last=keep or 0, daily=keep_daily or 0, weekly=keep_weekly or 0, monthly=keep_monthly or 0)
        else:
            rule = Rule.of(settings.backup) if folder is None else Rule()
        passphrase = _passphrase(settings, passphrase_file, again=True)
        typer.echo(asyncio.run(_create(settings, parts, place, passphrase, rule)))

    @app.command("list")
    def list_(folder: Folder = None) -> None:
        """List archives, the newest first, with their lengths in bytes."""
        settings, _ = configured()
        for each in asyncio.run(_place(settings, folder).archives()):
            typer.echo(f"{each.name}  {each.size}")

    @app.command()
    def verify(named: Named, passphrase_file: PassphraseFile = None) -> None:
        """Read an archive from the first to the last byte, and say what is in it."""
        settings, _ = configured()
        passphrase = _passphrase(settings, passphrase_file)
        manifest, contents = asyncio.run(archive.verify(_opened(settings, named), passphrase))
        typer.echo(
            f"{manifest.created_at:%Y-%m-%d %H:%M} UTC, Courtyard {manifest.version}: "
            f"{contents.databases} databases, {contents.files} files, {contents.bytes} bytes"
        )
        for number, url in enumerate(manifest.databases):
            typer.echo(f"  database {number}: {address(url)}{', the main one' if number == 0 else ''}")
        for number, storage in enumerate(manifest.storages):
            typer.echo(f"  storage {number}: {_told(storage)}")

    @app.command()
    def restore(
        named: Named,
        passphrase_file: PassphraseFile = None,
        *,
        database: Annotated[
            list[str] | None,
            typer.Option(metavar="N=URI|keep", help="Where the database N of the archive goes; `keep`: nowhere."),
        ] = None,
        storage: Annotated[
            list[str] | None,
            typer.Option(
                metavar="N=FILE|keep", help="Where the storage N goes: JSON with the settings of `files.storage`."
            ),
        ] = None,
        force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    ) -> None:
        """Write everything back. No server may run. Archives that are not whole are refused before anything changes."""
        settings, _ = configured()
        choices = restoring.Choices(
            dict(map(_numbered, database or ())),
            {number: _storage(given) for number, given in map(_numbered, storage or ())},
            force,
        )
        passphrase = _passphrase(settings, passphrase_file)
        asyncio.run(
            restoring.restore(lambda: _opened(settings, named), passphrase, settings, choices, _progress, configured)
        )
        typer.echo("Restored. `courtyard migrate up` brings it to this version.")

    return app


async def _create(settings: Settings, parts: list[Application], place: Place, passphrase: str, rule: Rule) -> str:
    keys = KeyRing(Ring(settings.security.encryption_ring, SystemClock()))
    placement = ShardedPlacement(Database(settings.database_url, settings.database), settings, parts, keys)
    storage = ShardedStorage(open_storage(settings.files.storage, settings.files_path), placement, settings.files_path)
    source = making.Source(placement, storage, settings.data_path / SECRETS_FILE, passphrase)
    try:
        name, _ = await making.make(source, place, datetime.now(UTC), _progress)
    finally:
        await placement.close()
    await making.tidy(place, rule, passphrase, _progress)
    return place.shown(name)


def _place(settings: Settings, folder: Path | None) -> Place:
    return Place.configured(settings.backup) if folder is None else Place.of_folder(folder)


async def _opened(settings: Settings, named: str) -> AsyncGenerator[bytes]:
    path = Path(named)
    if settings.backup.has_place and path.name == named and not path.exists():
        async for part in Place.configured(settings.backup).read(named):
            yield part
    else:
        with path.open("rb") as file:
            async for part in archive.parts_of(file):
                yield part


def _numbered(given: str) -> tuple[int, str]:
    number, separator, value = given.partition("=")
    if not separator or not number.isdecimal():
        raise typer.BadParameter(f"{given!r} is not a number, = and where it goes")
    return int(number), value


def _storage(given: str) -> StorageSettings | str:
    if given == restoring.KEEP:
        return given
    try:
        return StorageSettings.model_validate_json(Path(given).read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{'.'.join(map(str, first['loc'])) or given}: {first['msg']}") from None


def _told(storage: str | None) -> str:
    if storage is None:
        return "the shared one"
    settings = StorageSettings.model_validate_json(storage)
    return f"{settings.kind} {settings.path or '/'.join(filter(None, (settings.bucket, settings.prefix)))}"


def _passphrase(settings: Settings, file: Path | None, *, again: bool = False) -> str:
    if file is not None:
        passphrase = file.read_text(encoding="utf-8").partition("\n")[0]
    elif settings.backup.passphrase is not None:
        passphrase = settings.backup.passphrase.get_secret_value()
    else:
        passphrase = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=again)
    if again and len(passphrase) < LEAST_PASSPHRASE:
        raise BackupRefused(f"the passphrase is shorter than {LEAST_PASSPHRASE} characters")
    return passphrase


def _progress(line: str) -> None:
    typer.echo(f"  {line}")
