"""The permission to see where a workspace lives, and who has it."""

from courtyard.kernel.application import Role

READ = "residence.place.read"

PERMISSIONS = {READ: "See in which database and storage the workspace lives, and how its move is going."}

# Of another part, which describes it.
ROLES = {"owner": Role(description="", permissions=frozenset(PERMISSIONS))}
