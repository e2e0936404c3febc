"""Files: uploads, who may read them, links to them, and their end.

Stands on the web layer, the storage and quotas. Knows no application: a part declares the kinds of its files, makes
uploaded files part of its things, and lets them go with those.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.files.cli import commands
from courtyard.kernel.files.models import FileRow
from courtyard.kernel.files.permissions import PERMISSIONS, ROLES
from courtyard.kernel.files.queries import files_of
from courtyard.kernel.files.quotas import QUOTAS
from courtyard.kernel.files.routes import ROUTES
from courtyard.kernel.files.rules import FileKind, keys_of, kind_named
from courtyard.kernel.files.schemas import File
from courtyard.kernel.files.service import attach, detach
from courtyard.kernel.files.tasks import SCHEDULES, TASKS

__all__ = ["File", "FileKind", "FileRow", "attach", "detach", "files", "files_of", "keys_of", "kind_named"]

files = Application(
    name="files",
    description="What people upload, and who may read it.",
    models=(FileRow,),
    migrations=Path(__file__).parent / "migrations",
    permissions=PERMISSIONS,
    roles=ROLES,
    routes=ROUTES,
    quotas=QUOTAS,
    tasks=TASKS,
    schedules=SCHEDULES,
    commands=commands,
)
