"""The keys of service accounts."""

from datetime import timedelta
from uuid import UUID

from courtyard.kernel.accounts import ApiKey, IssuedApiKey, NewApiKey, api_keys, require_recent_proof
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.workspaces.queries.services import get_service
from courtyard.kernel.workspaces.service.services import hold_service


async def issue_key(context: Context, service_id: UUID, new: NewApiKey) -> IssuedApiKey:
    """Draw a key for a service account.

    Raises:
        NotFound: there is no such service here.
        AboveOwnRights: it has permissions that the caller has not: the key would be a way to them.
        StepUpNeeded: the last proof of the caller is too old.
        UnknownPermission: a scope is no permission.
        TooManyCredentials: there is no room for another one.
    """
    require_recent_proof(context)
    service = await hold_service(context, service_id)
    expires_at = None if new.expires_in_days is None else context.now + timedelta(days=new.expires_in_days)
    return await api_keys.issue(context, service.id, new.name, new.scopes, expires_at)


async def list_keys(context: ReadContext, service_id: UUID) -> list[ApiKey]:
    """Return the keys of a service account, the newest first.

    Raises:
        NotFound: there is no such service here.
    """
    service = await get_service(context, service_id)
    return await api_keys.list_of(context, service.id)


async def revoke_key(context: Context, service_id: UUID, key_id: UUID) -> None:
    """End a key of a service account.

    Raises:
        NotFound: there is no such service here, or it has no such key.
    """
    service = await get_service(context, service_id)
    await api_keys.revoke(context, service.id, key_id)
