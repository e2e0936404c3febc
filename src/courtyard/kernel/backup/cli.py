"""The commands of `courtyard backup`."""

# A command: nobody waits beside it.
# ruff: noqa: ASYNC240

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from courtyard.kernel.application import Application
from courtyard.kernel.backup import archive
from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.clock import SystemClock
from courtyard.kernel.crypto import KeyRing
from courtyard.kernel.database import Database
from courtyard.kernel.rings import Ring
from courtyard.kernel.settings import Settings
from courtyard.kernel.settings_sources import SECRETS_FILE
from courtyard.kernel.shards import ShardedPlacement, ShardedStorage
from courtyard.kernel.storage import open_storage

PASSPHRASE = "COURTYARD_BACKUP_PASSPHRASE"  # noqa: S105 - the name of a variable
LEAST_LENGTH = 12

Archive = Annotated[Path, typer.Argument(help="The archive.")]
Folder = Annotated[Path, typer.Argument(help="Folder of archives.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help=f"Its first line opens the archive. Not given: {PASSPHRASE}, or asked for."),
]


def commands(configured: Callable[[], tuple[Settings, list[Application]]]) -> typer.Typer:
    """Return the commands.

    Args:
        configured: reads the settings and returns whose tables there are; is called when a command runs.
    """
    app = typer.Typer(name="backup", help="Make backups, look at them, and restore.", no_args_is_help=True)

    @app.command("create")
    def create_(
        folder: Folder,
        passphrase_file: PassphraseFile = None,
        keep: Annotated[int | None, typer.Option(min=1, help="Remove all but so many of the newest.")] = None,
    ) -> None:
        """Write everything into a new archive: databases, files and generated keys. The server may run meanwhile."""
        settings, parts = configured()
        path = asyncio.run(_create(settings, parts, folder, _passphrase(passphrase_file, again=True)))
        typer.echo(path)
        for old in _archives(folder)[keep:] if keep else []:
            old.unlink()

    @app.command("list")
    def list_(folder: Folder) -> None:
        """List archives, the newest first, with their lengths in bytes."""
        for path in _archives(folder):
            typer.echo(f"{path.name}  {path.stat().st_size}")

    @app.command()
    def verify(path: Archive, passphrase_file: PassphraseFile = None) -> None:
        """Read an archive from the first to the last byte, and say what is in it."""
        with path.open("rb") as file:
            manifest, contents = archive.verify(file, _passphrase(passphrase_file))
        typer.echo(
            f"{manifest.created_at:%Y-%m-%d %H:%M} UTC, Courtyard {manifest.version}: "
            f"{contents.databases} databases, {contents.files} files, {contents.bytes} bytes"
        )

    @app.command()
    def restore(
        path: Archive,
        passphrase_file: PassphraseFile = None,
        *,
        force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    ) -> None:
        """Write everything back. No server may run. Archives that are not whole are refused before anything changes."""
        settings, _ = configured()
        secrets = settings.data_path / SECRETS_FILE
        passphrase = _passphrase(passphrase_file)
        asyncio.run(archive.restore(path, passphrase, settings, secrets, _progress, force=force))
        typer.echo("Restored. `courtyard migrate up` brings it to this version.")

    return app


async def _create(settings: Settings, parts: list[Application], folder: Path, passphrase: str) -> Path:
    now = datetime.now(UTC)
    keys = KeyRing(Ring(settings.security.encryption_ring, SystemClock()))
    placement = ShardedPlacement(Database(settings.database_url, settings.database), settings, parts, keys)
    storage = ShardedStorage(open_storage(settings.files.storage, settings.files_path), placement, settings.files_path)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{now:%Y%m%dT%H%M%SZ}{archive.SUFFIX}"
    partial = path.with_suffix(".partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            await archive.create(
                file, passphrase, placement, storage, settings.data_path / SECRETS_FILE, now, _progress
            )
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
        await placement.close()
    return path


def _archives(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.name.endswith(archive.SUFFIX)), reverse=True)


def _passphrase(file: Path | None, *, again: bool = False) -> str:
    if file is not None:
        passphrase = file.read_text(encoding="utf-8").partition("\n")[0]
    else:
        passphrase = os.environ.get(PASSPHRASE) or typer.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=again
        )
    if again and len(passphrase) < LEAST_LENGTH:
        raise BackupRefused(f"the passphrase is shorter than {LEAST_LENGTH} characters")
    return passphrase


def _progress(line: str) -> None:
    typer.echo(f"  {line}")
