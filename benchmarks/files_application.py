"""An application that takes any file, installed beside the others by a folder on the path: `installed(folder)`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from courtyard.kernel.application import Application
from courtyard.kernel.errors import NotFound
from courtyard.kernel.files import FileKind

if TYPE_CHECKING:
    from courtyard.kernel.context import ReadContext

MODULE = "courtyard_big_files"


async def _nobody(_: ReadContext, __: UUID) -> None:
    raise NotFound


application = Application(
    name="big_files",
    description="Files of any size.",
    files=(
        FileKind(
            name="big_files.any",
            description="Anything.",
            permission="files.file.upload",
            authorise=_nobody,
            content_types=frozenset({"*/*"}),
            max_bytes=1 << 40,
        ),
    ),
)


def installed(folder: Path) -> dict[str, str]:
    """Put the application into a folder, and return the variables with which a server finds it there."""
    told = folder / f"{MODULE}-1.dist-info"
    told.mkdir(parents=True)
    shutil.copy(__file__, folder / f"{MODULE}.py")
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n")
    (told / "entry_points.txt").write_text(f"[courtyard.applications]\nbig_files = {MODULE}:application\n")
    return {"PYTHONPATH": str(folder), "COURTYARD_APPLICATIONS": "chat,big_files"}
