"""How often one may come with the token of an invitation or a link."""

from courtyard.kernel.limits import Policy

# A token cannot be guessed. This is for what a look-up, and the hash of a password, cost.
OPEN = Policy(
    name="workspaces.invitation_by_address",
    description="Opening, accepting and declining invitations and links.",
    limit="60/minute",
    when_unavailable="local",
)
REGISTER = Policy(
    name="workspaces.register_by_address",
    description="Registering with an invitation.",
    limit="20/hour",
    when_unavailable="local",
)
