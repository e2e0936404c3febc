"""Every change of workspaces and members."""

from collections.abc import Sequence
from uuid import UUID

from msgspec import UNSET
from sqlalchemy import BigInteger, String, Uuid, bindparam, delete, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_taken

from courtyard.kernel.accounts import SESSIONS_CHANNEL, find_account_id
from courtyard.kernel.application import Application
from courtyard.kernel.context import Context
from courtyard.kernel.database import Json, Prepared
from courtyard.kernel.errors import FieldError, NotFound, PreconditionFailed
from courtyard.kernel.events import Signal
from courtyard.kernel.ids import new_id
from courtyard.kernel.schema import normalise_email
from courtyard.kernel.workspaces import queries
from courtyard.kernel.workspaces.errors import (
    AboveOwnRights,
    AlreadyMember,
    LastOwner,
    SlugTaken,
    UnknownAccount,
    UnknownRole,
    VisitorsCannotOwn,
)
from courtyard.kernel.workspaces.models import MembershipRow, WorkspaceRow
from courtyard.kernel.workspaces.permissions import OWNER
from courtyard.kernel.workspaces.schemas import (
    Member,
    MemberPatch,
    NewMember,
    NewWorkspace,
    RoleDescription,
    Workspace,
    WorkspacePatch,
)

_WORKSPACE = bindparam("workspace", type_=Uuid(), required=True)
_ACCOUNT_ID = bindparam("account_id", type_=Uuid(), required=True)
_VERSION = bindparam("version_seen", type_=BigInteger(), required=True)

_INSERT_WORKSPACE = Prepared(
    insert_unless_taken(WorkspaceRow)
    .values(
        {
            column.name: bindparam(column.name, type_=column.type, required=True)
            for column in WorkspaceRow.__table__.columns
        }
    )
    .on_conflict_do_nothing(index_elements=[WorkspaceRow.slug])
)
_PATCH_WORKSPACE = Prepared(
    update(WorkspaceRow)
    .where(WorkspaceRow.id == _WORKSPACE, WorkspaceRow.version == _VERSION)
    .values(name=bindparam("name", type_=String(), required=True), version=WorkspaceRow.version + 1)
)
_INSERT_MEMBER = Prepared(
    insert_unless_taken(MembershipRow)
    .values(
        workspace_id=_WORKSPACE,
        account_id=_ACCOUNT_ID,
        roles=bindparam("roles", type_=Json(), required=True),
        version=1,
        created_at=bindparam("created_at", type_=MembershipRow.created_at.type, required=True),
    )
    .on_conflict_do_nothing(index_elements=[MembershipRow.workspace_id, MembershipRow.account_id])
)
_PATCH_MEMBER = Prepared(
    update(MembershipRow)
    .where(
        MembershipRow.workspace_id == _WORKSPACE,
        MembershipRow.account_id == _ACCOUNT_ID,
        MembershipRow.version == _VERSION,
    )
    .values(roles=bindparam("roles", type_=Json(), required=True), version=MembershipRow.version + 1)
)
_DELETE_MEMBER = Prepared(
    delete(MembershipRow).where(MembershipRow.workspace_id == _WORKSPACE, MembershipRow.account_id == _ACCOUNT_ID)
)


async def create_workspace(context: Context, new: NewWorkspace) -> Workspace:
    """Make a workspace that the caller owns.

    Raises:
        VisitorsCannotOwn: the caller is an anonymous visitor.
        SlugTaken: the slug is in use.
    """
    owner_id = context.account_id
    if context.principal is not None and context.principal.kind == "visitor":
        raise VisitorsCannotOwn
    return await found_workspace(context, new, owner_id)


async def found_workspace(context: Context, new: NewWorkspace, owner_id: UUID) -> Workspace:
    """Make a workspace for an owner; for the edge that needs no permission, the command line.

    Raises:
        SlugTaken: the slug is in use.
    """
    workspace_id = new_id()
    inserted = await context.db.execute(
        _INSERT_WORKSPACE, id=workspace_id, slug=new.slug, name=new.name, version=1, created_at=context.now
    )
    if not inserted:
        raise SlugTaken
    await context.db.execute(
        _INSERT_MEMBER, workspace=workspace_id, account_id=owner_id, roles=[OWNER], created_at=context.now
    )
    context.after_commit(context.runtime.identity.forget)
    return await queries.load_workspace(context, workspace_id)


async def change_workspace(context: Context, patch: WorkspacePatch, version: int | None) -> Workspace:
    """Change the workspace of the context.

    Raises:
        PreconditionFailed: it is no longer the version that the caller has seen.
    """
    context.require("workspaces.workspace.edit")
    workspace = await queries.get_workspace(context)
    if version is not None and version != workspace.version:
        raise PreconditionFailed
    if patch.name is not UNSET and not await context.db.execute(
        _PATCH_WORKSPACE, workspace=workspace.id, version_seen=workspace.version, name=patch.name
    ):
        raise PreconditionFailed
    return await queries.get_workspace(context)


