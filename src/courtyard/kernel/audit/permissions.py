"""The permissions of the audit log, and which roles have them."""

from courtyard.kernel.application import Role

READ = "audit.entry.read"
EXPORT = "audit.entry.export"

PERMISSIONS = {
    READ: "Read the audit log of the workspace.",
    EXPORT: "Export the audit log of the workspace.",
}

# Of other parts, which describe them.
ROLES = {name: Role(description="", permissions=frozenset(PERMISSIONS)) for name in ("owner", "administrator")}
