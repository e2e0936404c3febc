"""The permission of quotas, and who has it."""

from courtyard.kernel.application import Role

PERMISSIONS = {"quotas.quota.read": "See how much of what the workspace may have, and has."}

# The roles themselves are those of workspaces.
ROLES = {
    name: Role(description="", permissions=frozenset(PERMISSIONS), assignable=True)
    for name in ("owner", "administrator")
}
