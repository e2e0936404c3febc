"""Every read of offers of the ownership."""

from sqlalchemy import Uuid, bindparam, select

from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import Prepared, UtcDateTime
from courtyard.kernel.errors import NotFound
from courtyard.kernel.workspaces.models import OwnershipOfferRow
from courtyard.kernel.workspaces.schemas.ownership import OwnershipOffer

_OPEN = Prepared(
    select(*(getattr(OwnershipOfferRow, name) for name in OwnershipOffer.__struct_fields__)).where(
        OwnershipOfferRow.workspace_id == bindparam("workspace", type_=Uuid(), required=True),
        OwnershipOfferRow.expires_at > bindparam("now", type_=UtcDateTime(), required=True),
    ),
    OwnershipOffer,
)


async def get_offer(context: ReadContext) -> OwnershipOffer:
    """Return the open offer of the workspace, to owners and to whom it is made.

    Raises:
        NotFound: none is open, or the caller may not know of it.
    """
    offer = await find_offer(context)
    knows = offer is not None and (context.may("workspaces.ownership.transfer") or offer.to_id == context.account_id)
    if offer is None or not knows:
        raise NotFound
    return offer


async def find_offer(context: ReadContext) -> OwnershipOffer | None:
    """Return the open offer of the workspace."""
    return await context.db.first(_OPEN, workspace=context.workspace.workspace_id, now=context.now)
