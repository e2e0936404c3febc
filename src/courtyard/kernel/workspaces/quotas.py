"""What a workspace may have so much of."""

from courtyard.kernel.quotas import Quota
from courtyard.kernel.workspaces.queries.members import count_members

MEMBERS = Quota(
    name="workspaces.members",
    description="Members of the workspace, its owners included.",
    unit="members",
    count=count_members,
)
