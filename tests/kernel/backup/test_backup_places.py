"""Where archives are kept: a folder and a bucket, in which nothing half-written is ever seen."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from courtyard.kernel.backup.errors import BackupRefused
from courtyard.kernel.backup.making import tidy
from courtyard.kernel.backup.places import PART_BYTES, Place
from courtyard.kernel.backup.rules import Rule
from courtyard.kernel.storage import StorageUnavailable
from tests.buckets import S3Server, s3_server

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
NAME = "20261121T030000Z.courtyard-backup"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.services)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "folder":
        return Place.of_folder(tmp_path / "new" / "place")
    server: S3Server = request.getfixturevalue("s3")
    return Place(server.bucket(prefix="house/backups"), None)


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def of(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def content(place: Place, name: str) -> bytes:
    return b"".join([bytes(part) async for part in place.read(name)])


async def test_what_was_written_is_there(place: Place) -> None:
    assert await place.archives() == []
    assert await place.write(NOW, of(b"first ", b"second")) == NAME
    assert await place.archives() == [(NAME, NOW, 12)]
    assert await content(place, NAME) == b"first second"
    later = NOW + timedelta(seconds=1)
    other = await place.write(later, of())
    assert [each.made_at for each in await place.archives()] == [later, NOW]
    await place.remove([NAME, NAME])
    assert [each.name for each in await place.archives()] == [other]


async def test_one_of_the_same_second_is_left_alone(place: Place) -> None:
    await place.write(NOW, of(b"good"))
    with pytest.raises(BackupRefused, match=f"{NAME} is there already"):
        await place.write(NOW + timedelta(microseconds=5), of(b"other"))
    assert await content(place, NAME) == b"good"


async def test_one_that_is_not_there_is_named(place: Place) -> None:
    with pytest.raises(BackupRefused, match=f"there is no {NAME}"):
        await content(place, NAME)


async def test_nothing_half_written_is_listed(place: Place) -> None:
    reached, never = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        # More than is sent at once, so that the bucket has some of it.
        for _ in range(3):
            yield bytes(PART_BYTES)
        reached.set()
        await never.wait()

    writing = asyncio.create_task(place.write(NOW, endless()))
    await reached.wait()
    assert await place.archives() == []
    writing.cancel()
    await asyncio.wait([writing])
    assert await place.archives() == []

    async def failing() -> AsyncIterator[bytes]:
        yield b"some"
        raise StorageUnavailable("of the files")

    with pytest.raises(StorageUnavailable, match="of the files"):
        await place.write(NOW, failing())
    assert await place.archives() == []


async def test_other_things_in_a_folder_are_left_alone(tmp_path: Path) -> None:
    place = Place.of_folder(tmp_path)
    names = {"notes.txt", "99999999T999999Z.courtyard-backup", "2026121T030000Z.courtyard-backup", f"{NAME}#1"}
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    for hours in range(3):
        await place.write(NOW + timedelta(hours=hours), of(b"no archive"))
    assert len(await place.archives()) == 3
    with pytest.raises(BackupRefused, match=r"^20261121T050000Z.courtyard-backup: it is not a backup of Courtyard"):
        await tidy(place, Rule(last=1), "passphrase", lambda _: None)
    # The newest is not good, so all are left.
    assert len(await place.archives()) == 3
    assert names <= names_in(tmp_path)


async def test_an_archive_is_nobody_elses(tmp_path: Path) -> None:
    await Place.of_folder(tmp_path / "place").write(NOW, of(b"x"))
    assert (tmp_path / "place" / NAME).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "place").stat().st_mode & 0o777 == 0o700
