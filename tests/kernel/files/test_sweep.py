"""The end of files: what goes, what stays, and who is in the way of whom."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from courtyard.kernel.files import attach
from courtyard.kernel.files.rules import key_of
from courtyard.kernel.files.service.checks import faults
from courtyard.kernel.files.tasks import Sweeper
from courtyard.kernel.ids import new_id
from courtyard.kernel.storage import StorageUnavailable
from tests.factories import ok, problem
from tests.kernel.files.conftest import MIB, PAPER, Files, FilesFactory, Setting
from tests.running import MovableClock

DAY = {"days": 1, "minutes": 1}


async def parts(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


async def test_what_was_removed_leaves_the_storage_and_the_quota(files: Files) -> None:
    gone, kept = await files.upload(b"gone"), await files.upload(b"kept")
    ok(await files.owner.http.delete(f"{files.path}/{gone['id']}"))
    problem(await files.owner.http.get(f"{files.path}/{gone['id']}"), 404, "not_found")
    assert await files.used() == 8
    await Sweeper(files.server.runtime).sweep()
    assert await files.keys() == [key_of(files.workspace.id, UUID(kept["id"]))]
    assert await files.used() == 4


async def test_what_became_part_of_nothing_goes_after_a_day(files_on: FilesFactory, clock: MovableClock) -> None:
    files = await files_on(clock=clock)
    waiting, attached = await files.upload(b"waiting"), await files.upload(b"attached")
    page_id = await files.put_on_page(attached["id"], readers=set())
    sweeper = Sweeper(files.server.runtime)
    await sweeper.sweep()
    assert len(await files.keys()) == 2
    clock.move(**DAY)
    await sweeper.sweep()
    assert await files.keys() == [key_of(files.workspace.id, UUID(attached["id"]))]
    assert waiting["id"] not in "".join(await files.keys())
    clock.move(days=-1, minutes=-1)
    await files.remove_page(page_id)
    await sweeper.sweep()
    assert await files.keys() == []


async def test_who_attaches_at_the_last_moment_keeps_the_file(files_on: FilesFactory, clock: MovableClock) -> None:
    """The sweep comes while the transaction that attaches is open: whoever is second sees what the first has done."""
    files = await files_on(clock=clock)
    file = await files.upload(b"content")
    person = files.owner
    clock.move(**DAY)
    # The token of the owner is over by now.
    login = ok(
        await files.make.nobody.post("/sessions", json={"email": person.email, "password": "correct horse battery"})
    )
    context = await files.context(files.make.signed_in(login))
    await attach(context, PAPER, [UUID(file["id"])], new_id())
    sweeping = asyncio.create_task(Sweeper(files.server.runtime).sweep())
    # It waits for the row (PostgreSQL) or for the writer (SQLite).
    await asyncio.wait({sweeping}, timeout=0.2)
    await context.commit()
    await sweeping
    assert len(await files.keys()) == 1


async def test_whoever_comes_after_the_sweep_is_told(files_on: FilesFactory, clock: MovableClock) -> None:
    files = await files_on(clock=clock)
    stored, go_on = asyncio.Event(), asyncio.Event()
    storage = await files.storage()
    write = storage.write

    async def slow(key: str, source: AsyncIterator[bytes], attributes: dict[str, str]) -> None:
        await write(key, source, attributes)
        stored.set()
        await go_on.wait()

    storage.write = slow  # type: ignore[method-assign, assignment]
    uploading = asyncio.create_task(
        files.owner.http.post(files.path, params={"kind": "album.paper"}, content=b"content")
    )
    await stored.wait()
    sweeper = Sweeper(files.server.runtime)
    assert (await sweeper.remove_orphans()).orphans == 0
    assert len(await files.keys()) == 1
    clock.move(hours=2)
    await sweeper.sweep()
    assert await files.keys() == []
    clock.move(hours=-2)
    go_on.set()
    problem(await uploading, 409, "upload_lost")
    assert await files.used() == 0


async def test_two_sweeps_at_once_give_back_once(files: Files) -> None:
    for _ in range(5):
        file = await files.upload(bytes(100))
        ok(await files.owner.http.delete(f"{files.path}/{file['id']}"))
    await files.upload(bytes(1_000))
    await asyncio.gather(*(Sweeper(files.server.runtime).sweep() for _ in range(3)))
    assert (len(await files.keys()), await files.used()) == (1, 1_000)


async def test_orphans_go_after_a_day_and_nothing_else(files_on: FilesFactory, clock: MovableClock) -> None:
    files = await files_on(clock=clock)
    file, storage = await files.upload(b"content"), await files.storage()
    orphan, foreign = key_of(files.workspace.id, new_id()), "somebody/elses.txt"
    nowhere = key_of(new_id(), new_id(), "small")
    for key in (orphan, nowhere, foreign):
        await storage.write(key, parts(b"x"), {})
    sweeper = Sweeper(files.server.runtime)
    assert (await sweeper.remove_orphans()).orphans == 0
    clock.move(**DAY)
    assert (await sweeper.remove_orphans()).orphans >= 2
    left = [one.key async for lot in storage.everything() for one in lot]
    assert foreign in left
    assert not {orphan, nowhere}.intersection(left)
    assert await files.keys() == [key_of(files.workspace.id, UUID(file["id"]))]
    await storage.remove([foreign])


# In a bucket, a rule of the bucket does so.
@pytest.mark.parametrize("setting", [Setting("sqlite", "local")], indirect=True, ids=["local"])
async def test_the_rest_of_a_write_that_was_killed_goes(files_on: FilesFactory, clock: MovableClock) -> None:
    files = await files_on(clock=clock)
    await files.upload(b"content")
    (key,) = await files.keys()
    rest = Path(f"{files.server.settings.files_path / key}#1")
    rest.write_bytes(bytes(10))  # noqa: ASYNC240
    assert (await files.keys()) == [key]
    assert (await Sweeper(files.server.runtime).remove_orphans()).unfinished == 0
    clock.move(**DAY)
    assert (await Sweeper(files.server.runtime).remove_orphans()).unfinished == 1
    assert not rest.exists()  # noqa: ASYNC240


async def test_a_storage_that_fails_half_way_leaves_nothing(files: Files) -> None:
    storage = await files.storage()
    write = storage.write

    async def failing(key: str, source: AsyncIterator[bytes], attributes: dict[str, str]) -> None:
        async def cut() -> AsyncIterator[bytes]:
            async for part in source:
                yield part
                raise StorageUnavailable

        await write(key, cut(), attributes)

    storage.write = failing  # type: ignore[method-assign, assignment]
    try:
        answer = await files.owner.http.post(files.path, params={"kind": "album.paper"}, content=bytes(2 * MIB))
    finally:
        storage.write = write  # type: ignore[method-assign]
    problem(answer, 503, "storage_unavailable")
    assert (await files.keys(), await files.used()) == ([], 0)


async def test_a_storage_that_is_away_keeps_what_is_to_go_for_later(files: Files) -> None:
    file, storage = await files.upload(b"content"), await files.storage()
    ok(await files.owner.http.delete(f"{files.path}/{file['id']}"))
    remove = storage.remove

    async def away(_: Sequence[str]) -> None:
        raise StorageUnavailable

    storage.remove = away  # type: ignore[method-assign, assignment]
    try:
        await Sweeper(files.server.runtime).sweep()
    finally:
        storage.remove = remove  # type: ignore[method-assign]
    assert (len(await files.keys()), await files.used()) == (1, 7)
    await Sweeper(files.server.runtime).sweep()
    assert (await files.keys(), await files.used()) == ([], 0)


async def test_the_check_finds_what_is_lost_or_changed(files: Files) -> None:
    sound, lost, changed, cut = [await files.upload(f"content {number}".encode()) for number in range(4)]
    storage = await files.storage()
    for file, content in ((lost, None), (changed, b"CONTENT 2"), (cut, b"con")):
        key = key_of(files.workspace.id, UUID(file["id"]))
        if content is None:
            await storage.remove([key])
        else:
            await storage.write(key, parts(content), {})
    runtime = files.server.runtime

    async def found(*, deep: bool) -> dict[str, str | None]:
        ids = {file["id"] for file in (sound, lost, changed, cut)}
        return {str(file.id): fault async for file, fault in faults(runtime, deep=deep) if str(file.id) in ids}

    quick, deep = await found(deep=False), await found(deep=True)
    missing, short = "is missing in the storage", "has 3 bytes in the storage, and 9 by its row"
    assert quick == {sound["id"]: None, lost["id"]: missing, changed["id"]: None, cut["id"]: short}
    assert deep == {**quick, changed["id"]: "has another content than was stored"}
