"""HTTP: the keys of service accounts."""

from uuid import UUID

from courtyard.kernel.accounts import (
    ApiKey,
    IssuedApiKey,
    NewApiKey,
    StepUpNeeded,
    TooManyCredentials,
    UnknownPermission,
)
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.http import delete, get, post
from courtyard.kernel.workspaces.errors import AboveOwnRights
from courtyard.kernel.workspaces.service import service_keys as service

SERVICE = "/workspaces/{workspace:str}/services/{service_id:uuid}"
EDIT = "workspaces.service.edit"


@post(
    f"{SERVICE}/keys",
    permission=EDIT,
    # The answer holds a secret, which is kept under no idempotency key.
    idempotent=False,
    problems=[AboveOwnRights, StepUpNeeded, TooManyCredentials, UnknownPermission],
)
async def issue_service_key(context: Context, service_id: UUID, data: NewApiKey) -> IssuedApiKey:
    """Draw a key for a service account. It is shown this once."""
    return await service.issue_key(context, service_id, data)


@get(f"{SERVICE}/keys", permission=EDIT)
async def list_service_keys(context: ReadContext, service_id: UUID) -> list[ApiKey]:
    """List the keys of a service account, the newest first."""
    return await service.list_keys(context, service_id)


@delete(SERVICE + "/keys/{key_id:uuid}", permission=EDIT)
async def revoke_service_key(context: Context, service_id: UUID, key_id: UUID) -> None:
    """Revoke a key of a service account."""
    await service.revoke_key(context, service_id, key_id)


ROUTES = (issue_service_key, list_service_keys, revoke_service_key)
