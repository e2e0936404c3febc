"""What workspaces write to people. `link` leads to a page of the server."""

from courtyard.kernel.mail import Kind, Template

INVITATIONS = Kind(name="workspaces.invitations", description="Invitations to workspaces.")

# The message is a line of the inviter's, or None.
INVITATION = Template(
    name="workspaces.invitation",
    fields=("workspace", "inviter", "role", "message", "link", "days"),
    kind=INVITATIONS,
)
# `owner` is who offers.
OWNERSHIP_OFFERED = Template(name="workspaces.ownership_offered", fields=("workspace", "owner", "link", "days"))
# To both.
OWNERSHIP_TRANSFERRED = Template(
    name="workspaces.ownership_transferred", fields=("workspace", "former_owner", "new_owner")
)
# The date is a date.
WORKSPACE_WILL_BE_DELETED = Template(name="workspaces.workspace_will_be_deleted", fields=("workspace", "date"))

MAILS = (INVITATION, OWNERSHIP_OFFERED, OWNERSHIP_TRANSFERRED, WORKSPACE_WILL_BE_DELETED)
