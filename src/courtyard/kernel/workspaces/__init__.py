"""Workspaces: the tenants, who belongs to them, and what each may do there.

Stands on accounts. Knows of applications only what they declare: their permissions and roles.
"""

from pathlib import Path
from typing import Any

from courtyard.kernel.application import Application
from courtyard.kernel.workspaces.errors import SlugTaken
from courtyard.kernel.workspaces.identity import DatabaseIdentity
from courtyard.kernel.workspaces.mails import MAILS
from courtyard.kernel.workspaces.models import (
    CustomRoleRow,
    InvitationLinkRow,
    InvitationRow,
    MembershipRow,
    OwnershipOfferRow,
    RoleGrantRow,
    ServiceRow,
    WorkspaceRow,
    WorkspaceSlugRow,
)
from courtyard.kernel.workspaces.permissions import PERMISSIONS, ROLES
from courtyard.kernel.workspaces.queries.access import can_act, load_standings
from courtyard.kernel.workspaces.queries.rights import explain
from courtyard.kernel.workspaces.queries.workspaces import find_workspace, read_settings
from courtyard.kernel.workspaces.quotas import MEMBERS
from courtyard.kernel.workspaces.routes import ROUTES
from courtyard.kernel.workspaces.schemas.rights import Explanation
from courtyard.kernel.workspaces.schemas.workspaces import GeneralSettings, NewWorkspace, Workspace
from courtyard.kernel.workspaces.service.workspaces import forget_account, found_workspace
from courtyard.kernel.workspaces.tasks import SCHEDULES, TASKS

__all__ = [
    "DatabaseIdentity",
    "Explanation",
    "NewWorkspace",
    "SlugTaken",
    "Workspace",
    "can_act",
    "explain",
    "find_workspace",
    "found_workspace",
    "load_standings",
    "read_settings",
    "workspaces",
]


def _commands() -> Any:  # noqa: ANN401 - Typer keeps the class of commands to itself
    from courtyard.kernel.workspaces.cli import commands  # noqa: PLC0415 - a server has no use for it

    return commands


workspaces = Application(
    name="workspaces",
    description="Tenants, their members and roles.",
    models=(
        WorkspaceRow,
        WorkspaceSlugRow,
        MembershipRow,
        RoleGrantRow,
        CustomRoleRow,
        InvitationRow,
        InvitationLinkRow,
        OwnershipOfferRow,
        ServiceRow,
    ),
    side="main",
    migrations=Path(__file__).parent / "migrations",
    permissions=PERMISSIONS,
    roles=ROLES,
    routes=ROUTES,
    mails=MAILS,
    templates=Path(__file__).parent / "templates",
    quotas=[MEMBERS],
    tasks=TASKS,
    schedules=SCHEDULES,
    audit_names={
        "workspaces:role:changed": "The roles of a member were changed.",
        "workspaces:member:suspended": "A member was suspended.",
        "workspaces:member:resumed": "A suspended member may go on.",
        "workspaces:workspace:closed": "A workspace was deleted; until the time of grace is over it can be restored.",
        "workspaces:workspace:restored": "A deleted workspace was restored.",
        "workspaces:workspace:archived": "A workspace was made read only.",
        "workspaces:workspace:opened": "An archived workspace was opened again.",
        "workspaces:ownership:transferred": "A workspace was handed over: the roles of both sides.",
    },
    commands=_commands,
    workspace_settings=GeneralSettings,
    forget_account=forget_account,
)
