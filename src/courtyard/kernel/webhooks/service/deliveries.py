"""From an event to the receivers: deliveries, their attempts, and what follows from these."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Integer, String, Uuid, bindparam, case, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_there

from courtyard.kernel.context import Context
from courtyard.kernel.database import WORKSPACE, Json, Prepared, UtcDateTime
from courtyard.kernel.errors import NotFound
from courtyard.kernel.events import Envelope, EventRow
from courtyard.kernel.ids import new_id
from courtyard.kernel.tasks import Retry, enqueue, task
from courtyard.kernel.telemetry import WEBHOOKS, continue_from
from courtyard.kernel.webhooks import queries, rules
from courtyard.kernel.webhooks.models import (
    WebhookAttemptRow,
    WebhookDeliveryRow,
    WebhookEndpointRow,
    WebhookPendingRow,
)
from courtyard.kernel.webhooks.permissions import EDIT
from courtyard.kernel.webhooks.schemas import Receiver, Waiting, WebhookDelivery
from courtyard.kernel.webhooks.service.sending import Outcome, send

LOT = 100
SECRET_COLUMN = "webhook_endpoint.secret"  # noqa: S105 - the name of a column


class Noted(Envelope, frozen=True):
    """An event of which nobody has thought yet whom to tell, with the trace that it belongs to."""

    traceparent: str | None


_ID = bindparam("id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)
_pending = (
    select(WebhookPendingRow.topic, WebhookPendingRow.number)
    .where(WebhookPendingRow.workspace_id == WORKSPACE)
    .order_by(WebhookPendingRow.topic, WebhookPendingRow.number)
    .limit(_LIMIT)
    .with_for_update(skip_locked=True)
)
_TAKE = Prepared(
    delete(WebhookPendingRow)
    .where(
        WebhookPendingRow.workspace_id == WORKSPACE,
        tuple_(WebhookPendingRow.topic, WebhookPendingRow.number).in_(_pending),
    )
    .returning(WebhookPendingRow.topic, WebhookPendingRow.number),
    tuple,
)
_EVENT = Prepared(
    select(*(getattr(EventRow, name) for name in Noted.__struct_fields__)).where(
        EventRow.workspace_id == WORKSPACE,
        EventRow.topic == bindparam("topic", type_=String(), required=True),
        EventRow.number == bindparam("number", type_=BigInteger(), required=True),
    ),
    Noted,
)
_BEGIN = Prepared(
    insert_unless_there(WebhookDeliveryRow)
    .values(
        workspace_id=WORKSPACE,
        id=_ID,
        endpoint_id=bindparam("endpoint_id", type_=Uuid(), required=True),
        event_id=bindparam("event_id", type_=Uuid(), required=True),
        event_name=bindparam("event_name", type_=String(), required=True),
        body=bindparam("body", type_=String(), required=True),
        state="waiting",
        attempts=0,
        tries=0,
        created_at=_NOW,
    )
    .on_conflict_do_nothing()
)
_ATTEMPT = Prepared(
    insert_unless_there(WebhookAttemptRow).values(
        workspace_id=WORKSPACE,
        delivery_id=bindparam("delivery_id", type_=Uuid(), required=True),
        number=bindparam("number", type_=Integer(), required=True),
        url=bindparam("url", type_=String(), required=True),
        request_headers=bindparam("request_headers", type_=Json(), required=True),
        status=bindparam("status", type_=Integer(), required=True),
        response_headers=bindparam("response_headers", type_=Json(), required=True),
        response_body=bindparam("response_body", type_=String(), required=True),
        error=bindparam("error", type_=String(), required=True),
        milliseconds=bindparam("milliseconds", type_=Integer(), required=True),
        created_at=_NOW,
    )
)
_THIS = (WebhookDeliveryRow.workspace_id == WORKSPACE, WebhookDeliveryRow.id == _ID)
_SETTLE = Prepared(
    update(WebhookDeliveryRow)
    .where(*_THIS)
    .values(
        state=bindparam("new_state", type_=String(), required=True),
        settled_at=bindparam("settled", type_=UtcDateTime(), required=True),
        attempts=WebhookDeliveryRow.attempts + 1,
        tries=WebhookDeliveryRow.tries + 1,
    )
)
_REOPEN = Prepared(update(WebhookDeliveryRow).where(*_THIS).values(state="waiting", settled_at=None, tries=0))
_ENDPOINT = (WebhookEndpointRow.workspace_id == WORKSPACE, WebhookEndpointRow.id == _ID)
_PRAISE = Prepared(
    update(WebhookEndpointRow).where(*_ENDPOINT, WebhookEndpointRow.failures > 0).values(failures=0, failing_since=None)
)
_BLAME = Prepared(
    update(WebhookEndpointRow)
    .where(*_ENDPOINT)
    .values(
        failures=WebhookEndpointRow.failures + 1,
        failing_since=case((WebhookEndpointRow.failures == 0, _NOW), else_=WebhookEndpointRow.failing_since),
    )
)
_PAUSE = Prepared(
    update(WebhookEndpointRow)
    .where(*_ENDPOINT, WebhookEndpointRow.state == "active")
    .values(
        state="paused",
        reason=bindparam("reason", type_=String(), required=True),
        version=WebhookEndpointRow.version + 1,
    )
)
_OLD = WebhookDeliveryRow.settled_at < bindparam("before", type_=UtcDateTime(), required=True)
PRUNE = Prepared(
    delete(WebhookDeliveryRow)
    .where(
        _OLD,
        tuple_(WebhookDeliveryRow.workspace_id, WebhookDeliveryRow.id).in_(
            select(WebhookDeliveryRow.workspace_id, WebhookDeliveryRow.id).where(_OLD).limit(_LIMIT)
        ),
    )
    .returning(WebhookDeliveryRow.id),
    UUID,
    across_workspaces=True,
)


class Due(msgspec.Struct, frozen=True):
    """A delivery to be tried, if nobody has tried it since."""

    delivery_id: UUID
    attempts: int


async def fan_out(context: Context, limit: int = LOT) -> int:
    """Make deliveries of events that nobody has thought of yet, at most `limit`; return of how many."""
    taken = await context.db.all(_TAKE, limit=limit)
    matchers = await queries.matchers(context) if taken else ()
    # What was told on several topics is sent once.
    for topic, number in sorted(taken):
        event = await context.db.first(_EVENT, topic=topic, number=number)
        if event is None:
            continue
        told = [
            matcher.id
            for matcher in matchers
            if event.created_at >= matcher.created_at and rules.is_told(matcher.events, event.name)
        ]
        if told:
            # The tasks go on with the trace of the change, in whichever process they run.
            with continue_from(event.traceparent, "webhook.begin"):
                for endpoint_id in told:
                    await begin(context, endpoint_id, event.id, event.name, _body(event))
    return len(taken)


async def begin(context: Context, endpoint_id: UUID, event_id: UUID, event_name: str, body: rules.Body) -> UUID | None:
    """Have an event told to an endpoint; None where that has begun before."""
    delivery_id = new_id()
    begun = await context.db.execute(
        _BEGIN,
        id=delivery_id,
        endpoint_id=endpoint_id,
        event_id=event_id,
        event_name=event_name,
        body=msgspec.json.encode(body).decode(),
        now=context.now,
    )
    if not begun:
        return None
    await _enqueue(context, delivery_id, endpoint_id, 0)
    return delivery_id


async def try_again(context: Context, waiting: Waiting) -> None:
    """Have a delivery tried at once, with all its tries before it."""
    await context.db.execute(_REOPEN, id=waiting.id)
    await _enqueue(context, waiting.id, waiting.endpoint_id, waiting.attempts)


async def replay(context: Context, delivery_id: UUID) -> WebhookDelivery:
    """Have a delivery tried once more, whatever became of it.

    Raises:
        NotFound: there is none of this id.
    """
    context.require(EDIT)
    waiting = await queries.find_waiting(context, delivery_id, lock=True)
    if waiting is None:
        raise NotFound
    await try_again(context, waiting)
    return await queries.load_delivery(context, delivery_id)


# It never fails by what a receiver does: that is kept, and another one is asked for.
@task(name="webhooks.deliver", queue="webhooks", retry=Retry(attempts=10), time_limit_seconds=120, concurrency=4)
async def deliver(context: Context, payload: Due) -> None:
    """Try a delivery once."""
    # Nothing is held while a receiver takes its time.
    outside = context.outside()
    waiting = await queries.find_waiting(outside, payload.delivery_id)
    if waiting is None or waiting.state != "waiting" or waiting.attempts != payload.attempts:
        return
    receiver = await queries.find_receiver(outside, waiting.endpoint_id)
    if receiver is None or receiver.state == "paused":
        return
    keys = _keys_of(context, receiver)
    outcome = await send(
        context.runtime.settings, receiver.url, keys, waiting.id, context.runtime.clock.now(), waiting.body
    )
    receiver = await queries.find_receiver(context, waiting.endpoint_id, lock=True)
    now = await queries.find_waiting(context, waiting.id, lock=True)
    if receiver is None or now is None or now.attempts != payload.attempts:
        return
    await _keep(context, now, receiver, outcome)


async def _keep(context: Context, waiting: Waiting, receiver: Receiver, outcome: Outcome) -> None:
    moment = context.runtime.clock.now()
    await context.db.execute(
        _ATTEMPT,
        delivery_id=waiting.id,
        number=waiting.attempts + 1,
        now=moment,
        **msgspec.structs.asdict(outcome),
    )
    pause = None if rules.is_success(outcome.status) else rules.pause_after(waiting.tries + 1)
    state = "delivered" if rules.is_success(outcome.status) else "failed" if pause is None else "waiting"
    WEBHOOKS.labels("delivered" if state == "delivered" else "given_up" if state == "failed" else "postponed").inc()
    settled = None if state == "waiting" else moment
    await context.db.execute(_SETTLE, id=waiting.id, new_state=state, settled=settled)
    if state == "delivered":
        await context.db.execute(_PRAISE, id=receiver.id)
        return
    if await _pause_if_hopeless(context, receiver, outcome):
        return
    if pause is not None:
        await _enqueue(context, waiting.id, receiver.id, waiting.attempts + 1, pause)


async def _pause_if_hopeless(context: Context, receiver: Receiver, outcome: Outcome) -> bool:
    """Pause an endpoint that is gone or fails all the time; return whether it was."""
    await context.db.execute(_BLAME, id=receiver.id, now=context.now)
    most = context.runtime.settings.webhooks.pause_after_failures
    if outcome.status == rules.GONE:
        reason = "the receiver says that it is gone (410)"
    elif receiver.failures + 1 >= most:
        reason = f"{most} attempts have failed one after the other"
    else:
        return False
    return bool(await context.db.execute(_PAUSE, id=receiver.id, reason=reason))


def _keys_of(context: Context, receiver: Receiver) -> list[str]:
    sealed = [receiver.secret]
    if receiver.previous_secret is not None and receiver.previous_until is not None:
        sealed += [receiver.previous_secret] if context.now < receiver.previous_until else []
    return [context.runtime.keys.decrypt(each, SECRET_COLUMN, receiver.id).decode() for each in sealed]


async def _enqueue(
    context: Context, delivery_id: UUID, endpoint_id: UUID, attempts: int, delay: timedelta | None = None
) -> None:
    due = Due(delivery_id, attempts)
    await enqueue(context, deliver, due, delay=delay, concurrency_key=str(endpoint_id))


def _body(event: Envelope) -> rules.Body:
    values: dict[str, Any] = {
        name: getattr(event, name) for name in ("workspace_id", "topic", "number", "id", "actor_id", "data")
    }
    return rules.Body(type=event.name, timestamp=event.created_at, **values)
