"""The permissions of workspaces, and the roles that every workspace has."""

from courtyard.kernel.application import Role
from courtyard.kernel.context import EVERYBODY

PERMISSIONS = {
    "workspaces.workspace.read": "See the name and settings of the workspace.",
    "workspaces.workspace.edit": "Change the name and settings of the workspace.",
    "workspaces.member.read": "See who belongs to the workspace, and with which roles.",
    "workspaces.member.edit": "Add and remove members, and change their roles.",
}

OWNER = "owner"

ROLES = {
    OWNER: Role(description="Whose workspace it is: may do everything.", permissions=frozenset(PERMISSIONS)),
    "administrator": Role(
        description="Runs the workspace: members, settings, every application.", permissions=frozenset(PERMISSIONS)
    ),
    "member": Role(
        description="Belongs to the workspace and sees who else does.",
        permissions=frozenset({"workspaces.workspace.read", "workspaces.member.read"}),
    ),
    EVERYBODY: Role(
        description="Everybody who is signed in, members or not.", permissions=frozenset(), assignable=False
    ),
}
