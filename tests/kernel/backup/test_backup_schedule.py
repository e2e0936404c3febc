"""Backups by schedule: made, measured, tidied, and told of where they fail."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from courtyard.kernel.backup.archive import verify
from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.backup.metrics import NEWEST
from courtyard.kernel.backup.places import Kept, Place
from courtyard.kernel.backup.tasks import backups, create, look
from courtyard.kernel.context import Context
from courtyard.kernel.database import ReadUnit
from courtyard.kernel.tasks import GiveUp, Nothing
from courtyard.kernel.tasks.store import planned
from courtyard.kernel.telemetry import REGISTRY
from tests.conftest import ServerFactory
from tests.running import MovableClock, RunningServer, make_settings
from tests.services import Databases, Kind

PASSPHRASE = "correct horse battery"
DEADLINE_SECONDS = 30


def chosen(folder: Path, **more: Any) -> dict[str, Any]:
    return {"storage": {"path": folder}, "passphrase": PASSPHRASE, "schedule": "* * * * *", **more}


def ended(outcome: str) -> float:
    return REGISTRY.get_sample_value("courtyard_backups_ended_total", {"outcome": outcome}) or 0


def context_of(server: RunningServer) -> Context:
    return Context(server.runtime, None, None, "test")


async def until_another(place: Place, seen: list[Kept]) -> list[Kept]:
    """Return the archives as soon as the newest is another one."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            archives = await place.archives()
            if archives[:1] != seen[:1]:
                return archives
            await asyncio.sleep(0.05)


async def until_planned(server: RunningServer) -> None:
    """Return when the schedule has a time: before that nothing can be missed."""
    unit = ReadUnit(server.runtime.placement)
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if "backup.create" in {each.name for each in await planned(unit)}:
                return
            await asyncio.sleep(0.05)


async def test_they_are_made_when_it_is_time(
    databases: Databases, database_kind: Kind, server_factory: ServerFactory, clock: MovableClock, tmp_path: Path
) -> None:
    made = ended("made")
    place = Place.of_folder(tmp_path)
    server = await server_factory(
        database=await databases.new(database_kind),
        clock=clock,
        backup=chosen(tmp_path, keep_last=1),
        tasks={"sweep_seconds": 0.05},
    )
    await until_planned(server)
    assert await place.archives() == []
    clock.move(minutes=1)
    (first,) = await until_another(place, [])
    manifest, contents = await verify(place.read(first.name), PASSPHRASE)
    assert (manifest.created_at.replace(microsecond=0), contents.databases) == (first.made_at, 1)

    clock.move(minutes=1)
    second, *older = await until_another(place, [first])
    async with asyncio.timeout(DEADLINE_SECONDS):
        while older:
            await asyncio.sleep(0.05)
            _, *older = await place.archives()
    assert second.made_at - first.made_at >= timedelta(seconds=50)
    assert ended("made") == made + 2
    assert NEWEST._value.get() == pytest.approx(second.made_at.timestamp(), abs=1)


async def test_a_failure_is_told(databases: Databases, server_factory: ServerFactory, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    server = await server_factory(
        database=await databases.new("sqlite"), backup=chosen(tmp_path / "file" / "kept", schedule="0 3 1 1 *")
    )
    failed = ended("failed")
    with capture_logs() as logs, pytest.raises(BackupRefused, match="Not a directory"):
        await create(context_of(server), Nothing())
    assert ended("failed") == failed + 1
    (told,) = [each for each in logs if each["event"] == "backup.failed"]
    assert told["log_level"] == "error"
    assert "Not a directory" in told["error"]


async def test_what_cannot_be_tidied_is_told_and_nothing_goes(
    databases: Databases, server_factory: ServerFactory, clock: MovableClock, tmp_path: Path
) -> None:
    server = await server_factory(
        database=await databases.new("sqlite"), clock=clock, backup=chosen(tmp_path, schedule="0 3 1 1 *", keep_last=1)
    )
    place = Place.of_folder(tmp_path)
    await create(context_of(server), Nothing())
    # Its name says that it is newer than whatever is made now.
    (tmp_path / "29990101T000000Z.courtyard-backup").write_text("damaged")
    clock.move(seconds=2)
    failed = ended("not_tidied")
    with capture_logs() as logs, pytest.raises(GiveUp, match="nothing was removed"):
        await create(context_of(server), Nothing())
    assert ended("not_tidied") == failed + 1
    assert [each["log_level"] for each in logs if each["event"] == "backup.not_tidied"] == ["error"]
    assert len(await place.archives()) == 3


async def test_a_process_that_was_started_since_sees_the_newest(
    databases: Databases, server_factory: ServerFactory, tmp_path: Path
) -> None:
    server = await server_factory(database=await databases.new("sqlite"), backup=chosen(tmp_path, schedule="0 3 1 1 *"))
    NEWEST.set(0)
    await look(context_of(server), Nothing())
    assert NEWEST._value.get() == 0
    for name in ("20260101T000000Z.courtyard-backup", "20260102T000000Z.courtyard-backup"):
        (tmp_path / name).touch()
    await look(context_of(server), Nothing())
    assert NEWEST._value.get() == 1_767_312_000


def test_without_a_schedule_there_is_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.sqlite3"
    assert backups(make_settings(tmp_path, url)).schedules == ()
    settings = make_settings(tmp_path, url, backup=chosen(tmp_path, time_zone="Europe/Helsinki"))
    plans = [each.plan for each in backups(settings).schedules]
    assert plans == ["* * * * * Europe/Helsinki", "every 600 s"]
