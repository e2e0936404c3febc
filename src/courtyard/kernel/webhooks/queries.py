"""Every read of webhooks."""

import inspect
from collections.abc import Sequence
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, String, Uuid, bindparam, func, select

from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import WORKSPACE, Database, Page, Prepared, page, sort_key
from courtyard.kernel.errors import NotFound
from courtyard.kernel.webhooks.models import (
    WebhookAttemptRow,
    WebhookDeliveryRow,
    WebhookEndpointRow,
    WebhookPendingRow,
)
from courtyard.kernel.webhooks.permissions import READ
from courtyard.kernel.webhooks.schemas import (
    Matcher,
    Receiver,
    Waiting,
    WebhookAttempt,
    WebhookDelivery,
    WebhookDeliveryDetail,
    WebhookEndpoint,
    WebhookEventName,
)

_ID = bindparam("id", type_=Uuid(), required=True)
_ENDPOINT_ID = bindparam("endpoint_id", type_=Uuid(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)
_BEFORE = bindparam("before", type_=Uuid(), required=True)
_ENDPOINT_HERE = WebhookEndpointRow.workspace_id == WORKSPACE
_DELIVERY_HERE = WebhookDeliveryRow.workspace_id == WORKSPACE
_ENDPOINT = select(*(getattr(WebhookEndpointRow, name) for name in WebhookEndpoint.__struct_fields__))
_DELIVERY = select(*(getattr(WebhookDeliveryRow, name) for name in WebhookDelivery.__struct_fields__))
_ENDPOINTS = Prepared(_ENDPOINT.where(_ENDPOINT_HERE).order_by(WebhookEndpointRow.id), WebhookEndpoint)
_COUNT = Prepared(select(func.count()).where(_ENDPOINT_HERE), int)
_ONE_ENDPOINT = Prepared(_ENDPOINT.where(_ENDPOINT_HERE, WebhookEndpointRow.id == _ID), WebhookEndpoint)
_THE_RECEIVER = select(*(getattr(WebhookEndpointRow, name) for name in Receiver.__struct_fields__)).where(
    _ENDPOINT_HERE, WebhookEndpointRow.id == _ID
)
_RECEIVER = Prepared(_THE_RECEIVER, Receiver)
_LOCK_RECEIVER = Prepared(_THE_RECEIVER.with_for_update(key_share=True), Receiver)
_MATCHERS = Prepared(
    select(*(getattr(WebhookEndpointRow, name) for name in Matcher.__struct_fields__)).where(
        _ENDPOINT_HERE, WebhookEndpointRow.state == "active"
    ),
    Matcher,
)
_NEWEST = {
    (state, more): Prepared(
        _DELIVERY.where(
            _DELIVERY_HERE,
            WebhookDeliveryRow.endpoint_id == _ENDPOINT_ID,
            *([WebhookDeliveryRow.state == bindparam("state", type_=String(), required=True)] if state else []),
            *([WebhookDeliveryRow.id < _BEFORE] if more else []),
        )
        .order_by(WebhookDeliveryRow.id.desc())
        .limit(_LIMIT),
        WebhookDelivery,
    )
    for state in (False, True)
    for more in (False, True)
}
_ONE_DELIVERY = Prepared(_DELIVERY.where(_DELIVERY_HERE, WebhookDeliveryRow.id == _ID), WebhookDelivery)
_BODY = Prepared(select(WebhookDeliveryRow.body).where(_DELIVERY_HERE, WebhookDeliveryRow.id == _ID), str)
_WAITING = select(*(getattr(WebhookDeliveryRow, name) for name in Waiting.__struct_fields__))
_ONE_WAITING = Prepared(_WAITING.where(_DELIVERY_HERE, WebhookDeliveryRow.id == _ID), Waiting)
_LOCK_WAITING = Prepared(
    _WAITING.where(_DELIVERY_HERE, WebhookDeliveryRow.id == _ID).with_for_update(key_share=True), Waiting
)
_ALL_WAITING = Prepared(
    _WAITING.where(
        _DELIVERY_HERE, WebhookDeliveryRow.endpoint_id == _ENDPOINT_ID, WebhookDeliveryRow.state == "waiting"
    ),
    Waiting,
)
_ATTEMPTS = Prepared(
    select(*(getattr(WebhookAttemptRow, name) for name in WebhookAttempt.__struct_fields__))
    .where(WebhookAttemptRow.workspace_id == WORKSPACE, WebhookAttemptRow.delivery_id == _ID)
    .order_by(WebhookAttemptRow.number.desc())
    .limit(50),
    WebhookAttempt,
)
_TENANTS = Prepared(
    select(WebhookPendingRow.workspace_id).distinct().order_by(WebhookPendingRow.workspace_id).limit(_LIMIT),
    UUID,
    across_workspaces=True,
)

_NOTES = Prepared(select(func.count()).select_from(WebhookPendingRow), int, across_workspaces=True)


async def list_endpoints(context: ReadContext) -> list[WebhookEndpoint]:
    """Return the endpoints of the workspace, the oldest first."""
    context.require(READ)
    return await context.db.all(_ENDPOINTS)


async def get_endpoint(context: ReadContext, endpoint_id: UUID) -> WebhookEndpoint:
    """Return an endpoint of the workspace.

    Raises:
        NotFound: it has none of this id.
    """
    context.require(READ)
    return await load_endpoint(context, endpoint_id)


async def load_endpoint(context: ReadContext, endpoint_id: UUID) -> WebhookEndpoint:
    """Return an endpoint, for a caller who may see it.

    Raises:
        NotFound: there is none of this id.
    """
    found = await context.db.first(_ONE_ENDPOINT, id=endpoint_id)
    if found is None:
        raise NotFound
    return found


async def count_endpoints(context: ReadContext) -> int:
    """Return how many endpoints the workspace has."""
    return await context.db.one(_COUNT)


async def find_receiver(context: ReadContext, endpoint_id: UUID, *, lock: bool = False) -> Receiver | None:
    """Return an endpoint with its secrets; locked, and before its deliveries, as who removes it locks them."""
    return await context.db.first(_LOCK_RECEIVER if lock else _RECEIVER, id=endpoint_id)


async def matchers(context: ReadContext) -> Sequence[Matcher]:
    """Return which events the active endpoints of the workspace are told of."""
    return await context.db.all(_MATCHERS)


async def list_deliveries(
    context: ReadContext, endpoint_id: UUID, state: str | None, limit: int, cursor: str | None
) -> Page[WebhookDelivery]:
    """Return the deliveries to an endpoint, newest first.

    Raises:
        NotFound: there is no such endpoint.
    """
    await get_endpoint(context, endpoint_id)
    values = {} if state is None else {"state": state}
    more = {} if cursor is None else {"before": sort_key(cursor, tuple[UUID])[0]}
    statement = _NEWEST[bool(values), bool(more)]
    found = await context.db.all(statement, endpoint_id=endpoint_id, limit=limit + 1, **values, **more)
    return page(found, limit, lambda delivery: (delivery.id,))


async def get_delivery(context: ReadContext, delivery_id: UUID) -> WebhookDeliveryDetail:
    """Return a delivery with its attempts.

    Raises:
        NotFound: there is none of this id.
    """
    context.require(READ)
    delivery = await load_delivery(context, delivery_id)
    body = await context.db.one(_BODY, id=delivery_id)
    return WebhookDeliveryDetail(delivery, msgspec.Raw(body.encode()), await context.db.all(_ATTEMPTS, id=delivery_id))


async def load_delivery(context: ReadContext, delivery_id: UUID) -> WebhookDelivery:
    """Return a delivery, for a caller who may see it.

    Raises:
        NotFound: there is none of this id.
    """
    found = await context.db.first(_ONE_DELIVERY, id=delivery_id)
    if found is None:
        raise NotFound
    return found


async def find_waiting(context: ReadContext, delivery_id: UUID, *, lock: bool = False) -> Waiting | None:
    """Return a delivery with what is sent; locked against others who try it until the commit."""
    return await context.db.first(_LOCK_WAITING if lock else _ONE_WAITING, id=delivery_id)


async def all_waiting(context: ReadContext, endpoint_id: UUID) -> list[Waiting]:
    """Return the deliveries to an endpoint that are neither taken nor given up."""
    return await context.db.all(_ALL_WAITING, endpoint_id=endpoint_id)


async def workspaces_with_pending(database: Database, limit: int) -> list[UUID]:
    """Return workspaces of a database with events that nobody has thought of yet."""
    return await database.fetch(_TENANTS, {"limit": limit})


async def count_notes(database: Database) -> int:
    """Return how many events of a database nobody has thought of yet."""
    (count,) = await database.fetch(_NOTES, {})
    return count


def event_names(context: ReadContext) -> list[WebhookEventName]:
    """Return every event that can be told of."""
    context.require(READ)
    events = {event.name: event for part in context.runtime.parts for event in part.events}
    return [WebhookEventName(name, (inspect.getdoc(events[name]) or "").partition("\n")[0]) for name in sorted(events)]
