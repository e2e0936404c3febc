"""HTTP: invitations by mail, and links to join by."""

from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter

from courtyard.kernel.accounts import WeakPassword
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.errors import Unauthenticated
from courtyard.kernel.http import PUBLIC, SIGNED_IN, delete, get, post
from courtyard.kernel.quotas import QuotaExceeded
from courtyard.kernel.workspaces.errors import (
    AboveOwnRights,
    AlreadyMember,
    EmailNotAllowed,
    InvalidInvitation,
    InvitationForAnotherAddress,
    InvitationSettled,
    InvitationsSlowed,
    OwnershipIsWhole,
    RoleNotByLink,
    TooManyGrants,
    TooManyInvitations,
    UnknownRole,
    UnknownScope,
    VisitorsCannotJoin,
)
from courtyard.kernel.workspaces.limits import OPEN, REGISTER
from courtyard.kernel.workspaces.queries import invitations as queries
from courtyard.kernel.workspaces.schemas.invitations import (
    Invitation,
    InvitationLink,
    InvitationPreview,
    InvitationState,
    InvitationToken,
    InvitedAccount,
    LinkPreview,
    MadeInvitationLink,
    MyInvitation,
    NewInvitation,
    NewInvitationLink,
    NewInvitedAccount,
)
from courtyard.kernel.workspaces.schemas.workspaces import Workspace
from courtyard.kernel.workspaces.service import invitations as service

INVITATIONS = "/workspaces/{workspace:str}/invitations"
INVITATION = INVITATIONS + "/{invitation_id:uuid}"
LINKS = "/workspaces/{workspace:str}/invitation-links"
EDIT = "workspaces.member.edit"
OK, NOTHING = 200, 204
# The framework keeps the name `state` for itself.
InState = Annotated[InvitationState | None, QueryParameter(name="state", description="Only those in this state.")]


@post(
    INVITATIONS,
    permission=EDIT,
    problems=[
        UnknownRole,
        UnknownScope,
        AboveOwnRights,
        AlreadyMember,
        EmailNotAllowed,
        InvitationsSlowed,
        OwnershipIsWhole,
        TooManyInvitations,
    ],
)
async def invite(context: Context, data: NewInvitation) -> Invitation:
    """Invite somebody by mail.

    An open invitation to the same address is changed, and mailed again unless the last mail is too fresh. Whether
    somebody has an account with the address is not said.
    """
    return await service.invite(context, data)


