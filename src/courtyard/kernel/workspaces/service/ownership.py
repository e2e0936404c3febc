"""Handing a workspace over to a member who accepts it."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import String, Uuid, bindparam, delete

from courtyard.kernel.accounts import get_account, mailing, require_recent_proof
from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared
from courtyard.kernel.errors import NotFound
from courtyard.kernel.workspaces.errors import CannotOwn, OfferOpen
from courtyard.kernel.workspaces.mails import OWNERSHIP_OFFERED, OWNERSHIP_TRANSFERRED
from courtyard.kernel.workspaces.models import EVERYWHERE, OwnershipOfferRow, RoleGrantRow
from courtyard.kernel.workspaces.permissions import ADMINISTRATOR, OWNER
from courtyard.kernel.workspaces.queries import members, workspaces
from courtyard.kernel.workspaces.queries import ownership as queries
from courtyard.kernel.workspaces.rules.invitations import days_left
from courtyard.kernel.workspaces.schemas.ownership import NewOwnershipOffer, OwnershipOffer
from courtyard.kernel.workspaces.schemas.workspaces import Workspace
from courtyard.kernel.workspaces.service.members import changed, give, lock_members

GOOD_FOR = timedelta(days=7)

_CLOSE = Prepared(
    delete(OwnershipOfferRow).where(
        OwnershipOfferRow.workspace_id == bindparam("workspace", type_=Uuid(), required=True)
    )
)
_TAKE = Prepared(
    delete(RoleGrantRow).where(
        RoleGrantRow.workspace_id == bindparam("workspace", type_=Uuid(), required=True),
        RoleGrantRow.account_id == bindparam("account_id", type_=Uuid(), required=True),
        RoleGrantRow.role == bindparam("role", type_=String(), required=True),
        RoleGrantRow.scope_type == EVERYWHERE[0],
    )
)


async def offer_ownership(context: Context, new: NewOwnershipOffer) -> OwnershipOffer:
    """Offer a member to own the workspace instead of the caller, who will be an administrator.

    Raises:
        StepUpNeeded: the last proof of the caller is too old.
        CannotOwn: the account is no active member, no person, or an owner already.
        OfferOpen: an offer is open.
    """
    context.require("workspaces.ownership.transfer")
    require_recent_proof(context)
    await lock_members(context)
    workspace_id, caller_id = context.workspace.workspace_id, context.account_id
    if not await _can_own(context, new.account_id):
        raise CannotOwn
    if await queries.find_offer(context) is not None:
        raise OfferOpen
    # One that has expired.
    await _close(context)
    await context.db.insert(
        OwnershipOfferRow,
        workspace_id=workspace_id,
        from_id=caller_id,
        to_id=new.account_id,
        created_at=context.now,
        expires_at=context.now + GOOD_FOR,
    )
    offer = await queries.get_offer(context)
    workspace = await workspaces.load_workspace(context, workspace_id)
    await mailing.mail(
        context,
        OWNERSHIP_OFFERED,
        await get_account(context, new.account_id),
        workspace=workspace.name,
        owner=(await get_account(context, caller_id)).name,
        link=mailing.link(context, "ownership", workspace.slug),
        days=days_left(offer.expires_at, context.now),
    )
    return offer


async def withdraw_ownership(context: Context) -> None:
    """Take the open offer back.

    Raises:
        NotFound: none is open.
    """
    context.require("workspaces.ownership.transfer")
    await lock_members(context)
    if not await _close(context):
        raise NotFound


async def accept_ownership(context: Context) -> Workspace:
    """Own the workspace: the caller becomes an owner and whoever has offered it an administrator, at once.

    Raises:
        StepUpNeeded: the last proof of the caller is too old.
        NotFound: nothing is offered to the caller, or by somebody who owns the workspace no longer.
    """
    require_recent_proof(context)
    await lock_members(context)
    offer = await _offer_to_me(context)
    owners = await members.list_owners(context, context.workspace.workspace_id)
    if offer.from_id not in owners or not await _can_own(context, offer.to_id):
        raise NotFound
    context.name_changes("workspaces:ownership:transferred")
    await _close(context)
    await _swap(context, offer.to_id, gains=OWNER, loses=ADMINISTRATOR, granted_by=offer.from_id)
    await _swap(context, offer.from_id, gains=ADMINISTRATOR, loses=OWNER, granted_by=offer.to_id)
    workspace = await workspaces.load_workspace(context, context.workspace.workspace_id)
    former, present = await get_account(context, offer.from_id), await get_account(context, offer.to_id)
    told = {*owners, offer.to_id}
    for account_id in sorted(told):
        account = await get_account(context, account_id)
        if account.email is not None:
            await mailing.mail(
                context,
                OWNERSHIP_TRANSFERRED,
                account,
                workspace=workspace.name,
                former_owner=former.name,
                new_owner=present.name,
            )
    return workspace


async def decline_ownership(context: Context) -> None:
    """Refuse to own the workspace.

    Raises:
        NotFound: nothing is offered to the caller.
    """
    await lock_members(context)
    await _offer_to_me(context)
    await _close(context)


async def _offer_to_me(context: Context) -> OwnershipOffer:
    offer = await queries.find_offer(context)
    if offer is None or offer.to_id != context.account_id:
        raise NotFound
    return offer


async def _can_own(context: Context, account_id: UUID) -> bool:
    """Return whether a member can become an owner: a person, not suspended, and none yet."""
    member = await members.find_member(context, account_id)
    if member is None or member.suspended_at is not None or OWNER in member.roles:
        return False
    return await members.find_kind(context, account_id) == "person"


async def _swap(context: Context, account_id: UUID, *, gains: str, loses: str, granted_by: UUID) -> None:
    await context.db.execute(_TAKE, workspace=context.workspace.workspace_id, account_id=account_id, role=loses)
    await give(context, account_id, [gains], granted_by=granted_by)
    await changed(context, account_id)


async def _close(context: Context) -> bool:
    return bool(await context.db.execute(_CLOSE, workspace=context.workspace.workspace_id))
