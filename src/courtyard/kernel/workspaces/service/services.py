"""Service accounts: programs with a place in one workspace, and keys instead of a login.

None has more rights than whoever gave them, and none can log in, own the workspace, or belong to another one.
"""

from uuid import UUID

from msgspec import UNSET
from sqlalchemy import BigInteger, String, Uuid, bindparam, delete, update

from courtyard.kernel.accounts import create_service, remove_account, rename_service
from courtyard.kernel.context import Context
from courtyard.kernel.database import Prepared
from courtyard.kernel.errors import PreconditionFailed
from courtyard.kernel.workspaces.errors import RoleNotForAccount, TooManyServices
from courtyard.kernel.workspaces.models import ServiceRow
from courtyard.kernel.workspaces.permissions import OWNER
from courtyard.kernel.workspaces.queries import members
from courtyard.kernel.workspaces.queries import services as queries
from courtyard.kernel.workspaces.schemas.members import MemberPatch
from courtyard.kernel.workspaces.schemas.services import NewService, Service, ServicePatch
from courtyard.kernel.workspaces.service.members import (
    change_member,
    ensure_below,
    join,
    require_assignable,
    take_authority,
)

EDIT = "workspaces.service.edit"

_ID = bindparam("id", type_=Uuid(), required=True)
_CHANGE = Prepared(
    update(ServiceRow)
    .where(ServiceRow.account_id == _ID, ServiceRow.version == bindparam("seen", type_=BigInteger(), required=True))
    .values(description=bindparam("description", type_=String(), required=True), version=ServiceRow.version + 1)
)
_DELETE = Prepared(delete(ServiceRow).where(ServiceRow.account_id == _ID))


async def make_service(context: Context, new: NewService) -> Service:
    """Make a service account with no more rights than the caller has.

    Raises:
        UnknownRole: a role does not exist.
        AboveOwnRights: a role has permissions that the caller has not.
        RoleNotForAccount: only people own a workspace.
        TooManyServices: the workspace has as many as it can have.
    """
    context.require(EDIT)
    _require_no_owner(new.roles)
    await take_authority(context, EDIT)
    await require_assignable(context, new.roles)
    if await queries.count_services(context) >= context.runtime.settings.workspaces.services:
        raise TooManyServices
    workspace_id = context.workspace.workspace_id
    account_id = await create_service(context, new.name, workspace_id)
    await context.db.insert(
        ServiceRow,
        account_id=account_id,
        workspace_id=workspace_id,
        description=new.description,
        maker_id=context.account_id,
        version=1,
        created_at=context.now,
    )
    await join(context, account_id, new.roles, granted_by=context.account_id)
    return await queries.get_service(context, account_id)


async def change_service(context: Context, service_id: UUID, patch: ServicePatch, version: int | None) -> Service:
    """Change name, description or roles of a service account.

    Raises:
        NotFound: there is no such service here.
        AboveOwnRights: its old or new roles have permissions that the caller has not.
        RoleNotForAccount: only people own a workspace.
        PreconditionFailed: it is no longer the version that the caller has seen.
    """
    context.require(EDIT)
    await take_authority(context, EDIT)
    service = await queries.get_service(context, service_id)
    if version is not None and version != service.version:
        raise PreconditionFailed
    if patch.roles is not UNSET:
        _require_no_owner(patch.roles)
        if await members.find_member(context, service_id) is None:
            # Somebody has removed it from among the members.
            await require_assignable(context, patch.roles)
            await join(context, service_id, patch.roles, granted_by=context.account_id)
        else:
            await change_member(context, service_id, MemberPatch(roles=patch.roles), None)
    if patch.name is not UNSET:
        await rename_service(context, service_id, patch.name)
    description = service.description if patch.description is UNSET else patch.description
    if patch != ServicePatch():
        await context.db.execute(_CHANGE, id=service_id, seen=service.version, description=description)
    return await queries.get_service(context, service_id)


async def remove_service(context: Context, service_id: UUID) -> None:
    """Remove a service account; its keys are refused at once.

    Raises:
        NotFound: there is no such service here.
        AboveOwnRights: it has permissions that the caller has not.
    """
    service = await hold_service(context, service_id)
    await context.db.execute(_DELETE, id=service.id)
    await remove_account(context, service.id)


async def hold_service(context: Context, service_id: UUID) -> Service:
    """Hold everybody else off the members, and return a service account that has nothing which the caller has not.

    Raises:
        NotFound: there is no such service here.
        AboveOwnRights: it has permissions that the caller has not.
    """
    context.require(EDIT)
    own = await take_authority(context, EDIT)
    service = await queries.get_service(context, service_id)
    await ensure_below(context, own, service.id)
    return service


def _require_no_owner(roles: list[str]) -> None:
    if OWNER in roles:
        raise RoleNotForAccount("Only people own a workspace.")
