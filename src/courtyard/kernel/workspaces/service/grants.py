"""Giving and taking roles one by one: on one thing of the workspace, or for a time."""

from datetime import timedelta
from uuid import UUID

from msgspec import UNSET, UnsetType
from sqlalchemy import Uuid, bindparam, delete

from courtyard.kernel.context import Context, Scope
from courtyard.kernel.database import Prepared
from courtyard.kernel.errors import FieldError, NotFound
from courtyard.kernel.workspaces import rules
from courtyard.kernel.workspaces.errors import AlreadyGranted, ExpiryOutOfRange, UnknownRole, UnknownScope
from courtyard.kernel.workspaces.models import RoleGrantRow
from courtyard.kernel.workspaces.permissions import OWNER
from courtyard.kernel.workspaces.queries import members as queries
from courtyard.kernel.workspaces.queries.access import load_standings
from courtyard.kernel.workspaces.queries.roles import find_meanings
from courtyard.kernel.workspaces.rules import Standing
from courtyard.kernel.workspaces.schemas.members import Grant, NewGrant
from courtyard.kernel.workspaces.service.members import EDIT, changed, give, take_authority

LONGEST = timedelta(days=3_653)

_DELETE = Prepared(
    delete(RoleGrantRow).where(
        RoleGrantRow.workspace_id == bindparam("workspace", type_=Uuid(), required=True),
        RoleGrantRow.id == bindparam("id", type_=Uuid(), required=True),
    )
)


async def grant_role(context: Context, account_id: UUID, new: NewGrant) -> Grant:
    """Give a member a role. Whoever may edit members on a thing alone gives roles there, and only there.

    Raises:
        NotFound: the account is not a member.
        UnknownRole: the role does not exist.
        UnknownScope: there is no such thing.
        OwnershipIsWhole: ownership is given with the roles of a member.
        ExpiryOutOfRange: the role would end in the past, or in the far future.
        AboveOwnRights: the member or the role has permissions there that the caller has not, or it is the caller.
        RoleNotForAccount: a program would own the workspace.
        AlreadyGranted: the member has the role there.
        TooManyGrants: the member has too many.
    """
    scope = named_scope(new.scope_type, new.scope_id)
    _require(context, scope)
    expires_at = None if new.expires_at is UNSET else new.expires_at
    if expires_at is not None and not context.now < expires_at <= context.now + LONGEST:
        raise ExpiryOutOfRange(errors=[FieldError("is not within the next ten years", pointer="/expires_at")])
    rules.ensure_limits_fit(new.role, scope, expires_at)
    await ensure_there(context, scope)
    own = await take_authority(context, EDIT, scope)
    kind = await queries.find_kind(context, account_id)
    if kind is None or await queries.find_member(context, account_id) is None:
        raise NotFound
    await _ensure_below(context, own, account_id, scope)
    role = (await find_meanings(context, [new.role], context.workspace.workspace_id)).get(new.role)
    if role is None:
        raise UnknownRole(errors=[FieldError(f"there is no role {new.role}", pointer="/role")])
    rules.ensure_may_give(own, role, scope)
    rules.ensure_may_have(kind, [new.role])
    given = await give(
        context, account_id, [new.role], scope=scope, granted_by=context.account_id, expires_at=expires_at
    )
    if not given:
        raise AlreadyGranted
    await changed(context, account_id)
    return await queries.load_grant(context, account_id, given[0])


async def revoke_grant(context: Context, account_id: UUID, grant_id: UUID) -> None:
    """Take a role that a member has been given.

    Raises:
        NotFound: the member has no such role.
        AboveOwnRights: the member has permissions there that the caller has not, or it is the caller.
        LastOwner: no owner would be left.
    """
    if not any(EDIT in permissions for permissions in context.workspace.scoped.values()):
        context.require(EDIT)
    scope = _scope(await queries.load_grant(context.outside(), account_id, grant_id))
    _require(context, scope)
    own = await take_authority(context, EDIT, scope)
    grant = await queries.load_grant(context, account_id, grant_id)
    await _ensure_below(context, own, account_id, scope)
    workspace_id = context.workspace.workspace_id
    if grant.role == OWNER:
        rules.ensure_owner_remains(await queries.list_owners(context, workspace_id), account_id)
    await context.db.execute(_DELETE, workspace=workspace_id, id=grant_id)
    await changed(context, account_id)


def named_scope(scope_type: str | UnsetType, scope_id: UUID | UnsetType) -> Scope | None:
    """Return the scope that the two halves in an input name, None for the whole workspace.

    Raises:
        UnknownScope: one is there without the other.
    """
    if scope_type is UNSET and scope_id is UNSET:
        return None
    if scope_type is UNSET or scope_id is UNSET:
        missing = "/scope_type" if scope_type is UNSET else "/scope_id"
        raise UnknownScope(errors=[FieldError("belongs to the other half of the scope", pointer=missing)])
    return scope_type, scope_id


def _scope(grant: Grant) -> Scope | None:
    return None if grant.scope_type is None or grant.scope_id is None else (grant.scope_type, grant.scope_id)


def _require(context: Context, scope: Scope | None) -> None:
    if EDIT not in context.workspace.on(scope):
        context.require(EDIT)


async def ensure_there(context: Context, scope: Scope | None) -> None:
    """Go on only where a thing is in the workspace.

    Raises:
        UnknownScope: it is not, or no roles are given on things of its kind.
    """
    if scope is None:
        return
    kind = context.runtime.scopes.get(scope[0])
    if kind is None:
        raise UnknownScope(errors=[FieldError("is not a kind of thing with roles", pointer="/scope_type")])
    if await kind.find(context.outside(), scope[1]) is None:
        raise UnknownScope(errors=[FieldError("there is no such thing here", pointer="/scope_id")])


async def _ensure_below(context: Context, own: Standing, account_id: UUID, scope: Scope | None) -> None:
    rules.ensure_other(own, account_id)
    rules.ensure_not_above_on(own, (await load_standings(context, [account_id]))[account_id], scope)
