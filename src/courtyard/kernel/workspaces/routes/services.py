"""HTTP: service accounts."""

from uuid import UUID

from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.http import delete, get, patch, post
from courtyard.kernel.quotas import QuotaExceeded
from courtyard.kernel.workspaces.errors import (
    AboveOwnRights,
    RoleNotForAccount,
    TooManyGrants,
    TooManyServices,
    UnknownRole,
)
from courtyard.kernel.workspaces.queries import services as queries
from courtyard.kernel.workspaces.schemas.services import NewService, Service, ServicePatch
from courtyard.kernel.workspaces.service import services as service

SERVICES = "/workspaces/{workspace:str}/services"
SERVICE = SERVICES + "/{service_id:uuid}"
EDIT = "workspaces.service.edit"


@post(
    SERVICES,
    permission=EDIT,
    problems=[UnknownRole, AboveOwnRights, RoleNotForAccount, TooManyGrants, TooManyServices, QuotaExceeded],
)
async def make_service(context: Context, data: NewService) -> Service:
    """Make a service account: a program that belongs to the workspace and acts with keys."""
    return await service.make_service(context, data)


@get(SERVICES, permission=EDIT)
async def list_services(
    context: ReadContext, limit: Limit = DEFAULT_LIMIT, cursor: Cursor | None = None
) -> Page[Service]:
    """List the service accounts of a workspace, oldest first."""
    return await queries.list_services(context, limit, cursor)


@get(SERVICE, permission=EDIT)
async def get_service(context: ReadContext, service_id: UUID) -> Service:
    """See a service account."""
    return await queries.get_service(context, service_id)


@patch(
    SERVICE, permission=EDIT, problems=[UnknownRole, AboveOwnRights, RoleNotForAccount, TooManyGrants, QuotaExceeded]
)
async def change_service(context: Context, service_id: UUID, data: ServicePatch, version: int | None) -> Service:
    """Change name, description or roles of a service account."""
    return await service.change_service(context, service_id, data, version)


@delete(SERVICE, permission=EDIT, problems=[AboveOwnRights])
async def remove_service(context: Context, service_id: UUID) -> None:
    """Remove a service account. Its keys are refused at once."""
    await service.remove_service(context, service_id)


ROUTES = (make_service, list_services, get_service, change_service, remove_service)
