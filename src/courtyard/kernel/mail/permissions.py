"""The permissions of mail, and who has them."""

from courtyard.kernel.application import Role

READ = "mail.message.read"
EDIT = "mail.template.edit"

PERMISSIONS = {
    READ: "See which mails the workspace has sent, to whom, and what became of them.",
    EDIT: "Say the mails of the workspace in other words.",
}

# Of other parts, which describe them.
ROLES = {name: Role(description="", permissions=frozenset(PERMISSIONS)) for name in ("owner", "administrator")}
