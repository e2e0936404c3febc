"""HTTP: workspaces, their members and roles."""

from uuid import UUID

from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.http import SIGNED_IN, delete, get, patch, post
from courtyard.kernel.workspaces import queries, service
from courtyard.kernel.workspaces.errors import (
    AboveOwnRights,
    AlreadyMember,
    LastOwner,
    SlugTaken,
    UnknownAccount,
    UnknownRole,
    VisitorsCannotOwn,
)
from courtyard.kernel.workspaces.schemas import (
    Member,
    MemberPatch,
    NewMember,
    NewWorkspace,
    RoleDescription,
    Workspace,
    WorkspacePatch,
)

WORKSPACE = "/workspaces/{workspace:str}"


@post("/workspaces", permission=SIGNED_IN, problems=[SlugTaken, VisitorsCannotOwn])
async def create_workspace(context: Context, data: NewWorkspace) -> Workspace:
    """Make a workspace. Whoever makes it owns it."""
    return await service.create_workspace(context, data)


@get("/workspaces", permission=SIGNED_IN)
async def list_my_workspaces(
    context: ReadContext, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[Workspace]:
    """List the workspaces that one belongs to."""
    return await queries.list_my_workspaces(context, limit, cursor)


@get(WORKSPACE, permission="workspaces.workspace.read")
async def get_workspace(context: ReadContext) -> Workspace:
    """See a workspace."""
    return await queries.get_workspace(context)


@patch(WORKSPACE, permission="workspaces.workspace.edit")
async def change_workspace(context: Context, data: WorkspacePatch, version: int | None) -> Workspace:
    """Change a workspace."""
    return await service.change_workspace(context, data, version)


@get(f"{WORKSPACE}/roles", permission="workspaces.member.read")
async def list_roles(context: ReadContext) -> list[RoleDescription]:
    """List the roles that a member can have, with what they may do."""
    context.require("workspaces.member.read")
    return service.list_roles(context.runtime.parts)


@get(f"{WORKSPACE}/members", permission="workspaces.member.read")
async def list_members(
    context: ReadContext, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[Member]:
    """List who belongs to a workspace."""
    return await queries.list_members(context, limit, cursor)


@post(
    f"{WORKSPACE}/members",
    permission="workspaces.member.edit",
    problems=[AlreadyMember, UnknownAccount, UnknownRole, AboveOwnRights],
)
async def add_member(context: Context, data: NewMember) -> Member:
    """Make a registered account a member."""
    return await service.add_member(context, data)


@get(WORKSPACE + "/members/{account_id:uuid}", permission="workspaces.member.read")
async def get_member(context: ReadContext, account_id: UUID) -> Member:
    """See a member."""
    return await queries.get_member(context, account_id)


@patch(
    WORKSPACE + "/members/{account_id:uuid}",
    permission="workspaces.member.edit",
    problems=[LastOwner, UnknownRole, AboveOwnRights],
)
async def change_member(context: Context, account_id: UUID, data: MemberPatch, version: int | None) -> Member:
    """Change the roles of a member."""
    return await service.change_member(context, account_id, data, version)


@delete(
    WORKSPACE + "/members/{account_id:uuid}",
    permission="workspaces.member.edit",
    problems=[LastOwner, AboveOwnRights],
)
async def remove_member(context: Context, account_id: UUID) -> None:
    """Remove a member. Everybody may remove themselves."""
    await service.remove_member(context, account_id)


ROUTES = (
    create_workspace,
    list_my_workspaces,
    get_workspace,
    change_workspace,
    list_roles,
    list_members,
    add_member,
    get_member,
    change_member,
    remove_member,
)
