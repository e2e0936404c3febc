"""Every change of the roles that a workspace has made itself."""

from collections.abc import Sequence

from msgspec import UNSET
from sqlalchemy import BigInteger, Boolean, String, Uuid, bindparam, delete, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_taken

from courtyard.kernel.accounts import UnknownPermission, rights_changed
from courtyard.kernel.context import Context
from courtyard.kernel.database import Json, Prepared
from courtyard.kernel.errors import FieldError, PreconditionFailed
from courtyard.kernel.workspaces import rules
from courtyard.kernel.workspaces.errors import BuiltInRole, RoleExists, RoleInUse, TooManyRoles
from courtyard.kernel.workspaces.models import CustomRoleRow, RoleGrantRow
from courtyard.kernel.workspaces.queries import roles as queries
from courtyard.kernel.workspaces.queries.access import load_standings
from courtyard.kernel.workspaces.queries.members import list_holders
from courtyard.kernel.workspaces.schemas.roles import NewRole, Role, RolePatch
from courtyard.kernel.workspaces.service.members import take_authority

EDIT = "workspaces.role.edit"
MAX_ROLES = 100

_WORKSPACE = bindparam("workspace", type_=Uuid(), required=True)
_NAME = bindparam("role", type_=String(), required=True)
_THIS = (CustomRoleRow.workspace_id == _WORKSPACE, CustomRoleRow.name == _NAME)

_INSERT = Prepared(
    insert_unless_taken(CustomRoleRow)
    .values(
        {
            column.name: bindparam(column.name, type_=column.type, required=True)
            for column in CustomRoleRow.__table__.columns
        }
    )
    .on_conflict_do_nothing()
)
_CHANGE = Prepared(
    update(CustomRoleRow)
    .where(*_THIS, CustomRoleRow.version == bindparam("version_seen", type_=BigInteger(), required=True))
    .values(
        description=bindparam("new_description", type_=String(), required=True),
        permissions=bindparam("new_permissions", type_=Json(), required=True),
        require_second_factor=bindparam("second_factor", type_=Boolean(), required=True),
        version=CustomRoleRow.version + 1,
    )
)
_DELETE = Prepared(delete(CustomRoleRow).where(*_THIS))
_FORGET_EXPIRED = Prepared(
    delete(RoleGrantRow).where(RoleGrantRow.workspace_id == _WORKSPACE, RoleGrantRow.role == _NAME)
)


async def create_role(context: Context, new: NewRole) -> Role:
    """Make a role.

    Raises:
        UnknownPermission: a permission does not exist.
        AboveOwnRights: a permission is none of the caller's own.
        RoleExists: there is a role of this name.
        TooManyRoles: the workspace has as many as it can have.
    """
    context.require(EDIT)
    own = await take_authority(context, EDIT)
    permissions = _known(context, new.permissions)
    rules.ensure_may_define(own, frozenset(), permissions)
    if await queries.count_roles(context) >= MAX_ROLES:
        raise TooManyRoles
    if not await context.db.execute(
        _INSERT,
        workspace_id=context.workspace.workspace_id,
        name=new.name,
        description=new.description,
        permissions=sorted(permissions),
        require_second_factor=new.require_second_factor,
        version=1,
        created_at=context.now,
    ):
        raise RoleExists
    return await queries.load_role(context, new.name)


async def change_role(context: Context, name: str, patch: RolePatch, version: int | None) -> Role:
    """Change a role; whoever has it may do more or less from then on.

    Raises:
        NotFound: there is no such role.
        BuiltInRole: it is no role of the workspace's own.
        UnknownPermission: a permission does not exist.
        AboveOwnRights: the role has, or would have, a permission that the caller has not; or the caller has the role,
            or somebody has it who has more than the caller.
        PreconditionFailed: it is no longer the version that the caller has seen.
    """
    context.require(EDIT)
    own = await take_authority(context, EDIT)
    role = await _own_role(context, name)
    if version is not None and version != role.version:
        raise PreconditionFailed
    before = frozenset(role.permissions)
    after = before if patch.permissions is UNSET else _known(context, patch.permissions)
    second_factor = role.require_second_factor if patch.require_second_factor is UNSET else patch.require_second_factor
    description = role.description if patch.description is UNSET else patch.description
    if (description, after, second_factor) == (role.description, before, role.require_second_factor):
        return role
    holders = []
    if (after, second_factor) != (before, role.require_second_factor):
        holders = await list_holders(context, name)
    standings = await load_standings(context, holders)
    known = context.runtime.permissions.keys()
    rules.ensure_may_define(own, before & known, after & known, list(standings.values()))
    if not await context.db.execute(
        _CHANGE,
        workspace=context.workspace.workspace_id,
        role=name,
        version_seen=role.version,
        new_description=description,
        new_permissions=sorted(after),
        second_factor=second_factor,
    ):
        raise PreconditionFailed
    await rights_changed(context, holders)
    return await queries.load_role(context, name)


async def delete_role(context: Context, name: str) -> None:
    """Remove a role that nobody has. It is refused otherwise: who loses what should be said for each of them.

    Raises:
        NotFound: there is no such role.
        BuiltInRole: it is no role of the workspace's own.
        AboveOwnRights: it has a permission that the caller has not.
        RoleInUse: somebody has it.
    """
    context.require(EDIT)
    own = await take_authority(context, EDIT)
    role = await _own_role(context, name)
    rules.ensure_may_define(own, frozenset(role.permissions) & context.runtime.permissions.keys(), frozenset())
    holders = await list_holders(context, name)
    if holders:
        raise RoleInUse(members=len(holders))
    where = {"workspace": context.workspace.workspace_id, "role": name}
    await context.db.execute(_FORGET_EXPIRED, **where)
    await context.db.execute(_DELETE, **where)


async def _own_role(context: Context, name: str) -> Role:
    role = await queries.load_role(context, name)
    if role.built_in:
        raise BuiltInRole
    return role


def _known(context: Context, permissions: Sequence[str]) -> frozenset[str]:
    unknown = sorted(set(permissions) - context.runtime.permissions.keys())
    if unknown:
        raise UnknownPermission(
            errors=[FieldError(f"there is no permission {name}", pointer="/permissions") for name in unknown]
        )
    return frozenset(permissions)
