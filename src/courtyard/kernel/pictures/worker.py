"""Works on one picture: `python -I worker.py`, with the order as JSON on standard input and the answer on its output.

A program of its own, which imports nothing of the server: it starts in a tenth of a second, and what a hostile picture
does to it ends with it.
"""

import json
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from PIL.Image import DecompressionBombError

# What the interpreter and the libraries take, and for each pixel: the picture, a turned copy, and the encoder's.
BASE_BYTES = 768 << 20
BYTES_PER_PIXEL = 24
MAX_FRAMES = 1_000
MAX_PROFILE = 1 << 20
# Of a side: what a JPEG can have.
MAX_SIDE = 65_500
QUALITY = 88
THUMBNAIL_QUALITY = 80


class Refused(Exception):
    """The picture is not to be used; the message is the reason."""


def main() -> None:
    """Do what is asked for."""
    order = json.loads(sys.stdin.read())
    memory = BASE_BYTES + BYTES_PER_PIXEL * order["pixels"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (order["seconds"], order["seconds"]))
    # Our own bound is looked at before anything is decoded, and is an error at once.
    Image.MAX_IMAGE_PIXELS = None
    warnings.simplefilter("ignore")
    try:
        answer = clean(order) if order["work"] == "clean" else shrink(order)
    except Refused as error:
        answer = {"refused": str(error)}
    except (UnidentifiedImageError, DecompressionBombError, OSError, ValueError, SyntaxError, EOFError, IndexError):
        answer = {"refused": "damaged"}
    except (MemoryError, OverflowError):
        answer = {"refused": "too_large"}
    print(json.dumps(answer))  # noqa: T201 - this is the answer


def clean(order: dict[str, Any]) -> dict[str, Any]:
    """Write a picture anew: its pixels, turned as they are to be seen, its colours and its timing, and nothing else."""
    with Image.open(order["source"], formats=[order["format"]]) as picture:
        measure(picture, order["pixels"])
        frames = count(picture, order["pixels"])
        profile = picture.info.get("icc_profile")
        options: dict[str, Any] = {"format": order["format"]}
        if profile is not None and len(profile) <= MAX_PROFILE:
            options["icc_profile"] = profile
        if order["format"] in {"JPEG", "WEBP"}:
            options["quality"] = QUALITY
        if frames > 1 and order["format"] != "JPEG":
            first, *rest = still(picture, options)
            options |= {"save_all": True, "append_images": rest}
        else:
            first = ImageOps.exif_transpose(picture)
            first.load()
            first.info = {}
        first.save(order["target"], **options)
        return {"width": first.width, "height": first.height}


def still(picture: Image.Image, options: dict[str, Any]) -> list[Image.Image]:
    """Return the frames of an animation, and put its timing among the options."""
    frames, durations = [], []
    options["loop"] = picture.info.get("loop", 1 if picture.format == "GIF" else 0)
    for frame in ImageSequence.Iterator(picture):
        whole = frame.convert("RGBA")
        # Known as soon as the frame is decoded.
        durations.append(frame.info.get("duration", 100))
        whole.info = {}
        frames.append(whole)
    options["duration"] = durations
    if picture.format == "GIF":
        options["disposal"] = 2
    return frames


def shrink(order: dict[str, Any]) -> dict[str, Any]:
    """Write small versions of a picture, each within a square."""
    with Image.open(order["source"], formats=[order["format"]]) as picture:
        measure(picture, order["pixels"])
        largest = max(order["sides"].values())
        # A JPEG is decoded no larger than is needed.
        picture.draft("RGB", (2 * largest, 2 * largest))
        whole = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        for target, side in order["sides"].items():
            small = whole.copy()
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
            small.info = {}
            small.save(Path(target), format="WEBP", quality=THUMBNAIL_QUALITY)
        return {"width": picture.width, "height": picture.height}


def measure(picture: Image.Image, pixels: int) -> None:
    """Refuse a picture by what its header says, before anything is decoded."""
    if not 0 < picture.width <= MAX_SIDE or not 0 < picture.height <= MAX_SIDE:
        raise Refused("too_large")
    if picture.width * picture.height > pixels:
        raise Refused("too_large")


def count(picture: Image.Image, pixels: int) -> int:
    """Return how many frames a picture has."""
    frames: int = getattr(picture, "n_frames", 1)
    if frames > MAX_FRAMES or picture.width * picture.height * frames > pixels:
        raise Refused("too_many_frames")
    return frames


if __name__ == "__main__":
    main()
