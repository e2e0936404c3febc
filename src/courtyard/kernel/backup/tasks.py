"""Backups by schedule, where the settings have one."""

from contextlib import suppress

import msgspec
import structlog

from courtyard.kernel.application import Application
from courtyard.kernel.backup import making
from courtyard.kernel.backup.metrics import BACKUPS, NEWEST
from courtyard.kernel.backup.places import Place
from courtyard.kernel.backup.rules import Rule
from courtyard.kernel.context import Context
from courtyard.kernel.errors import Unavailable
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.settings import Settings
from courtyard.kernel.settings_sources import SECRETS_FILE
from courtyard.kernel.shards import ShardedPlacement, ShardedStorage
from courtyard.kernel.tasks import GiveUp, Nothing, Retry, Schedule, report, task

log = structlog.get_logger()

LOOK_SECONDS = 600.0
LONGEST_SECONDS = 43_200.0


class Made(msgspec.Struct, frozen=True):
    """What a backup has come to: the name of the archive, what is in it, and the archives that went."""

    archive: str
    databases: int
    files: int
    bytes: int
    removed: list[str]


@task(
    name="backup.create",
    priority=9,
    retry=Retry(attempts=3, first_pause_seconds=300),
    time_limit_seconds=LONGEST_SECONDS,
)
async def create(context: Context, _: Nothing) -> Made:
    """Make a backup where the settings say, and remove those that their rule does not keep."""
    settings, now = context.runtime.settings.backup, context.now
    try:
        source, place = _source(context.runtime), Place.configured(settings)
        name, contents = await making.make(source, place, now, lambda line: report(context, message=line))
    except Exception as error:
        BACKUPS.labels("failed").inc()
        # An error, not a warning: somebody is to be told, by whatever tells of faults.
        log.error("backup.failed", error=f"{type(error).__name__}: {error}")  # noqa: TRY400 - the executor has the traceback
        raise
    NEWEST.set(now.timestamp())
    BACKUPS.labels("made").inc()
    log.info("backup.made", archive=name, files=contents.files, bytes=contents.bytes)
    try:
        removed = await making.tidy(place, Rule.of(settings), source.passphrase, lambda _: None)
    except Exception as error:
        BACKUPS.labels("not_tidied").inc()
        log.error("backup.not_tidied", error=f"{type(error).__name__}: {error}")  # noqa: TRY400
        # Another try would make another archive.
        raise GiveUp(f"{name} is there, but old ones could not be removed: {error}") from error
    return Made(name, contents.databases, contents.files, contents.bytes, removed)


@task(name="backup.look", priority=9)
async def look(context: Context, _: Nothing) -> None:
    """See which archive is the newest, so that a process that was started since knows it too."""
    with suppress(Unavailable):
        archives = await Place.configured(context.runtime.settings.backup).archives()
        NEWEST.set(archives[0].made_at.timestamp() if archives else 0)


def _source(runtime: Runtime) -> making.Source:
    passphrase = runtime.settings.backup.passphrase
    if (
        passphrase is None
        or not isinstance(runtime.placement, ShardedPlacement)
        or not isinstance(runtime.storage, ShardedStorage)
    ):
        raise GiveUp("The settings have no passphrase for backups.")
    secrets = runtime.settings.data_path / SECRETS_FILE
    return making.Source(runtime.placement, runtime.storage, secrets, passphrase.get_secret_value())


def backups(settings: Settings) -> Application:
    """Return the part of the house that makes backups, with the schedule of the settings."""
    chosen = settings.backup
    schedules = (
        ()
        if chosen.schedule is None
        else (
            Schedule(
                name="backup.create",
                task=create,
                payload=Nothing(),
                cron=chosen.schedule,
                time_zone=chosen.time_zone,
            ),
            Schedule(name="backup.look", task=look, payload=Nothing(), every_seconds=LOOK_SECONDS),
        )
    )
    return Application(
        name="backup",
        description="Backups of the installation.",
        tasks=(create, look),
        schedules=schedules,
    )
