"""Every read of invitations and links."""

from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, ColumnElement, LargeBinary, String, Uuid, and_, bindparam, case, func, or_, select

from courtyard.kernel.accounts import AccountRow, get_account
from courtyard.kernel.context import ReadContext, Scope
from courtyard.kernel.crypto import digest_token
from courtyard.kernel.database import Page, Prepared, UtcDateTime, page, sort_key
from courtyard.kernel.errors import NotFound
from courtyard.kernel.workspaces.errors import InvalidInvitation
from courtyard.kernel.workspaces.models import InvitationLinkRow, InvitationRow, MembershipRow, WorkspaceRow
from courtyard.kernel.workspaces.rules.invitations import Mailed
from courtyard.kernel.workspaces.schemas.invitations import (
    Invitation,
    InvitationLink,
    InvitationPreview,
    InvitationState,
    LinkPreview,
    MyInvitation,
)

_WORKSPACE = bindparam("workspace", type_=Uuid(), required=True)
_ID = bindparam("id", type_=Uuid(), required=True)
_EMAIL = bindparam("email", type_=String(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_AFTER = bindparam("after", type_=Uuid(), required=True)
_BEFORE = bindparam("before", type_=Uuid(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)
_DIGEST = bindparam("digest", type_=LargeBinary(), required=True)

_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)

_PENDING = InvitationRow.state == "pending"
OPEN = and_(_PENDING, InvitationRow.expires_at > _NOW)
# What has expired is so at once, whenever it is written down.
_LAPSED = and_(_PENDING, InvitationRow.expires_at <= _NOW)
_STATE: ColumnElement[str] = case((_LAPSED, "expired"), else_=InvitationRow.state)
_INVITATION = select(
    *(
        _STATE.label("state") if name == "state" else getattr(InvitationRow, name)
        for name in Invitation.__struct_fields__
    )
)
_HERE = InvitationRow.workspace_id == _WORKSPACE
_ONE = Prepared(_INVITATION.where(_HERE, InvitationRow.id == _ID), Invitation)
_OPEN_FOR = Prepared(select(InvitationRow.id).where(_HERE, InvitationRow.email == _EMAIL, _PENDING), UUID)
_COUNT_OPEN = Prepared(select(func.count()).select_from(InvitationRow).where(_HERE, OPEN), int)


def _invitation_page(*which: ColumnElement[bool]) -> Prepared[Invitation]:
    return Prepared(
        _INVITATION.where(_HERE, InvitationRow.id < _BEFORE, *which).order_by(InvitationRow.id.desc()).limit(_LIMIT),
        Invitation,
    )


_PAGE = _invitation_page()
_PAGE_IN_STATE: dict[InvitationState, Prepared[Invitation]] = {
    "pending": _invitation_page(OPEN),
    "accepted": _invitation_page(InvitationRow.state == "accepted"),
    "declined": _invitation_page(InvitationRow.state == "declined"),
    "withdrawn": _invitation_page(InvitationRow.state == "withdrawn"),
    "expired": _invitation_page(or_(InvitationRow.state == "expired", _LAPSED)),
}
# Over all invitations to the address, so that withdrawing one starts no new count.
_MAILED = Prepared(
    select(*(getattr(InvitationRow, name) for name in Mailed.__struct_fields__))
    .where(_HERE, InvitationRow.email == _EMAIL)
    .order_by(InvitationRow.mailed_at.desc())
    .limit(1),
    Mailed,
)
_IS_MEMBER = Prepared(
    select(AccountRow.id)
    .join(MembershipRow, MembershipRow.account_id == AccountRow.id)
    .where(AccountRow.email == _EMAIL, MembershipRow.workspace_id == _WORKSPACE),
    UUID,
)


class Found(msgspec.Struct, frozen=True):
    """An open invitation to a workspace that is open."""

    id: UUID
    workspace_id: UUID
    workspace: str
    email: str
    inviter_id: UUID
    inviter: str
    roles: list[str]
    scope_type: str | None
    scope_id: UUID | None
    message: str | None
    created_at: datetime
    expires_at: datetime

    @property
    def scope(self) -> Scope | None:
        """The thing on which the roles are to count."""
        return None if self.scope_type is None or self.scope_id is None else (self.scope_type, self.scope_id)


_ADMITTING = (WorkspaceRow.archived_at.is_(None), WorkspaceRow.deletes_at.is_(None))
_FOUND = (
    select(
        InvitationRow.id,
        InvitationRow.workspace_id,
        WorkspaceRow.name.label("workspace"),
        InvitationRow.email,
        InvitationRow.inviter_id,
        AccountRow.name.label("inviter"),
        InvitationRow.roles,
        InvitationRow.scope_type,
        InvitationRow.scope_id,
        InvitationRow.message,
        InvitationRow.created_at,
        InvitationRow.expires_at,
    )
    .join(WorkspaceRow, WorkspaceRow.id == InvitationRow.workspace_id)
    .join(AccountRow, AccountRow.id == InvitationRow.inviter_id)
    .where(OPEN, *_ADMITTING)
)
_BY_TOKEN = Prepared(_FOUND.where(InvitationRow.token_digest == _DIGEST), Found)
_BY_ID = Prepared(_FOUND.where(InvitationRow.id == _ID, InvitationRow.email == _EMAIL), Found)
_TO_ADDRESS = Prepared(
    _FOUND.where(InvitationRow.email == _EMAIL, InvitationRow.id > _AFTER).order_by(InvitationRow.id).limit(_LIMIT),
    Found,
)

_LINK = select(*(getattr(InvitationLinkRow, name) for name in InvitationLink.__struct_fields__))
_LINK_HERE = InvitationLinkRow.workspace_id == _WORKSPACE
LINK_OPEN = (
    InvitationLinkRow.withdrawn_at.is_(None),
    InvitationLinkRow.expires_at > _NOW,
    InvitationLinkRow.uses < InvitationLinkRow.max_uses,
)
_ONE_LINK = Prepared(_LINK.where(_LINK_HERE, InvitationLinkRow.id == _ID), InvitationLink)
_LINK_PAGE = Prepared(
    _LINK.where(_LINK_HERE, InvitationLinkRow.id < _BEFORE).order_by(InvitationLinkRow.id.desc()).limit(_LIMIT),
    InvitationLink,
)
_COUNT_LINKS = Prepared(select(func.count()).select_from(InvitationLinkRow).where(_LINK_HERE, *LINK_OPEN), int)


class FoundLink(msgspec.Struct, frozen=True):
    """An open link into a workspace that is open."""

    id: UUID
    workspace_id: UUID
    workspace: str
    roles: list[str]
    maker_id: UUID
    expires_at: datetime


_LINK_BY_TOKEN = Prepared(
    select(
        InvitationLinkRow.id,
        InvitationLinkRow.workspace_id,
        WorkspaceRow.name.label("workspace"),
        InvitationLinkRow.roles,
        InvitationLinkRow.maker_id,
        InvitationLinkRow.expires_at,
    )
    .join(WorkspaceRow, WorkspaceRow.id == InvitationLinkRow.workspace_id)
    .where(InvitationLinkRow.token_digest == _DIGEST, *LINK_OPEN, *_ADMITTING),
    FoundLink,
)


async def list_invitations(
    context: ReadContext, state: InvitationState | None, limit: int, cursor: str | None
) -> Page[Invitation]:
    """Return the invitations of the workspace, newest first."""
    context.require("workspaces.member.edit")
    (before,) = (_LAST,) if cursor is None else sort_key(cursor, tuple[UUID])
    statement = _PAGE if state is None else _PAGE_IN_STATE[state]
    rows = await context.db.all(
        statement, workspace=context.workspace.workspace_id, before=before, now=context.now, limit=limit + 1
    )
    return page(rows, limit, lambda row: (row.id,))


async def get_invitation(context: ReadContext, invitation_id: UUID) -> Invitation:
    """Return one invitation of the workspace.

    Raises:
        NotFound: there is none of this id.
    """
    context.require("workspaces.member.edit")
    invitation = await context.db.first(
        _ONE, workspace=context.workspace.workspace_id, id=invitation_id, now=context.now
    )
    if invitation is None:
        raise NotFound
    return invitation


async def find_pending(context: ReadContext, email: str) -> UUID | None:
    """Return the invitation of the workspace to an address that has not been settled."""
    return await context.db.first(_OPEN_FOR, workspace=context.workspace.workspace_id, email=email)


async def count_open(context: ReadContext) -> int:
    """Return how many invitations of the workspace are open."""
    return await context.db.one(_COUNT_OPEN, workspace=context.workspace.workspace_id, now=context.now)


async def find_mailed(context: ReadContext, email: str) -> Mailed | None:
    """Return how often the workspace has written to an address, None where it has not."""
    return await context.db.first(_MAILED, workspace=context.workspace.workspace_id, email=email)


async def is_member(context: ReadContext, email: str) -> bool:
    """Return whether an address is that of a member of the workspace."""
    found = await context.db.first(_IS_MEMBER, workspace=context.workspace.workspace_id, email=email)
    return found is not None


async def find_by_token(context: ReadContext, token: str) -> Found | None:
    """Return the open invitation with this link."""
    return await context.db.first(_BY_TOKEN, digest=digest_token(token), now=context.now)


async def find_by_id(context: ReadContext, invitation_id: UUID, email: str | None) -> Found | None:
    """Return the open invitation of this id to an address."""
    return await context.db.first(_BY_ID, id=invitation_id, email=email, now=context.now)


async def list_mine(context: ReadContext, limit: int, cursor: str | None) -> Page[MyInvitation]:
    """Return the open invitations to the address of the caller, oldest first."""
    account = await get_account(context, context.account_id)
    (after,) = (_FIRST,) if cursor is None else sort_key(cursor, tuple[UUID])
    found = await context.db.all(_TO_ADDRESS, email=account.email, after=after, now=context.now, limit=limit + 1)
    rows = [
        MyInvitation(
            each.id,
            each.workspace_id,
            each.workspace,
            each.inviter,
            each.roles,
            each.message,
            each.created_at,
            each.expires_at,
        )
        for each in found
    ]
    return page(rows, limit, lambda row: (row.id,))


async def preview(context: ReadContext, token: str) -> InvitationPreview:
    """Return what an invitation says to whoever has its link.

    Raises:
        InvalidInvitation: it is not open (any more).
    """
    found = await find_by_token(context, token)
    if found is None:
        raise InvalidInvitation
    return InvitationPreview(found.workspace, found.inviter, found.roles, found.message, found.expires_at)


async def preview_link(context: ReadContext, token: str) -> LinkPreview:
    """Return where a link leads.

    Raises:
        InvalidInvitation: it is not good (any more).
    """
    found = await find_link(context, token)
    if found is None:
        raise InvalidInvitation
    return LinkPreview(found.workspace, found.roles, found.expires_at)


async def list_links(context: ReadContext, limit: int, cursor: str | None) -> Page[InvitationLink]:
    """Return the links of the workspace, newest first."""
    context.require("workspaces.member.edit")
    (before,) = (_LAST,) if cursor is None else sort_key(cursor, tuple[UUID])
    rows = await context.db.all(_LINK_PAGE, workspace=context.workspace.workspace_id, before=before, limit=limit + 1)
    return page(rows, limit, lambda row: (row.id,))


async def get_link(context: ReadContext, link_id: UUID) -> InvitationLink:
    """Return one link of the workspace.

    Raises:
        NotFound: there is none of this id.
    """
    link = await context.db.first(_ONE_LINK, workspace=context.workspace.workspace_id, id=link_id)
    if link is None:
        raise NotFound
    return link


async def count_links(context: ReadContext) -> int:
    """Return how many links of the workspace are open."""
    return await context.db.one(_COUNT_LINKS, workspace=context.workspace.workspace_id, now=context.now)


async def find_link(context: ReadContext, token: str) -> FoundLink | None:
    """Return the open link with this token."""
    return await context.db.first(_LINK_BY_TOKEN, digest=digest_token(token), now=context.now)
