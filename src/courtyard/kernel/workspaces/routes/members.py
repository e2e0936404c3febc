"""HTTP: members."""

from uuid import UUID

from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.errors import LastOwner
from courtyard.kernel.http import delete, get, patch, post
from courtyard.kernel.quotas import QuotaExceeded
from courtyard.kernel.workspaces.errors import (
    AboveOwnRights,
    AlreadyGranted,
    AlreadyMember,
    ExpiryOutOfRange,
    OwnershipIsWhole,
    RoleNotForAccount,
    TooManyGrants,
    UnknownAccount,
    UnknownRole,
    UnknownScope,
)
from courtyard.kernel.workspaces.queries import members as queries
from courtyard.kernel.workspaces.schemas.members import Grant, Member, MemberPatch, NewGrant, NewMember
from courtyard.kernel.workspaces.service import grants, members

WORKSPACE = "/workspaces/{workspace:str}"
MEMBER = WORKSPACE + "/members/{account_id:uuid}"


@get(f"{WORKSPACE}/members", permission="workspaces.member.read")
async def list_members(
    context: ReadContext, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[Member]:
    """List who belongs to a workspace."""
    return await queries.list_members(context, limit, cursor)


@post(
    f"{WORKSPACE}/members",
    permission="workspaces.member.edit",
    problems=[AlreadyMember, UnknownAccount, UnknownRole, AboveOwnRights, RoleNotForAccount, QuotaExceeded],
)
async def add_member(context: Context, data: NewMember) -> Member:
    """Make a registered account a member."""
    return await members.add_member(context, data)


@get(MEMBER, permission="workspaces.member.read")
async def get_member(context: ReadContext, account_id: UUID) -> Member:
    """See a member."""
    return await queries.get_member(context, account_id)


@patch(
    MEMBER,
    permission="workspaces.member.edit",
    problems=[LastOwner, UnknownRole, AboveOwnRights, RoleNotForAccount, TooManyGrants],
)
async def change_member(context: Context, account_id: UUID, data: MemberPatch, version: int | None) -> Member:
    """Change the roles of a member in the whole workspace.

    Nobody changes their own, gives what they do not have, or touches somebody who has more.
    """
    return await members.change_member(context, account_id, data, version)


@delete(MEMBER, permission="workspaces.member.edit", problems=[LastOwner, AboveOwnRights])
async def remove_member(context: Context, account_id: UUID) -> None:
    """Remove a member. Everybody may remove themselves."""
    await members.remove_member(context, account_id)


@post(f"{MEMBER}/suspend", permission="workspaces.member.edit", status=200, problems=[LastOwner, AboveOwnRights])
async def suspend_member(context: Context, account_id: UUID, version: int | None) -> Member:
    """Take everything from a member for now.

    The roles stay, and count again when the member is resumed.
    """
    return await members.suspend_member(context, account_id, version)


@post(f"{MEMBER}/resume", permission="workspaces.member.edit", status=200, problems=[AboveOwnRights])
async def resume_member(context: Context, account_id: UUID, version: int | None) -> Member:
    """Let a suspended member go on."""
    return await members.resume_member(context, account_id, version)


@get(f"{MEMBER}/grants", permission="workspaces.member.read")
async def list_grants(
    context: ReadContext, account_id: UUID, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[Grant]:
    """List the roles that a member has been given, in the whole workspace and on single things."""
    return await queries.list_grants(context, account_id, limit, cursor)


@post(
    f"{MEMBER}/grants",
    permission="workspaces.member.edit",
    problems=[
        AboveOwnRights,
        AlreadyGranted,
        ExpiryOutOfRange,
        OwnershipIsWhole,
        RoleNotForAccount,
        TooManyGrants,
        UnknownRole,
        UnknownScope,
    ],
)
async def grant_role(context: Context, account_id: UUID, data: NewGrant) -> Grant:
    """Give a member a role on one thing, or for a time.

    Whoever may edit members on that thing alone may do it too.
    """
    return await grants.grant_role(context, account_id, data)


@delete(MEMBER + "/grants/{grant_id:uuid}", permission="workspaces.member.edit", problems=[LastOwner, AboveOwnRights])
async def revoke_grant(context: Context, account_id: UUID, grant_id: UUID) -> None:
    """Take a role that a member has been given."""
    await grants.revoke_grant(context, account_id, grant_id)


ROUTES = (
    list_members,
    add_member,
    get_member,
    change_member,
    remove_member,
    suspend_member,
    resume_member,
    list_grants,
    grant_role,
    revoke_grant,
)
