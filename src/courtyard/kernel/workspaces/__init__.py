"""Workspaces: the tenants, who belongs to them, and what each may do there.

Stands on accounts. Knows of applications only what they declare: their permissions and roles.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.workspaces.errors import SlugTaken
from courtyard.kernel.workspaces.identity import DatabaseIdentity
from courtyard.kernel.workspaces.models import MembershipRow, WorkspaceRow
from courtyard.kernel.workspaces.permissions import PERMISSIONS, ROLES
from courtyard.kernel.workspaces.routes import ROUTES
from courtyard.kernel.workspaces.schemas import NewWorkspace, Workspace
from courtyard.kernel.workspaces.service import found_workspace, list_roles

__all__ = [
    "DatabaseIdentity",
    "NewWorkspace",
    "SlugTaken",
    "Workspace",
    "found_workspace",
    "list_roles",
    "workspaces",
]

workspaces = Application(
    name="workspaces",
    description="Tenants, their members and roles.",
    models=(WorkspaceRow, MembershipRow),
    side="main",
    migrations=Path(__file__).parent / "migrations",
    permissions=PERMISSIONS,
    roles=ROLES,
    routes=ROUTES,
)
