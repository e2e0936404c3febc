"""What a task does that has nothing to do: it strikes, so that another process can count.

Also an application that has such a task, installed beside the others by a folder on the path: `installed(folder)`.
Stands on Celery's side and on ours, so that both strike alike.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

MODULE: Final = "courtyard_tally"
# Names the pipe to the workers.
PIPE: Final = "_BENCH_PIPE"
_open: list[int] = []


def strike() -> None:
    """Let whoever reads the pipe know that one more is done."""
    if not _open:
        _open.append(os.open(os.environ[PIPE], os.O_WRONLY))
    os.write(_open[0], b".")


def installed(folder: Path) -> dict[str, str]:
    """Put the application into a folder, and return the variables with which a worker finds it there."""
    told = folder / f"{MODULE}-1.dist-info"
    told.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("tally_application.py"), folder / f"{MODULE}.py")
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n")
    (told / "entry_points.txt").write_text(f"[courtyard.applications]\ntally = {MODULE}:application\n")
    repository = Path(__file__).parent.parent
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(repository)]), "COURTYARD_APPLICATIONS": "tally"}
