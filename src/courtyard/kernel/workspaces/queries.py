"""Every read of workspaces and members."""

from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, ColumnElement, String, Uuid, and_, bindparam, select

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.context import EVERYBODY, Access, Principal, ReadContext
from courtyard.kernel.database import Page, Prepared, ReadUnit, page, sort_key
from courtyard.kernel.errors import NotFound
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.workspaces.models import MembershipRow, WorkspaceRow
from courtyard.kernel.workspaces.permissions import OWNER
from courtyard.kernel.workspaces.schemas import Member, Workspace

_ACCOUNT_ID = bindparam("account_id", type_=Uuid(), required=True)
_ID = bindparam("id", type_=Uuid(), required=True)
_AFTER = bindparam("after", type_=Uuid(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)

_WORKSPACE = (
    WorkspaceRow.id,
    WorkspaceRow.slug,
    WorkspaceRow.name,
    WorkspaceRow.version,
    WorkspaceRow.created_at,
)
_BY_ID = Prepared(select(*_WORKSPACE).where(WorkspaceRow.id == _ID), Workspace)
_OF_ACCOUNT = Prepared(
    select(*_WORKSPACE)
    .join(MembershipRow, MembershipRow.workspace_id == WorkspaceRow.id)
    .where(MembershipRow.account_id == _ACCOUNT_ID, WorkspaceRow.id > _AFTER)
    .order_by(WorkspaceRow.id)
    .limit(_LIMIT),
    Workspace,
)


class _Place(msgspec.Struct, frozen=True):
    id: UUID
    slug: str
    roles: list[str] | None


def _place(named: ColumnElement[bool]) -> Prepared[_Place]:
    member = and_(MembershipRow.workspace_id == WorkspaceRow.id, MembershipRow.account_id == _ACCOUNT_ID)
    return Prepared(
        select(WorkspaceRow.id, WorkspaceRow.slug, MembershipRow.roles).outerjoin(MembershipRow, member).where(named),
        _Place,
    )


_PLACE_BY_SLUG = _place(WorkspaceRow.slug == bindparam("slug", type_=String(), required=True))
_PLACE_BY_ID = _place(WorkspaceRow.id == _ID)

_MEMBER = (
    MembershipRow.account_id,
    AccountRow.name,
    AccountRow.email,
    MembershipRow.roles,
    MembershipRow.version,
    MembershipRow.created_at,
)
_MEMBERS = select(*_MEMBER).join(AccountRow, AccountRow.id == MembershipRow.account_id)
_IN_WORKSPACE = MembershipRow.workspace_id == bindparam("workspace", type_=Uuid(), required=True)
_MEMBER_PAGE = Prepared(
    _MEMBERS.where(_IN_WORKSPACE, MembershipRow.account_id > _AFTER).order_by(MembershipRow.account_id).limit(_LIMIT),
    Member,
)
_ONE_MEMBER = Prepared(_MEMBERS.where(_IN_WORKSPACE, MembershipRow.account_id == _ACCOUNT_ID), Member)
_ALL_ROLES = Prepared(select(MembershipRow.roles).where(_IN_WORKSPACE), list)
_LOCK = Prepared(select(WorkspaceRow.id).where(WorkspaceRow.id == _ID).with_for_update(), UUID)

_FIRST = _NOBODY = UUID(int=0)


async def find_access(runtime: Runtime, principal: Principal | None, named: str) -> Access:
    """Return what somebody may do in a workspace.

    Args:
        runtime: the process.
        principal: who, None for nobody.
        named: the slug or the id of the workspace.

    Raises:
        NotFound: there is no such workspace.
    """
    unit = ReadUnit(runtime.placement)
    account_id = _NOBODY if principal is None else principal.account_id
    place = await unit.first(_PLACE_BY_SLUG, slug=named, account_id=account_id)
    if place is None and (workspace_id := _parse_id(named)) is not None:
        place = await unit.first(_PLACE_BY_ID, id=workspace_id, account_id=account_id)
    if place is None:
        raise NotFound
    roles = frozenset(place.roles or ())
    if principal is not None:
        roles |= {EVERYBODY}
    permissions = frozenset[str]().union(*(runtime.roles.get(role, frozenset()) for role in roles))
    return Access(place.id, place.slug, roles, permissions)


def _parse_id(named: str) -> UUID | None:
    try:
        return UUID(named)
    except ValueError:
        return None


async def get_workspace(context: ReadContext) -> Workspace:
    """Return the workspace of the context."""
    context.require("workspaces.workspace.read")
    return await load_workspace(context, context.workspace.workspace_id)


async def load_workspace(context: ReadContext, workspace_id: UUID) -> Workspace:
    """Return a workspace that is known to exist, for a caller who may see it."""
    return await context.db.one(_BY_ID, id=workspace_id)


async def list_my_workspaces(context: ReadContext, limit: int, cursor: str | None) -> Page[Workspace]:
    """Return the workspaces that the caller is a member of, oldest first."""
    (after,) = (_FIRST,) if cursor is None else sort_key(cursor, tuple[UUID])
    rows = await context.db.all(_OF_ACCOUNT, account_id=context.account_id, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: (row.id,))


async def list_members(context: ReadContext, limit: int, cursor: str | None) -> Page[Member]:
    """Return the members of the workspace, in the order of their accounts."""
    context.require("workspaces.member.read")
    (after,) = (_FIRST,) if cursor is None else sort_key(cursor, tuple[UUID])
    rows = await context.db.all(_MEMBER_PAGE, workspace=context.workspace.workspace_id, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: (row.account_id,))


async def get_member(context: ReadContext, account_id: UUID) -> Member:
    """Return one member.

    Raises:
        NotFound: the account is not a member.
    """
    context.require("workspaces.member.read")
    member = await find_member(context, account_id)
    if member is None:
        raise NotFound
    return member


async def find_member(context: ReadContext, account_id: UUID) -> Member | None:
    """Return one member, for a caller who may see it."""
    return await context.db.first(_ONE_MEMBER, workspace=context.workspace.workspace_id, account_id=account_id)


async def lock_members(context: ReadContext) -> int:
    """Hold everybody else off the members of the workspace until the commit; return how many owners there are."""
    workspace_id = context.workspace.workspace_id
    await context.db.one(_LOCK, id=workspace_id)
    all_roles = await context.db.all(_ALL_ROLES, workspace=workspace_id)
    return sum(OWNER in roles for roles in all_roles)
