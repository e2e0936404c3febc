"""Endpoints: naming them, changing them, and their secrets."""

from datetime import timedelta
from uuid import UUID

import msgspec
from msgspec import UNSET
from sqlalchemy import BigInteger, Uuid, bindparam, delete, update

from courtyard.kernel.context import Context
from courtyard.kernel.database import WORKSPACE, Prepared
from courtyard.kernel.errors import FieldError, NotFound, PreconditionFailed
from courtyard.kernel.ids import new_id
from courtyard.kernel.webhooks import queries, rules
from courtyard.kernel.webhooks.errors import TooManyEndpoints, UrlNotAllowed
from courtyard.kernel.webhooks.models import WebhookEndpointRow
from courtyard.kernel.webhooks.permissions import EDIT
from courtyard.kernel.webhooks.schemas import (
    EndpointPatch,
    NewEndpoint,
    SecretOfEndpoint,
    WebhookDelivery,
    WebhookEndpoint,
)
from courtyard.kernel.webhooks.service import deliveries

TEST = "webhooks.endpoint.tested"

_ID = bindparam("id", type_=Uuid(), required=True)
_HERE = (WebhookEndpointRow.workspace_id == WORKSPACE, WebhookEndpointRow.id == _ID)
_COUNT_UP = Prepared(
    update(WebhookEndpointRow)
    .where(*_HERE, WebhookEndpointRow.version == bindparam("seen", type_=BigInteger(), required=True))
    .values(version=WebhookEndpointRow.version + 1)
)
_DELETE = Prepared(delete(WebhookEndpointRow).where(*_HERE))


async def create_endpoint(context: Context, new: NewEndpoint) -> SecretOfEndpoint:
    """Name an address that is told from now on what happens.

    Raises:
        UrlNotAllowed: nothing can be sent to the address.
        TooManyEndpoints: there are enough.
    """
    context.require(EDIT)
    _check_url(context, new.url)
    if await queries.count_endpoints(context) >= context.runtime.settings.webhooks.endpoints:
        raise TooManyEndpoints
    endpoint_id, secret = new_id(), rules.new_secret()
    await context.db.insert(
        WebhookEndpointRow,
        id=endpoint_id,
        url=new.url,
        description=new.description,
        events=sorted(set(new.events)),
        secret=_sealed(context, endpoint_id, secret),
        state="active",
        failures=0,
        created_at=context.now,
        version=1,
    )
    return SecretOfEndpoint(await queries.load_endpoint(context, endpoint_id), secret)


async def change_endpoint(
    context: Context, endpoint_id: UUID, patch: EndpointPatch, version: int | None
) -> WebhookEndpoint:
    """Change an endpoint; one that goes on is told what was waiting.

    Raises:
        NotFound: there is none of this id.
        UrlNotAllowed: nothing can be sent to the address.
        PreconditionFailed: it has been changed meanwhile.
    """
    context.require(EDIT)
    endpoint = await queries.load_endpoint(context, endpoint_id)
    if version is not None and version != endpoint.version:
        raise PreconditionFailed
    if patch.url is not UNSET:
        _check_url(context, patch.url)
    changes = {name: value for name, value in msgspec.structs.asdict(patch).items() if value is not UNSET}
    if "events" in changes:
        changes["events"] = sorted(set(changes["events"]))
    if patch.state is not UNSET:
        changes |= {"reason": None, "failures": 0, "failing_since": None}
    if not await context.db.execute(_COUNT_UP, id=endpoint_id, seen=endpoint.version):
        raise PreconditionFailed
    await context.db.update(WebhookEndpointRow, {"workspace_id": context.db.workspace_id, "id": endpoint_id}, **changes)
    if patch.state == "active" and endpoint.state == "paused":
        for waiting in await queries.all_waiting(context, endpoint_id):
            await deliveries.try_again(context, waiting)
    return await queries.load_endpoint(context, endpoint_id)


async def delete_endpoint(context: Context, endpoint_id: UUID) -> None:
    """Tell an address nothing any more. What was sent to it is forgotten.

    Raises:
        NotFound: there is none of this id.
    """
    context.require(EDIT)
    if not await context.db.execute(_DELETE, id=endpoint_id):
        raise NotFound


async def rotate_secret(context: Context, endpoint_id: UUID) -> SecretOfEndpoint:
    """Give an endpoint a new secret. The one before signs too for a while, so that a receiver can change over.

    Raises:
        NotFound: there is no such endpoint.
    """
    context.require(EDIT)
    receiver = await queries.find_receiver(context, endpoint_id)
    if receiver is None:
        raise NotFound
    secret = rules.new_secret()
    overlap = timedelta(hours=context.runtime.settings.webhooks.secret_overlap_hours)
    await context.db.update(
        WebhookEndpointRow,
        {"workspace_id": context.db.workspace_id, "id": endpoint_id},
        secret=_sealed(context, endpoint_id, secret),
        previous_secret=receiver.secret,
        previous_until=context.now + overlap,
    )
    return SecretOfEndpoint(await queries.load_endpoint(context, endpoint_id), secret)


async def test_endpoint(context: Context, endpoint_id: UUID) -> WebhookDelivery:
    """Send an event to an endpoint that is there to try it, whatever it is told of otherwise.

    Raises:
        NotFound: there is no such endpoint.
    """
    context.require(EDIT)
    endpoint = await queries.load_endpoint(context, endpoint_id)
    event_id = new_id()
    body = rules.Body(
        type=TEST,
        timestamp=context.now,
        workspace_id=context.workspace.workspace_id,
        topic="webhooks.test",
        number=0,
        id=event_id,
        actor_id=context.account_id,
        data=msgspec.Raw(msgspec.json.encode({"endpoint_id": endpoint.id})),
    )
    delivery_id = await deliveries.begin(context, endpoint_id, event_id, TEST, body)
    if delivery_id is None:
        raise NotFound
    return await queries.load_delivery(context, delivery_id)


def _check_url(context: Context, url: str) -> None:
    settings = context.runtime.settings
    fault = rules.url_fault(
        url,
        plain=settings.mode == "development" or bool(settings.webhooks.allowed_networks),
        allowed=rules.networks(settings.webhooks.allowed_networks),
    )
    if fault is not None:
        raise UrlNotAllowed(errors=[FieldError(fault, pointer="/url")])


def _sealed(context: Context, endpoint_id: UUID, secret: str) -> bytes:
    return context.runtime.keys.encrypt(secret.encode(), deliveries.SECRET_COLUMN, endpoint_id)
