"""Every read of members and of the roles that they are given."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, String, Uuid, bindparam, func, select

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import AnyOf, Page, Prepared, page, sort_key
from courtyard.kernel.errors import NotFound
from courtyard.kernel.workspaces.models import MembershipRow, RoleGrantRow, WorkspaceRow
from courtyard.kernel.workspaces.permissions import OWNER
from courtyard.kernel.workspaces.queries.access import COUNTS, scope_of
from courtyard.kernel.workspaces.schemas.members import Grant, Member

_ACCOUNT_ID = bindparam("account_id", type_=Uuid(), required=True)
_ID = bindparam("id", type_=Uuid(), required=True)
_AFTER = bindparam("after", type_=Uuid(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)
_WORKSPACE = bindparam("workspace", type_=Uuid(), required=True)
_IN_WORKSPACE = MembershipRow.workspace_id == _WORKSPACE
_FIRST = UUID(int=0)


class _Member(msgspec.Struct, frozen=True):
    account_id: UUID
    name: str
    email: str | None
    suspended_at: datetime | None
    version: int
    created_at: datetime


class _Grant(msgspec.Struct, frozen=True):
    id: UUID
    account_id: UUID
    role: str
    scope_type: str
    scope_id: UUID
    granted_by: UUID | None
    created_at: datetime
    expires_at: datetime | None


_MEMBERS = select(
    MembershipRow.account_id,
    AccountRow.name,
    AccountRow.email,
    MembershipRow.suspended_at,
    MembershipRow.version,
    MembershipRow.created_at,
).join(AccountRow, AccountRow.id == MembershipRow.account_id)
_MEMBER_PAGE = Prepared(
    _MEMBERS.where(_IN_WORKSPACE, MembershipRow.account_id > _AFTER).order_by(MembershipRow.account_id).limit(_LIMIT),
    _Member,
)
_ONE_MEMBER = Prepared(_MEMBERS.where(_IN_WORKSPACE, MembershipRow.account_id == _ACCOUNT_ID), _Member)

_GRANTS = select(*(getattr(RoleGrantRow, name) for name in _Grant.__struct_fields__)).where(
    RoleGrantRow.workspace_id == _WORKSPACE, COUNTS
)
_GRANTS_OF_SOME = Prepared(
    _GRANTS.where(AnyOf(RoleGrantRow.account_id.expression, "account_ids")).order_by(
        RoleGrantRow.role, RoleGrantRow.id
    ),
    _Grant,
)
_GRANT_PAGE = Prepared(
    _GRANTS.where(RoleGrantRow.account_id == _ACCOUNT_ID, RoleGrantRow.id > _AFTER)
    .order_by(RoleGrantRow.id)
    .limit(_LIMIT),
    _Grant,
)
_ONE_GRANT = Prepared(_GRANTS.where(RoleGrantRow.account_id == _ACCOUNT_ID, RoleGrantRow.id == _ID), _Grant)
_COUNT_GRANTS = Prepared(
    select(func.count())
    .select_from(RoleGrantRow)
    .where(RoleGrantRow.workspace_id == _WORKSPACE, RoleGrantRow.account_id == _ACCOUNT_ID),
    int,
)
_HOLDERS = Prepared(
    select(RoleGrantRow.account_id)
    .where(
        RoleGrantRow.workspace_id == _WORKSPACE,
        RoleGrantRow.role == bindparam("role", type_=String(), required=True),
        COUNTS,
    )
    .distinct(),
    UUID,
)
_OWNERS = Prepared(
    select(RoleGrantRow.account_id)
    .join(
        MembershipRow,
        (MembershipRow.workspace_id == RoleGrantRow.workspace_id)
        & (MembershipRow.account_id == RoleGrantRow.account_id),
    )
    .join(AccountRow, AccountRow.id == RoleGrantRow.account_id)
    .where(
        RoleGrantRow.workspace_id == _WORKSPACE,
        RoleGrantRow.role == OWNER,
        MembershipRow.suspended_at.is_(None),
        AccountRow.disabled_at.is_(None),
    ),
    UUID,
)
_HOME = Prepared(select(AccountRow.workspace_id).where(AccountRow.id == _ID), UUID)
_KIND = Prepared(select(AccountRow.kind).where(AccountRow.id == _ID), str)
_COUNT_MEMBERS = Prepared(select(func.count()).select_from(MembershipRow).where(_IN_WORKSPACE), int)
# Not stronger: other rows that name the workspace may be written meanwhile.
_LOCK = Prepared(select(WorkspaceRow.id).where(WorkspaceRow.id == _ID).with_for_update(key_share=True), UUID)


async def list_members(context: ReadContext, limit: int, cursor: str | None) -> Page[Member]:
    """Return the members of the workspace, in the order of their accounts."""
    context.require("workspaces.member.read")
    workspace_id = context.workspace.workspace_id
    (after,) = (_FIRST,) if cursor is None else sort_key(cursor, tuple[UUID])
    rows = page(
        await context.db.all(_MEMBER_PAGE, workspace=workspace_id, after=after, limit=limit + 1),
        limit,
        lambda row: (row.account_id,),
    )
    return Page(await _with_grants(context, rows.items, workspace_id), rows.next)


async def get_member(context: ReadContext, account_id: UUID) -> Member:
    """Return one member.

    Raises:
        NotFound: the account is not a member.
    """
    context.require("workspaces.member.read")
    return await load_member(context, account_id)


async def load_member(context: ReadContext, account_id: UUID) -> Member:
    """Return one member, for a caller who may see it.

    Raises:
        NotFound: the account is not a member.
    """
    member = await find_member(context, account_id)
    if member is None:
        raise NotFound
    return member


async def find_member(context: ReadContext, account_id: UUID, workspace_id: UUID | None = None) -> Member | None:
    """Return one member of a workspace, that of the context unless told otherwise, for a caller who may see it."""
    workspace_id = workspace_id or context.workspace.workspace_id
    row = await context.db.first(_ONE_MEMBER, workspace=workspace_id, account_id=account_id)
    return None if row is None else (await _with_grants(context, [row], workspace_id))[0]


async def _with_grants(context: ReadContext, rows: Sequence[_Member], workspace_id: UUID) -> list[Member]:
    ids = [row.account_id for row in rows]
    grants: dict[UUID, list[Grant]] = {account_id: [] for account_id in ids}
    for grant in await context.db.all(_GRANTS_OF_SOME, workspace=workspace_id, account_ids=ids, now=context.now):
        grants[grant.account_id].append(_grant(grant))
    return [
        Member(
            account_id=row.account_id,
            name=row.name,
            email=row.email,
            roles=[grant.role for grant in grants[row.account_id] if grant.scope_type is None],
            grants=[grant for grant in grants[row.account_id] if grant.scope_type is not None],
            suspended_at=row.suspended_at,
            version=row.version,
            created_at=row.created_at,
        )
        for row in rows
    ]


def _grant(row: _Grant) -> Grant:
    scope_type, scope_id = scope_of(row.scope_type, row.scope_id) or (None, None)
    return Grant(row.id, row.account_id, row.role, scope_type, scope_id, row.granted_by, row.created_at, row.expires_at)


async def list_grants(context: ReadContext, account_id: UUID, limit: int, cursor: str | None) -> Page[Grant]:
    """Return the roles that a member has been given, in the order of that.

    Raises:
        NotFound: the account is not a member.
    """
    context.require("workspaces.member.read")
    workspace_id = context.workspace.workspace_id
    if await context.db.first(_ONE_MEMBER, workspace=workspace_id, account_id=account_id) is None:
        raise NotFound
    (after,) = (_FIRST,) if cursor is None else sort_key(cursor, tuple[UUID])
    rows = await context.db.all(
        _GRANT_PAGE, workspace=workspace_id, account_id=account_id, now=context.now, after=after, limit=limit + 1
    )
    return page([_grant(row) for row in rows], limit, lambda grant: (grant.id,))


async def load_grant(context: ReadContext, account_id: UUID, grant_id: UUID) -> Grant:
    """Return a role that a member has been given, for a caller who may see it.

    Raises:
        NotFound: the member has no such role.
    """
    row = await context.db.first(
        _ONE_GRANT, workspace=context.workspace.workspace_id, account_id=account_id, id=grant_id, now=context.now
    )
    if row is None:
        raise NotFound
    return _grant(row)


async def count_grants(context: ReadContext, account_id: UUID, workspace_id: UUID) -> int:
    """Return how many roles a member has been given."""
    return await context.db.one(_COUNT_GRANTS, workspace=workspace_id, account_id=account_id)


async def list_holders(context: ReadContext, role: str) -> list[UUID]:
    """Return the accounts that have a role, anywhere in the workspace."""
    return await context.db.all(_HOLDERS, workspace=context.workspace.workspace_id, role=role, now=context.now)


async def list_owners(context: ReadContext, workspace_id: UUID) -> list[UUID]:
    """Return the owners of a workspace who can act: neither suspended nor deactivated."""
    return await context.db.all(_OWNERS, workspace=workspace_id)


async def count_members(context: ReadContext) -> int:
    """Return how many members the workspace has."""
    return await context.db.one(_COUNT_MEMBERS, workspace=context.workspace.workspace_id)


async def find_home(context: ReadContext, account_id: UUID) -> UUID | None:
    """Return the workspace that a program belongs to; None for people."""
    return await context.db.first(_HOME, id=account_id)


async def find_kind(context: ReadContext, account_id: UUID) -> str | None:
    """Return what kind of account it is; None where there is none."""
    return await context.db.first(_KIND, id=account_id)


async def lock_members(context: ReadContext, workspace_id: UUID) -> None:
    """Hold everybody else off the members, roles and grants of a workspace until the commit."""
    await context.db.one(_LOCK, id=workspace_id)
