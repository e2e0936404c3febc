"""The permissions of files. What each kind of file asks for beside them, its application says."""

from courtyard.kernel.application import Role
from courtyard.kernel.context import EVERYBODY

UPLOAD, READ = "files.file.upload", "files.file.read"
PERMISSIONS = {
    UPLOAD: "Upload files, of those kinds whose own permission one has too.",
    READ: "Read the files that one has uploaded, and those of what one may see.",
}
# The role itself is that of workspaces.
ROLES = {EVERYBODY: Role(description="", permissions=frozenset(PERMISSIONS), assignable=False, staff=False)}