@get(INVITATIONS, permission=EDIT)
async def list_invitations(
    context: ReadContext, in_state: InState = None, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[Invitation]:
    """List the invitations to a workspace, newest first. Those long settled are forgotten."""
    return await queries.list_invitations(context, in_state, limit, cursor)


@get(INVITATION, permission=EDIT)
async def get_invitation(context: ReadContext, invitation_id: UUID) -> Invitation:
    """See an invitation."""
    return await queries.get_invitation(context, invitation_id)


@post(
    f"{INVITATION}/resend",
    permission=EDIT,
    status=OK,
    idempotent=False,
    problems=[InvitationSettled, InvitationsSlowed, UnknownRole, UnknownScope, AboveOwnRights],
)
async def resend_invitation(context: Context, invitation_id: UUID) -> Invitation:
    """Mail an invitation once more, with a new link; the old one is worthless."""
    return await service.resend(context, invitation_id)


@delete(INVITATION, permission=EDIT, problems=[InvitationSettled])
async def withdraw_invitation(context: Context, invitation_id: UUID) -> None:
    """Take an invitation back."""
    await service.withdraw(context, invitation_id)


@post(
    "/invitations/preview",
    permission=PUBLIC,
    status=OK,
    idempotent=False,
    problems=[InvalidInvitation],
    limits=[OPEN],
)
async def preview_invitation(context: ReadContext, data: InvitationToken) -> InvitationPreview:
    """See what an invitation is to, with its link."""
    return await queries.preview(context, data.token)


@post(
    "/invitations/accept",
    permission=SIGNED_IN,
    status=OK,
    idempotent=False,
    problems=[InvalidInvitation, InvitationForAnotherAddress, TooManyGrants, QuotaExceeded],
    limits=[OPEN],
)
async def accept_invitation(context: Context, data: InvitationToken) -> Workspace:
    """Join a workspace with the link of an invitation, as the account with the address that was invited.

    What the inviter could give no more is not given.
    """
    return await service.accept(context, data.token)


@post(
    "/invitations/register",
    permission=PUBLIC,
    idempotent=False,
    problems=[InvalidInvitation, Unauthenticated, WeakPassword, QuotaExceeded],
    limits=[REGISTER],
)
async def register_by_invitation(context: Context, data: NewInvitedAccount) -> InvitedAccount:
    """Make an account with the link of an invitation, which has proven the address, and join.

    Where the address has an account, log in and accept.
    """
    return await service.register(context, data)


@post(
    "/invitations/decline",
    permission=PUBLIC,
    status=NOTHING,
    idempotent=False,
    problems=[InvalidInvitation],
    limits=[OPEN],
)
async def decline_invitation(context: Context, data: InvitationToken) -> None:
    """Refuse an invitation, with its link."""
    await service.decline(context, data.token)


@get("/me/invitations", permission=SIGNED_IN)
async def list_my_invitations(
    context: ReadContext, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[MyInvitation]:
    """List the open invitations to one's own address, oldest first."""
    return await queries.list_mine(context, limit, cursor)


@post(
    "/me/invitations/{invitation_id:uuid}/accept",
    permission=SIGNED_IN,
    status=OK,
    idempotent=False,
    problems=[InvalidInvitation, TooManyGrants, QuotaExceeded],
)
async def accept_my_invitation(context: Context, invitation_id: UUID) -> Workspace:
    """Join a workspace by an invitation to one's own address."""
    return await service.accept_mine(context, invitation_id)


@post("/me/invitations/{invitation_id:uuid}/decline", permission=SIGNED_IN, status=NOTHING, idempotent=False)
async def decline_my_invitation(context: Context, invitation_id: UUID) -> None:
    """Refuse an invitation to one's own address."""
    await service.decline_mine(context, invitation_id)


@post(
    LINKS,
    permission=EDIT,
    # The answer holds a secret, which is kept under no idempotency key.
    idempotent=False,
    problems=[UnknownRole, AboveOwnRights, RoleNotByLink, TooManyInvitations],
)
async def make_invitation_link(context: Context, data: NewInvitationLink) -> MadeInvitationLink:
    """Make a link by which whoever has it can join. It is shown this once."""
    return await service.make_link(context, data)


@get(LINKS, permission=EDIT)
async def list_invitation_links(
    context: ReadContext, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[InvitationLink]:
    """List the links by which people join a workspace, newest first."""
    return await queries.list_links(context, limit, cursor)


@delete(LINKS + "/{link_id:uuid}", permission=EDIT)
async def withdraw_invitation_link(context: Context, link_id: UUID) -> None:
    """Take a link back. Who has joined by it stays."""
    await service.withdraw_link(context, link_id)


@post(
    "/invitation-links/preview",
    permission=PUBLIC,
    status=OK,
    idempotent=False,
    problems=[InvalidInvitation],
    limits=[OPEN],
)
async def preview_invitation_link(context: ReadContext, data: InvitationToken) -> LinkPreview:
    """See where a link leads."""
    return await queries.preview_link(context, data.token)


@post(
    "/invitation-links/join",
    permission=SIGNED_IN,
    status=OK,
    idempotent=False,
    problems=[InvalidInvitation, AlreadyMember, EmailNotAllowed, VisitorsCannotJoin, QuotaExceeded],
    limits=[OPEN],
)
async def join_by_invitation_link(context: Context, data: InvitationToken) -> Workspace:
    """Join a workspace with a link."""
    return await service.join_by_link(context, data.token)


ROUTES = (
    invite,
    list_invitations,
    get_invitation,
    resend_invitation,
    withdraw_invitation,
    preview_invitation,
    accept_invitation,
    register_by_invitation,
    decline_invitation,
    list_my_invitations,
    accept_my_invitation,
    decline_my_invitation,
    make_invitation_link,
    list_invitation_links,
    withdraw_invitation_link,
    preview_invitation_link,
    join_by_invitation_link,
)
