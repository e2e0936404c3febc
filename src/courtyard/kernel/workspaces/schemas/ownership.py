"""What comes in and goes out about the transfer of a workspace."""

from datetime import datetime
from uuid import UUID

from courtyard.kernel.schema import Input, Output


class NewOwnershipOffer(Input, frozen=True):
    """Who is to own the workspace instead of the caller."""

    account_id: UUID


class OwnershipOffer(Output, frozen=True):
    """An open offer of the ownership.

    Attributes:
        from_id: the owner who offers, and who will be an administrator.
        to_id: the member to whom it is offered.
    """

    from_id: UUID
    to_id: UUID
    created_at: datetime
    expires_at: datetime
