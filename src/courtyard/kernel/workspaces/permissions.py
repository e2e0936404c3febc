"""The permissions of workspaces, and the roles that every workspace has."""

from courtyard.kernel.application import Role
from courtyard.kernel.context import EVERYBODY

PERMISSIONS = {
    "workspaces.workspace.read": "See the name and settings of the workspace.",
    "workspaces.workspace.edit": "Change the name and settings of the workspace.",
    "workspaces.workspace.archive": "Make the workspace read only, and open it again.",
    "workspaces.workspace.delete": "Delete the workspace, and have it back.",
    "workspaces.ownership.transfer": "Hand the workspace over to another member.",
    "workspaces.service.edit": "Make, change and remove service accounts, and draw keys for them.",
    "workspaces.member.read": "See who belongs to the workspace, and with which roles.",
    "workspaces.member.edit": "Add, suspend and remove members, and give and take roles.",
    "workspaces.role.edit": "Make, change and remove roles of the workspace's own.",
}

OWNER = "owner"
MEMBER = "member"
ADMINISTRATOR = "administrator"
OWNERS_ALONE = frozenset({"workspaces.workspace.delete", "workspaces.ownership.transfer"})
# What nobody is given by a link that may wander about: everything that shapes the workspace.
NOT_BY_LINK = frozenset(PERMISSIONS) - {"workspaces.workspace.read", "workspaces.member.read"}

ROLES = {
    OWNER: Role(description="Whose workspace it is: may do everything.", permissions=frozenset(PERMISSIONS)),
    ADMINISTRATOR: Role(
        description="Runs the workspace: members, settings, every application.",
        permissions=frozenset(PERMISSIONS) - OWNERS_ALONE,
    ),
    MEMBER: Role(
        description="Belongs to the workspace and sees who else does.",
        permissions=frozenset({"workspaces.workspace.read", "workspaces.member.read"}),
        staff=False,
    ),
    EVERYBODY: Role(
        description="Everybody who is signed in, members or not.",
        permissions=frozenset(),
        assignable=False,
        staff=False,
    ),
}
