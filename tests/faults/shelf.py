"""An application that takes files, for server processes: installed by a folder on the path."""

import os
from pathlib import Path
from uuid import UUID

import pytest

from courtyard.kernel.application import Application
from courtyard.kernel.context import ReadContext
from courtyard.kernel.errors import NotFound
from courtyard.kernel.files import FileKind

ROOT = Path(__file__).parents[2]
KIND = "shelf.paper"


async def nobody(_: ReadContext, __: UUID) -> None:
    """Let nobody read what is part of something: nothing ever is."""
    raise NotFound


application = Application(
    name="shelf",
    description="Files of any kind.",
    files=(
        FileKind(
            name=KIND,
            description="Anything.",
            permission="files.file.upload",
            authorise=nobody,
            content_types=frozenset({"*/*"}),
            max_bytes=1 << 26,
        ),
    ),
)


def install_shelf(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make it an installed application for processes that a test starts from now on, and return their setting."""
    info = folder / "site/courtyard_shelf-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: courtyard-shelf\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[courtyard.applications]\nshelf = tests.faults.shelf:application\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(info.parent), str(ROOT)]))
    return {"APPLICATIONS": "chat,shelf"}
