"""What a workspace has used is what is stored for it, with thumbnails, whatever was done and by how many at once."""

import asyncio
import random
from uuid import UUID, uuid4

import pytest
from PIL import Image

from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.files.quotas import BYTES
from courtyard.kernel.files.service.thumbnails import Picture, make_thumbnails
from courtyard.kernel.files.tasks import Sweeper
from courtyard.kernel.quotas import Quota, queries, recount, set_limit
from courtyard.kernel.quotas.schemas import StoredUse
from courtyard.kernel.tasks import enqueue
from tests.factories import ok, problem
from tests.kernel.files.conftest import MIB, Files, Setting
from tests.kernel.files.test_pictures import encoded, photo

STEPS = 12
# Each picture takes two processes.
SETTLED_SECONDS = 60
# The picture, and the thumbnails of its kind.
OF_PICTURE = 3


async def stored(files: Files) -> tuple[int, int]:
    """Return how many objects are stored for the files of the workspace, and how many bytes they have."""
    storage = await files.storage()
    orphans = [one.key async for lot in Sweeper(files.server.runtime).orphans(storage) for one in lot]
    listed = [one async for lot in storage.everything() for one in lot]
    sizes = [one.size for one in listed if one.key.startswith(str(files.workspace.id)) and one.key not in orphans]
    return len(sizes), sum(sizes)


async def settled(files: Files, objects: int) -> int:
    """Return what is used once so many objects are stored and all of them are counted."""
    async with asyncio.timeout(SETTLED_SECONDS):
        while True:
            count, length = await stored(files)
            used = await files.used()
            if (count, length) == (objects, used):
                return used
            await asyncio.sleep(0.1)


class Caller:
    """Somebody who does one thing after the other."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.papers: list[str] = []
        self.pictures: list[str] = []

    async def act(self) -> None:
        """Do something."""
        await random.choice(
            [self.write, self.draw, self.draw, self.remove, self.fail, self.repeat, self.redraw, self.sweep]
        )()

    async def write(self) -> None:
        self.papers.append((await self._files.upload(bytes(random.randrange(5_000))))["id"])

    async def draw(self) -> None:
        content = photo("JPEG", (random.randrange(50, 500), 60))
        self.pictures.append((await self._files.upload(content, kind="album.picture"))["id"])

    async def remove(self) -> None:
        for mine in (self.papers, self.pictures):
            if mine:
                ok(await self._files.owner.http.delete(f"{self._files.path}/{mine.pop()}"))

    async def fail(self) -> None:
        params = {"kind": "album.paper"}
        problem(
            await self._files.owner.http.post(self._files.path, params=params, content=bytes(5 * MIB)),
            413,
            "content_too_large",
        )

    async def repeat(self) -> None:
        headers = {"idempotency-key": str(uuid4())}
        first, again = [await self._files.upload(b"again", headers=headers) for _ in range(2)]
        assert first == again
        self.papers.append(first["id"])

    async def redraw(self) -> None:
        if self.pictures:
            context: Context = await self._files.context()
            await enqueue(context, make_thumbnails, Picture(UUID(self.pictures[-1])))
            await context.commit()

    async def sweep(self) -> None:
        await Sweeper(self._files.server.runtime).sweep()


async def test_what_is_used_is_what_is_stored(files: Files) -> None:
    async def run() -> Caller:
        caller = Caller(files)
        for _ in range(STEPS):
            await caller.act()
        return caller

    callers = await asyncio.gather(run(), run())
    await Sweeper(files.server.runtime).sweep()
    there = sum(len(each.papers) + OF_PICTURE * len(each.pictures) for each in callers)

    await settled(files, there)
    for each in callers:
        while each.papers or each.pictures:
            await each.remove()
    await Sweeper(files.server.runtime).sweep()
    assert await files.used() == 0
    assert await stored(files) == (0, 0)


async def test_thumbnails_count_and_are_made_where_nothing_is_left(files: Files) -> None:
    # Written anew, it is longer.
    content = encoded(Image.effect_noise((600, 300), 80), "JPEG", quality=10)
    size = (await files.upload(content, kind="album.picture"))["size_bytes"]
    assert size > len(content)
    other = Files(files.server, files.make, await files.make.workspace())
    context = await other.context()
    await set_limit(context, BYTES, size)
    await context.commit()
    await other.upload(content, kind="album.picture")

    used = await settled(other, OF_PICTURE)
    assert used > size
    refused = await other.owner.http.post(other.path, params={"kind": "album.paper"}, content=b"x")
    problem(refused, 409, "quota_exceeded")
    context = await other.context()
    assert await recount(context, BYTES) == used
    await context.rollback()


# SQLite has one writer: there, nobody comes between.
@pytest.mark.services
@pytest.mark.parametrize("setting", [Setting("postgresql", "local")], indirect=True, ids=["postgresql"])
async def test_the_first_two_at_once_are_both_let_in(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else begins the count between the first try of the other and the look at it."""
    look, looks = queries.lock_use, 0

    async def late(context: ReadContext, quota: Quota) -> StoredUse | None:
        nonlocal looks
        looks += 1
        if looks == 1:
            await files.upload(b"first")
        return await look(context, quota)

    monkeypatch.setattr(queries, "lock_use", late)
    await files.upload(b"second")
    assert await files.used() == len(b"first") + len(b"second")
