"""What comes in and goes out about files."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

from courtyard.kernel.schema import Input, Output

KindName = Annotated[
    str,
    Meta(
        max_length=100,
        pattern=r"^[a-z_]+(\.[a-z_]+)+$(?!\n)",
        description="What the file is for, as the application declares it.",
        examples=["chat.attachment"],
    ),
]
FileName = Annotated[
    str, Meta(max_length=1_000, description="What the file is called. In a form, it has its own name.")
]
VariantName = Annotated[
    str,
    Meta(max_length=32, pattern=r"^[a-z0-9_]+$(?!\n)", description="A thumbnail, by its name; else the file itself."),
]
State: TypeAlias = Literal["uploading", "ready", "removed"]


class File(Output, frozen=True):
    """A file.

    Attributes:
        kind: what it is for.
        name: what its owner calls it.
        content_type: what it is, by its content.
        size_bytes: its length.
        sha256: the digest of its content, in hexadecimal.
        width: in pixels, where it is a picture.
        height: in pixels, where it is a picture.
        attached_id: what it is part of; null while it waits for that.
    """

    id: UUID
    owner_id: UUID
    kind: str
    name: str
    content_type: str
    size_bytes: int
    sha256: str
    width: int | None
    height: int | None
    attached_id: UUID | None
    created_at: datetime


class NewLink(Input, frozen=True):
    """What a link is to be good for.

    Attributes:
        seconds: how long; not more than the server allows, which is also what it is without a word.
        thumbnail: leads to a thumbnail instead of the file.
    """

    seconds: Annotated[int, Meta(ge=1, le=86_400)] | None = None
    thumbnail: VariantName | None = None


class Link(Output, frozen=True):
    """An address at which anybody who has it can read a file."""

    url: str
    expires_at: datetime


class StoredFile(msgspec.Struct, frozen=True):
    """What the database knows of a file."""

    id: UUID
    owner_id: UUID
    kind: str
    name: str
    content_type: str
    size_bytes: int
    sha256: bytes | None
    width: int | None
    height: int | None
    attached_id: UUID | None
    created_at: datetime
    state: State
    received_sha256: bytes | None
    thumbnail_bytes: int

    def shown(self) -> File:
        """Return what is told of it."""
        return File(
            id=self.id,
            owner_id=self.owner_id,
            kind=self.kind,
            name=self.name,
            content_type=self.content_type,
            size_bytes=self.size_bytes,
            sha256=(self.sha256 or b"").hex(),
            width=self.width,
            height=self.height,
            attached_id=self.attached_id,
            created_at=self.created_at,
        )


class Due(msgspec.Struct, frozen=True):
    """A file that goes."""

    workspace_id: UUID
    id: UUID
    kind: str
    size_bytes: int
    thumbnail_bytes: int
