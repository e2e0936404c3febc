"""Hands pictures to the worker, a few at once, and ends it where it takes too long."""

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from courtyard.kernel.pictures.errors import PictureRefused, TooManyPictures
from courtyard.kernel.settings import FileSettings
from courtyard.kernel.telemetry import PICTURES

WORKER = Path(__file__).with_name("worker.py")
# What is written anew, and what the library calls it. In other formats pictures are stored as they are, or not at all.
TYPES = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/gif": "GIF"}
THUMBNAIL_TYPE = "image/webp"
# How many wait for a worker, for each that there is.
QUEUE = 16


class Cleaned(NamedTuple):
    """A picture that was written anew, in pixels."""

    width: int
    height: int


class Pictures:
    """Works on pictures.

    Args:
        settings: how many at once, how large they may be, how long one may take.
    """

    def __init__(self, settings: FileSettings) -> None:
        self._settings = settings
        self._workers = asyncio.Semaphore(settings.picture_workers)
        self._waiting = 0

    async def clean(self, source: Path, target: Path, content_type: str) -> Cleaned:
        """Write a picture anew: without EXIF, place, comments and thumbnails in it, turned as it is to be seen.

        Args:
            source: the picture.
            target: where to.
            content_type: one of `TYPES`.

        Raises:
            PictureRefused: it is damaged, too large, or takes too long.
            TooManyPictures: so many wait already.
        """
        order = {"work": "clean", "source": str(source), "target": str(target), "format": TYPES[content_type]}
        answer = await self._work(order)
        return Cleaned(answer["width"], answer["height"])

    async def shrink(self, source: Path, content_type: str, sides: Mapping[Path, int]) -> None:
        """Write small versions of a picture as WebP.

        Args:
            source: the picture.
            content_type: one of `TYPES`.
            sides: where to → the longest side, in pixels.

        Raises:
            PictureRefused: it is damaged, too large, or takes too long.
            TooManyPictures: so many wait already.
        """
        named = {str(target): side for target, side in sides.items()}
        await self._work({"work": "shrink", "source": str(source), "format": TYPES[content_type], "sides": named})

    async def _work(self, order: dict[str, Any]) -> dict[str, Any]:
        settings = self._settings
        if self._waiting >= settings.picture_workers * (QUEUE + 1):
            raise TooManyPictures
        self._waiting += 1
        try:
            async with self._workers:
                bounds = {"pixels": settings.picture_pixels, "seconds": ceil(settings.picture_seconds)}
                answer = await self._run(msgspec.json.encode({**order, **bounds}))
        finally:
            self._waiting -= 1
        if "refused" in answer:
            PICTURES.labels("too_slow" if answer["refused"] == "too_slow" else "refused").inc()
            raise PictureRefused(reason=answer["refused"])
        PICTURES.labels("done").inc()
        return answer

    async def _run(self, order: bytes) -> dict[str, Any]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", str(WORKER), stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(self._settings.picture_seconds):
                output, _ = await process.communicate(order)
        except TimeoutError:
            return {"refused": "too_slow"}
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        try:
            answer: dict[str, Any] = msgspec.json.decode(output)
        except msgspec.DecodeError:
            # It was ended by one of its bounds, or by the library itself.
            return {"refused": "damaged"}
        return answer
