"""HTTP: API keys."""

from uuid import UUID

from courtyard.kernel.accounts.errors import NotForVisitors, StepUpNeeded, TooManyCredentials, UnknownPermission
from courtyard.kernel.accounts.schemas.api_keys import ApiKey, IssuedApiKey, NewApiKey
from courtyard.kernel.accounts.service import api_keys
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.http import SIGNED_IN, delete, get, post


@post(
    "/me/api-keys",
    permission=SIGNED_IN,
    # The answer holds a secret, which is kept under no idempotency key.
    idempotent=False,
    problems=[NotForVisitors, StepUpNeeded, TooManyCredentials, UnknownPermission],
)
async def create_api_key(context: Context, data: NewApiKey) -> IssuedApiKey:
    """Make a key by which a program acts for oneself. It is shown this once.

    It can never do more than its owner can at that moment, nor more than its scopes say.
    """
    return await api_keys.issue_mine(context, data)


@get("/me/api-keys", permission=SIGNED_IN)
async def list_api_keys(context: ReadContext) -> list[ApiKey]:
    """List one's own API keys, the newest first. Those that were revoked are left out."""
    return await api_keys.list_mine(context)


@delete("/me/api-keys/{key_id:uuid}", permission=SIGNED_IN)
async def revoke_api_key(context: Context, key_id: UUID) -> None:
    """Revoke one of one's own API keys. It is refused, and its sockets are cut, within a second."""
    await api_keys.revoke_mine(context, key_id)


ROUTES = (create_api_key, list_api_keys, revoke_api_key)
