"""HTTP: handing a workspace over, and leaving it."""

from courtyard.kernel.accounts import StepUpNeeded
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.errors import LastOwner
from courtyard.kernel.http import SIGNED_IN, delete, get, post
from courtyard.kernel.workspaces.errors import CannotOwn, OfferOpen
from courtyard.kernel.workspaces.queries import ownership as queries
from courtyard.kernel.workspaces.schemas.ownership import NewOwnershipOffer, OwnershipOffer
from courtyard.kernel.workspaces.schemas.workspaces import Workspace
from courtyard.kernel.workspaces.service import members
from courtyard.kernel.workspaces.service import ownership as service

OWNERSHIP = "/workspaces/{workspace:str}/ownership"
TRANSFER = "workspaces.ownership.transfer"
OK, NOTHING = 200, 204


@post(OWNERSHIP, permission=TRANSFER, problems=[StepUpNeeded, CannotOwn, OfferOpen])
async def offer_ownership(context: Context, data: NewOwnershipOffer) -> OwnershipOffer:
    """Offer a member to own a workspace instead of oneself. Nothing changes before the member accepts."""
    return await service.offer_ownership(context, data)


@get(OWNERSHIP, permission=SIGNED_IN)
async def get_ownership_offer(context: ReadContext) -> OwnershipOffer:
    """See the open offer of the ownership, as an owner or as whom it is made to."""
    return await queries.get_offer(context)


@delete(OWNERSHIP, permission=TRANSFER)
async def withdraw_ownership(context: Context) -> None:
    """Take the open offer of the ownership back."""
    await service.withdraw_ownership(context)


@post(
    f"{OWNERSHIP}/accept",
    permission=SIGNED_IN,
    status=OK,
    idempotent=False,
    problems=[StepUpNeeded],
)
async def accept_ownership(context: Context) -> Workspace:
    """Own a workspace that is offered. Whoever has offered it becomes an administrator."""
    return await service.accept_ownership(context)


@post(f"{OWNERSHIP}/decline", permission=SIGNED_IN, status=NOTHING, idempotent=False)
async def decline_ownership(context: Context) -> None:
    """Refuse to own a workspace that is offered."""
    await service.decline_ownership(context)


@delete(
    "/workspaces/{workspace:str}/members/me",
    permission=SIGNED_IN,
    problems=[LastOwner],
    while_closed=True,
)
async def leave_workspace(context: Context) -> None:
    """Leave a workspace, also one that is archived or deleted. Its last owner cannot."""
    await members.remove_member(context, context.account_id)


ROUTES = (
    offer_ownership,
    get_ownership_offer,
    withdraw_ownership,
    accept_ownership,
    decline_ownership,
    leave_workspace,
)
