"""HTTP: roles, and who may do what by them."""

from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter

from courtyard.kernel.accounts import UnknownPermission
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.http import SIGNED_IN, delete, get, patch, post
from courtyard.kernel.schema import Permission, RoleName
from courtyard.kernel.workspaces.errors import (
    AboveOwnRights,
    BuiltInRole,
    RoleExists,
    RoleInUse,
    TooManyRoles,
    UnknownScope,
)
from courtyard.kernel.workspaces.queries import rights
from courtyard.kernel.workspaces.queries import roles as queries
from courtyard.kernel.workspaces.schemas.members import ScopeType
from courtyard.kernel.workspaces.schemas.rights import EffectivePermissions, Explanation, OwnPermissions
from courtyard.kernel.workspaces.schemas.roles import NewRole, Role, RolePatch
from courtyard.kernel.workspaces.service import roles as service

WORKSPACE = "/workspaces/{workspace:str}"
ROLE = WORKSPACE + "/roles/{role:str}"


@get(f"{WORKSPACE}/roles", permission="workspaces.member.read")
async def list_roles(context: ReadContext, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None) -> Page[Role]:
    """List the roles that a member can have, with what they may do."""
    return await queries.list_roles(context, limit, cursor)


@post(
    f"{WORKSPACE}/roles",
    permission="workspaces.role.edit",
    problems=[AboveOwnRights, RoleExists, TooManyRoles, UnknownPermission],
)
async def create_role(context: Context, data: NewRole) -> Role:
    """Make a role of the workspace's own, of permissions that one has oneself."""
    return await service.create_role(context, data)


@get(ROLE, permission="workspaces.member.read")
async def get_role(context: ReadContext, role: RoleName) -> Role:
    """See a role."""
    return await queries.get_role(context, role)


@patch(ROLE, permission="workspaces.role.edit", problems=[AboveOwnRights, BuiltInRole, UnknownPermission])
async def change_role(context: Context, role: RoleName, data: RolePatch, version: int | None) -> Role:
    """Change a role of the workspace's own.

    Nobody changes a role that they have themselves, or that somebody has who has more than they.
    """
    return await service.change_role(context, role, data, version)


@delete(ROLE, permission="workspaces.role.edit", problems=[AboveOwnRights, BuiltInRole, RoleInUse])
async def delete_role(context: Context, role: RoleName) -> None:
    """Remove a role of the workspace's own that nobody has."""
    await service.delete_role(context, role)


@get(WORKSPACE + "/members/{account_id:uuid}/permissions", permission="workspaces.member.read")
async def list_permissions(context: ReadContext, account_id: UUID) -> EffectivePermissions:
    """See what a member may do, and through which roles."""
    return await rights.list_permissions(context, account_id)


@get(f"{WORKSPACE}/me/permissions", permission=SIGNED_IN)
async def get_own_permissions(context: ReadContext) -> OwnPermissions:
    """See what one may do in a workspace oneself, with this login."""
    return rights.own_permissions(context)


@get(f"{WORKSPACE}/why", permission="workspaces.member.read", problems=[UnknownScope])
async def explain_permission(
    context: ReadContext,
    account: Annotated[UUID, QueryParameter(description="Who.")],
    permission: Permission,
    scope_type: ScopeType | None = None,
    scope_id: UUID | None = None,
) -> Explanation:
    """Ask why somebody may do something, or may not."""
    if scope_type is None or scope_id is None:
        if scope_type is not None or scope_id is not None:
            raise UnknownScope("A thing is named by its kind and its id.")
        return await rights.why(context, account, permission, None)
    return await rights.why(context, account, permission, (scope_type, scope_id))


ROUTES = (
    list_roles,
    create_role,
    get_role,
    change_role,
    delete_role,
    list_permissions,
    get_own_permissions,
    explain_permission,
)