async def add_member(context: Context, new: NewMember) -> Member:
    """Make an account a member of the workspace.

    Raises:
        UnknownAccount: nobody has registered with the address.
        UnknownRole: a role does not exist.
        AboveOwnRights: a role has permissions that the caller has not.
        AlreadyMember: it is one.
    """
    context.require("workspaces.member.edit")
    _require_assignable(context, new.roles)
    account_id = await find_account_id(context, normalise_email(new.email))
    if account_id is None:
        raise UnknownAccount(errors=[FieldError("nobody has registered with this address", pointer="/email")])
    inserted = await context.db.execute(
        _INSERT_MEMBER,
        workspace=context.workspace.workspace_id,
        account_id=account_id,
        roles=sorted(set(new.roles)),
        created_at=context.now,
    )
    if not inserted:
        raise AlreadyMember
    context.after_commit(context.runtime.identity.forget)
    return await queries.get_member(context, account_id)


async def change_member(context: Context, account_id: UUID, patch: MemberPatch, version: int | None) -> Member:
    """Change the roles of a member. Nobody changes their own.

    Raises:
        NotFound: the account is not a member.
        AboveOwnRights: the old or the new roles have permissions that the caller has not, or they are the caller's.
        LastOwner: no owner would be left.
        PreconditionFailed: it is no longer the version that the caller has seen.
    """
    context.require("workspaces.member.edit")
    owners = await queries.lock_members(context)
    member = await queries.get_member(context, account_id)
    if version is not None and version != member.version:
        raise PreconditionFailed
    if patch.roles is UNSET:
        return member
    if account_id == context.account_id:
        raise AboveOwnRights("Nobody changes their own roles.")
    _require_not_above(context, member.roles)
    _require_assignable(context, patch.roles)
    if owners == 1 and OWNER in member.roles and OWNER not in patch.roles:
        raise LastOwner
    if not await context.db.execute(
        _PATCH_MEMBER,
        workspace=context.workspace.workspace_id,
        account_id=account_id,
        version_seen=member.version,
        roles=sorted(set(patch.roles)),
    ):
        raise PreconditionFailed
    _tell(context, account_id)
    return await queries.get_member(context, account_id)


async def remove_member(context: Context, account_id: UUID) -> None:
    """Remove a member; everybody may remove themselves.

    Raises:
        NotFound: the account is not a member.
        AboveOwnRights: the member has permissions that the caller has not.
        LastOwner: no owner would be left.
    """
    leaving = account_id == context.account_id and bool(context.workspace.roles)
    if not leaving:
        context.require("workspaces.member.edit")
    owners = await queries.lock_members(context)
    member = await queries.find_member(context, account_id)
    if member is None:
        raise NotFound
    if not leaving:
        _require_not_above(context, member.roles)
    if owners == 1 and OWNER in member.roles:
        raise LastOwner
    await context.db.execute(_DELETE_MEMBER, workspace=context.workspace.workspace_id, account_id=account_id)
    _tell(context, account_id)


def _tell(context: Context, account_id: UUID) -> None:
    """Let every process look anew at what an account may do; its sockets connect again and ask for their topics."""
    runtime = context.runtime

    def tell() -> None:
        runtime.identity.forget()
        runtime.bus.publish(Signal(SESSIONS_CHANNEL, "rights_changed", body=account_id.bytes))

    context.after_commit(tell)


def list_roles(parts: Sequence[Application]) -> list[RoleDescription]:
    """Return the roles that a member can have, with what they may do."""
    descriptions: dict[str, str] = {}
    permissions: dict[str, set[str]] = {}
    for part in parts:
        for name, role in part.roles.items():
            if role.assignable:
                descriptions.setdefault(name, role.description)
                permissions.setdefault(name, set()).update(role.permissions)
    return [RoleDescription(name, descriptions[name], sorted(permissions[name])) for name in descriptions]


def _require_assignable(context: Context, roles: Sequence[str]) -> None:
    """Go on only where every role can be given, and by the caller."""
    assignable = {role.name for role in list_roles(context.runtime.parts)}
    unknown = sorted(set(roles) - assignable)
    if unknown:
        raise UnknownRole(errors=[FieldError(f"there is no role {name}", pointer="/roles") for name in unknown])
    _require_not_above(context, roles)


def _require_not_above(context: Context, roles: Sequence[str]) -> None:
    """Go on only where the roles hold nothing that the caller does not have."""
    held = frozenset[str]().union(*(context.runtime.roles.get(role, frozenset()) for role in roles))
    if not held <= context.workspace.permissions or (OWNER in roles and OWNER not in context.workspace.roles):
        raise AboveOwnRights
