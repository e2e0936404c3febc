"""HTTP: endpoints of a workspace, and what became of each delivery."""

from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter

from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.http import delete, get, patch, post
from courtyard.kernel.webhooks import queries
from courtyard.kernel.webhooks.errors import TooManyEndpoints, UrlNotAllowed
from courtyard.kernel.webhooks.permissions import EDIT, READ
from courtyard.kernel.webhooks.schemas import (
    DeliveryState,
    EndpointPatch,
    NewEndpoint,
    SecretOfEndpoint,
    WebhookDelivery,
    WebhookDeliveryDetail,
    WebhookEndpoint,
    WebhookEventName,
)
from courtyard.kernel.webhooks.service import deliveries, endpoints

WEBHOOKS = "/workspaces/{workspace:str}/webhooks"
ENDPOINT = WEBHOOKS + "/endpoints/{endpoint_id:uuid}"
DELIVERY = WEBHOOKS + "/deliveries/{delivery_id:uuid}"
ACCEPTED = 202
# The framework has a use for `state` itself.
State = Annotated[DeliveryState | None, QueryParameter(name="state", description="Only deliveries in this state.")]


@get(f"{WEBHOOKS}/events", permission=READ)
async def list_webhook_events(context: ReadContext) -> list[WebhookEventName]:
    """List the events that an endpoint can be told of."""
    return queries.event_names(context)


@get(f"{WEBHOOKS}/endpoints", permission=READ)
async def list_webhook_endpoints(context: ReadContext) -> list[WebhookEndpoint]:
    """List the endpoints of a workspace."""
    return await queries.list_endpoints(context)


@post(f"{WEBHOOKS}/endpoints", permission=EDIT, problems=[TooManyEndpoints, UrlNotAllowed])
async def create_webhook_endpoint(context: Context, data: NewEndpoint) -> SecretOfEndpoint:
    """Name an address that is told what happens. Its secret is shown this once."""
    return await endpoints.create_endpoint(context, data)


@get(ENDPOINT, permission=READ)
async def get_webhook_endpoint(context: ReadContext, endpoint_id: UUID) -> WebhookEndpoint:
    """See an endpoint."""
    return await queries.get_endpoint(context, endpoint_id)


@patch(ENDPOINT, permission=EDIT, problems=[UrlNotAllowed])
async def change_webhook_endpoint(
    context: Context, endpoint_id: UUID, data: EndpointPatch, version: int | None
) -> WebhookEndpoint:
    """Change an endpoint, pause it, or let it go on."""
    return await endpoints.change_endpoint(context, endpoint_id, data, version)


@delete(ENDPOINT, permission=EDIT)
async def delete_webhook_endpoint(context: Context, endpoint_id: UUID) -> None:
    """Tell an address nothing any more."""
    await endpoints.delete_endpoint(context, endpoint_id)


@post(f"{ENDPOINT}/secret", permission=EDIT, idempotent=False)
async def rotate_webhook_secret(context: Context, endpoint_id: UUID) -> SecretOfEndpoint:
    """Give an endpoint a new secret, which is shown this once. The one before signs too for a day."""
    return await endpoints.rotate_secret(context, endpoint_id)


@post(f"{ENDPOINT}/test", permission=EDIT, status=ACCEPTED, idempotent=False)
async def test_webhook_endpoint(context: Context, endpoint_id: UUID) -> WebhookDelivery:
    """Send an event to an endpoint that is there to try it."""
    return await endpoints.test_endpoint(context, endpoint_id)


@get(f"{ENDPOINT}/deliveries", permission=READ)
async def list_webhook_deliveries(
    context: ReadContext,
    endpoint_id: UUID,
    in_state: State = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor | None = None,
) -> Page[WebhookDelivery]:
    """List what was sent to an endpoint, newest first."""
    return await queries.list_deliveries(context, endpoint_id, in_state, limit, cursor)


@get(DELIVERY, permission=READ)
async def get_webhook_delivery(context: ReadContext, delivery_id: UUID) -> WebhookDeliveryDetail:
    """See what was sent, and what came back at each attempt."""
    return await queries.get_delivery(context, delivery_id)


@post(f"{DELIVERY}/replay", permission=EDIT, status=ACCEPTED, idempotent=False)
async def replay_webhook_delivery(context: Context, delivery_id: UUID) -> WebhookDelivery:
    """Send something once more."""
    return await deliveries.replay(context, delivery_id)


ROUTES = (
    list_webhook_events,
    list_webhook_endpoints,
    create_webhook_endpoint,
    get_webhook_endpoint,
    change_webhook_endpoint,
    delete_webhook_endpoint,
    rotate_webhook_secret,
    test_webhook_endpoint,
    list_webhook_deliveries,
    get_webhook_delivery,
    replay_webhook_delivery,
)
