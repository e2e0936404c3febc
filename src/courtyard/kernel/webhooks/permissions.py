"""The permissions of webhooks, and who has them."""

from courtyard.kernel.application import Role

READ = "webhooks.endpoint.read"
EDIT = "webhooks.endpoint.edit"

PERMISSIONS = {
    READ: "See where the workspace tells what happens, and what became of each delivery.",
    EDIT: "Name addresses, see their secrets, and send again.",
}

# Of other parts, which describe them.
ROLES = {name: Role(description="", permissions=frozenset(PERMISSIONS)) for name in ("owner", "administrator")}
