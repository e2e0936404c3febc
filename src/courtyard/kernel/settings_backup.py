"""The section of the settings for backups."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, SecretStr

from courtyard.kernel.clock import SystemClock
from courtyard.kernel.settings_files import StorageSettings, storage_refusals
from courtyard.kernel.settings_sections import Section

LEAST_PASSPHRASE = 12


def _cron(value: str) -> str:
    try:
        next(CronSim(value, SystemClock().now()))
    except (CronSimError, StopIteration):
        raise ValueError("must be a cron line such as 0 3 * * *") from None
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, ValueError, KeyError):
        raise ValueError("must be a time zone such as Europe/Helsinki") from None
    return value


def _passphrase(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < LEAST_PASSPHRASE:
        raise ValueError(f"must have at least {LEAST_PASSPHRASE} characters")
    return value


class ArchiveStorage(StorageSettings):
    """Where archives are kept: for each installation a folder, or a bucket and prefix, of its own."""

    path: Path | None = Field(None, description="The folder, where `kind` is local. It has to be named.")


class BackupSettings(Section):
    """Backups: where they are kept, when they are made, and which of them stay."""

    passphrase: Annotated[SecretStr, AfterValidator(_passphrase)] | None = Field(
        None, description="What encrypts archives, and opens them again: 12 characters or more."
    )
    schedule: Annotated[str, AfterValidator(_cron)] | None = Field(
        None,
        description="When one is made: minute, hour, day, month, day of the week. Not set: by command alone.",
    )
    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field("UTC", description="Time zone of the schedule.")
    keep_last: int = Field(
        0, ge=0, le=10_000, description="How many of the newest stay. Where no rule is set, all of them do."
    )
    keep_daily: int = Field(0, ge=0, le=10_000, description="For how many days (UTC) the newest of the day stays.")
    keep_weekly: int = Field(0, ge=0, le=10_000, description="For how many weeks the newest of the week stays.")
    keep_monthly: int = Field(0, ge=0, le=10_000, description="For how many months the newest of the month stays.")

    storage: ArchiveStorage = ArchiveStorage()

    @property
    def has_place(self) -> bool:
        """Whether they say where archives are kept."""
        return self.storage.kind != "local" or self.storage.path is not None


def backup_refusals(
    backup: BackupSettings, files: StorageSettings, files_path: Path, *, production: bool
) -> Iterator[str]:
    """Name each reason why a server must not start with these settings."""
    yield from storage_refusals("backup.storage", backup.storage, production=production)
    if backup.schedule is not None and not backup.has_place:
        yield "backup.schedule is set, which needs a place: backup.storage.path, or another backup.storage.kind"
    if backup.schedule is not None and backup.passphrase is None:
        yield "backup.schedule is set, which needs backup.passphrase"
    if backup.has_place and _is_within(backup.storage, files, files_path):
        yield "backup.storage is within files.storage, so that each backup would hold all others"


def _is_within(inner: StorageSettings, outer: StorageSettings, files_path: Path) -> bool:
    if inner.kind == "local":
        folder = (inner.path or files_path).expanduser().absolute()
        return outer.kind == "local" and folder.is_relative_to(files_path)
    same = all(getattr(inner, name) == getattr(outer, name) for name in ("kind", "endpoint", "bucket"))
    return same and f"{inner.prefix}/".startswith(f"{outer.prefix}/" if outer.prefix else "")
