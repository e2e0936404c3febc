"""Rules of files without I/O: kinds, names, keys, and what is shown in a browser."""

import re
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from courtyard.kernel.application import Application
from courtyard.kernel.context import ReadContext
from courtyard.kernel.errors import FieldError
from courtyard.kernel.files.errors import FileTypeRefused, UnknownFileKind
from courtyard.kernel.pictures import TYPES as PICTURE_TYPES

MAX_NAME = 200
UNNAMED = "file"
# A browser shows these and runs nothing in them. SVG is a page with scripts.
SHOWN = frozenset({
    "image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/bmp",
    "audio/mpeg", "audio/mp4", "audio/ogg", "audio/wav", "audio/webm", "audio/aac", "audio/flac",
    "video/mp4", "video/webm", "video/ogg", "video/quicktime", "text/plain", "application/pdf",
})  # fmt: skip
PDF = "application/pdf"
SVG = "image/svg+xml"
_KEY = re.compile(r"([0-9a-f-]{36})/[0-9a-f]{2}/([0-9a-f-]{36})(?:\.[a-z0-9_]{1,32})?")


@dataclass(frozen=True, kw_only=True)
class FileKind:
    """What files may be for: `Application.files`.

    Attributes:
        name: the application and what it is: `chat.attachment`.
        description: in a sentence.
        permission: what one has to have in the workspace to upload one.
        authorise: raises where the caller may not read a file of the thing with this id. Asked at each read.
        content_types: what is taken, by content: `image/png`, `image/*`, `*/*`.
        max_bytes: how long one may be.
        thumbnails: of pictures: name → longest side in pixels.
        clean_pictures: whether pictures are written anew, without what cameras write into them. `image/*` then means
            those formats for which that can be done.
    """

    name: str
    description: str
    permission: str
    authorise: Callable[[ReadContext, UUID], Awaitable[None]]
    content_types: frozenset[str]
    max_bytes: int
    thumbnails: Mapping[str, int] = field(default_factory=dict)
    clean_pictures: bool = True

    def cleans(self, content_type: str) -> bool:
        """Say whether files of a type are written anew."""
        return self.clean_pictures and content_type in PICTURE_TYPES


def kind_named(parts: Sequence[Application], name: str) -> FileKind | None:
    """Return the kind of a name, None where no installed part declares it."""
    return next((kind for part in parts for kind in part.files if kind.name == name), None)


def uploadable(parts: Sequence[Application], name: str) -> FileKind:
    """Return the kind that somebody wants to upload.

    Raises:
        UnknownFileKind: there is none of this name.
    """
    kind = kind_named(parts, name)
    if kind is None:
        raise UnknownFileKind(errors=[FieldError("there is no such kind of file", parameter="kind")])
    return kind


def ensure_taken(kind: FileKind, content_type: str) -> None:
    """Go on only with what a kind takes.

    Raises:
        FileTypeRefused: it takes other types.
    """
    family = content_type.partition("/")[0] + "/*"
    if family == "image/*" and not kind.cleans(content_type) and (kind.clean_pictures or content_type == SVG):
        # Who wants these says so by name: what is in them stays in them, and SVG is a page with scripts.
        family = content_type
    if not kind.content_types & {content_type, family, "*/*"}:
        raise FileTypeRefused(content_type=content_type, accepted=sorted(kind.content_types))


def clean_name(name: str | None) -> str:
    """Return a name that is safe in a header, a folder and a list, whatever a client has made up.

    Only what stands behind the last slash counts, as old browsers send whole paths. What turns the direction of
    writing goes too: it makes an `exe` look like a `txt`.
    """
    last = re.split(r"[/\\]", name or "")[-1]
    spaced = " ".join(unicodedata.normalize("NFC", last).split())
    cleaned = "".join(one for one in spaced if unicodedata.category(one)[0] != "C").lstrip(". ")
    stem, dot, ending = cleaned.rpartition(".")
    if len(cleaned) > MAX_NAME and dot and len(ending) <= 16:  # noqa: PLR2004 - as long as endings are
        cleaned = f"{stem[: MAX_NAME - len(ending) - 1]}.{ending}"
    return cleaned[:MAX_NAME].rstrip(". ") or UNNAMED


def key_of(workspace_id: UUID, file_id: UUID, variant: str | None = None) -> str:
    """Return where a file, or a thumbnail of it, is stored. Nothing in it comes from a client."""
    key = f"{workspace_id}/{file_id.hex[-2:]}/{file_id}"
    return key if variant is None else f"{key}.{variant}"


def file_of(key: str) -> tuple[UUID, UUID] | None:
    """Return the workspace and the id of the file that is stored under a key; None for what is none of ours."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    try:
        return UUID(found[1]), UUID(found[2])
    except ValueError:
        return None


def keys_of(workspace_id: UUID, file_id: UUID, variants: Iterable[str]) -> list[str]:
    """Return everything that is stored for a file."""
    return [key_of(workspace_id, file_id), *(key_of(workspace_id, file_id, variant) for variant in variants)]
