"""Pictures: what is taken out of them, what is refused before it costs anything, and thumbnails."""

import io
import struct
import zlib
from pathlib import Path

import httpx2
import pytest
from PIL import Image, ImageSequence
from PIL.PngImagePlugin import PngInfo

from courtyard.kernel.files.tasks import Sweeper
from courtyard.kernel.pictures import PictureRefused, Pictures
from courtyard.kernel.settings import FileSettings
from tests.factories import ok, problem
from tests.kernel.files.conftest import Files, FilesFactory
from tests.kernel.files.test_uploads import until

ORIENTATION, MAKE, GPS = 0x0112, 0x010F, 0x8825
SECRET = "Secret camera"


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, format=kind, **options)
    return target.getvalue()


def photo(kind: str, size: tuple[int, int] = (40, 20)) -> bytes:
    """Return a picture that says where it was taken and by what, and that lies on its side. Its left half is red."""
    picture = Image.new("RGB", size, "blue")
    picture.paste("red", (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKE], exif[GPS] = 6, SECRET, {1: "N", 2: (60.0, 10.0, 15.0)}
    notes = PngInfo()
    notes.add_text("Comment", SECRET)
    more = {"pnginfo": notes} if kind == "PNG" else {"comment": SECRET.encode()} if kind == "JPEG" else {}
    return encoded(picture, kind, exif=exif, **more)


def colour(picture: Image.Image, x: int, y: int) -> tuple[int, ...]:
    found = picture.convert("RGB").getpixel((x, y))
    assert isinstance(found, tuple)
    return found


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of some kilobytes that has so many pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row = bytes(1 + (width + 7) // 8)
    deflate = zlib.compressobj(9)
    rows = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animation(kind: str, frames: int = 3, side: int = 16) -> bytes:
    first, *rest = [Image.new("RGB", (side, side), (80 * number % 256, 0, 0)) for number in range(frames)]
    return encoded(first, kind, save_all=True, append_images=rest, duration=120, loop=0)


async def stored(files: Files, file_id: str, **params: str) -> httpx2.Response:
    return await files.owner.http.get(f"{files.path}/{file_id}/content", params=params)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_nothing_but_the_picture_is_kept_and_it_stands_upright(files: Files, kind: str) -> None:
    before = photo(kind)
    assert SECRET.encode() in before
    file = await files.upload(before, kind="album.picture")
    assert (file["width"], file["height"], file["content_type"]) == (20, 40, f"image/{kind.lower()}")
    after = (await stored(files, file["id"])).content
    assert len(after) == file["size_bytes"]
    for trace in (SECRET.encode(), b"Exif", b"GPS", b"eXIf", b"Comment"):
        assert trace not in after
    with Image.open(io.BytesIO(after)) as picture:
        assert (picture.size, len(picture.getexif())) == ((20, 40), 0)
        # What was left is above, after a quarter turn.
        red, _, blue = colour(picture, 10, 5)
        assert red > 200
        assert blue < 50


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
async def test_an_animation_still_moves(files: Files, kind: str) -> None:
    file = await files.upload(animation(kind), kind="album.picture")
    with Image.open(io.BytesIO((await stored(files, file["id"])).content)) as picture:
        frames = [colour(frame, 8, 8)[0] for frame in ImageSequence.Iterator(picture)]
        duration = picture.info["duration"]
    assert [round(red / 80) for red in frames] == [0, 1, 2]
    assert duration == 120


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (bomb(30_000, 30_000), "too_large"),
        (bomb(70_000, 1), "too_large"),
        (photo("JPEG")[:200], "damaged"),
        (photo("PNG")[:60], "damaged"),
        (b"\xff\xd8\xff\xe0" + bytes(range(256)) * 10, "damaged"),
        (b"GIF89a" + b"\xff\xff\xff\xff" + b"\xff" * 50, "damaged"),
    ],
    ids=["bomb", "long", "cut jpeg", "cut png", "no jpeg", "gif header"],
)
async def test_bombs_and_ruins_are_refused_and_leave_nothing(files: Files, body: bytes, reason: str) -> None:
    answer = await files.owner.http.post(files.path, params={"kind": "album.picture"}, content=body)
    assert problem(answer, 422, "picture_refused")["reason"] == reason
    assert (await files.keys(), await files.used()) == ([], 0)


async def test_the_frames_of_an_animation_count_together(files_on: FilesFactory) -> None:
    files = await files_on(files={"picture_pixels": 10_000})
    await files.upload(animation("GIF", frames=10, side=30), kind="album.picture")
    answer = await files.owner.http.post(
        files.path, params={"kind": "album.picture"}, content=animation("GIF", frames=20, side=30)
    )
    assert problem(answer, 422, "picture_refused")["reason"] == "too_many_frames"


async def test_a_picture_that_is_too_long_is_refused_before_it_is_read(files_on: FilesFactory) -> None:
    files = await files_on(files={"picture_bytes": 20_000})
    answer = await files.owner.http.post(
        files.path, params={"kind": "album.picture"}, content=photo("JPEG") + bytes(40_000)
    )
    assert problem(answer, 413, "content_too_large")["max_bytes"] == 20_000
    # Of other files it is no bound.
    await files.upload(bytes(40_000))


async def test_other_formats_are_no_pictures_for_a_kind_that_cleans(files: Files) -> None:
    for body in (encoded(Image.new("RGB", (9, 9)), "TIFF"), encoded(Image.new("RGB", (9, 9)), "BMP")):
        answer = await files.owner.http.post(files.path, params={"kind": "album.picture"}, content=body)
        problem(answer, 415, "file_type_refused")


async def test_the_time_for_a_picture_is_bounded(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bomb(7_000, 7_000))
    pictures = Pictures(FileSettings(picture_seconds=0.1))
    with pytest.raises(PictureRefused) as refused:
        await pictures.clean(source, tmp_path / "target", "image/png")
    assert refused.value.extra["reason"] == "too_slow"


async def test_the_memory_for_a_picture_is_bounded(tmp_path: Path) -> None:
    # Its header is within the bound; what is claimed behind it is not.
    claims = b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0, 0, 0)
    source = tmp_path / "source"
    source.write_bytes(claims + b"\x2c" + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x08\x01\x00\x00\x3b")
    pictures = Pictures(FileSettings(picture_pixels=10_000))
    with pytest.raises(PictureRefused):
        await pictures.clean(source, tmp_path / "target", "image/gif")


async def test_thumbnails_are_made_and_go_with_the_picture(files: Files) -> None:
    file = await files.upload(photo("JPEG", (1_200, 600)), kind="album.picture")

    async def are_there() -> bool:
        return len(await files.keys()) == 3

    await until(are_there)
    for name, size in (("small", (32, 64)), ("large", (200, 400))):
        answer = await stored(files, file["id"], thumbnail=name)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert picture.size == size
    problem(await stored(files, file["id"], thumbnail="huge"), 404, "not_found")
    link = ok(await files.owner.http.post(f"{files.path}/{file['id']}/links", json={"thumbnail": "small"}))
    assert (await files.make.nobody.get(link["url"])).headers["content-type"] == "image/webp"
    ok(await files.owner.http.delete(f"{files.path}/{file['id']}"))
    await Sweeper(files.server.runtime).sweep()
    assert (await files.keys(), await files.used()) == ([], 0)


async def test_a_file_that_is_no_picture_has_no_thumbnails(files: Files) -> None:
    file = await files.upload(b"text")
    problem(await stored(files, file["id"], thumbnail="small"), 404, "not_found")
