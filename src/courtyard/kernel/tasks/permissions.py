"""The permissions of background work, and which roles have them."""

from courtyard.kernel.application import Role

READ = "tasks.task.read"
MANAGE = "tasks.task.manage"

PERMISSIONS = {
    READ: "See the background work of the workspace, and why it failed.",
    MANAGE: "Cancel background work of the workspace, or have it done again.",
}

# Of other parts, which describe them.
ROLES = {name: Role(description="", permissions=frozenset(PERMISSIONS)) for name in ("owner", "administrator")}
