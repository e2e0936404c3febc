"""What comes in and goes out about webhooks."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from courtyard.kernel.schema import Input, Output

EndpointState: TypeAlias = Literal["active", "paused"]
DeliveryState: TypeAlias = Literal["waiting", "delivered", "failed"]
Url: TypeAlias = Annotated[str, Meta(min_length=8, max_length=2_000, pattern=r"^[!-~]+$(?!\n)")]
Description: TypeAlias = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
Pattern: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=r"^(\*|[a-z_]+(\.[a-z_]+)*(\.\*)?)$(?!\n)",
        description="The name of an event, or the beginning of names before `.*`; `*` for every event.",
        examples=["chat.message.*"],
    ),
]
Patterns: TypeAlias = Annotated[list[Pattern], Meta(min_length=1, max_length=50)]


class NewEndpoint(Input, frozen=True):
    """An address that is to be told what happens.

    Attributes:
        url: where each event is posted to.
        events: which events.
        description: what it is for.
    """

    url: Url
    events: Patterns
    description: Description = ""


class EndpointPatch(Input, frozen=True):
    """Changes of an endpoint. `active` lets a paused one go on, with what was waiting."""

    url: Url | UnsetType = UNSET
    events: Patterns | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    state: EndpointState | UnsetType = UNSET


class WebhookEndpoint(Output, frozen=True):
    """An address that is told what happens.

    Attributes:
        reason: why it is paused, where nobody has paused it.
        failures: attempts that have failed since the last that did not.
        failing_since: since when.
        previous_until: until when the secret before the present one signs too.
    """

    id: UUID
    url: str
    description: str
    events: list[str]
    state: EndpointState
    reason: str | None
    failures: int
    failing_since: datetime | None
    previous_until: datetime | None
    version: int
    created_at: datetime


class SecretOfEndpoint(Output, frozen=True):
    """An endpoint with its secret, which is shown this once."""

    endpoint: WebhookEndpoint
    secret: str


class WebhookDelivery(Output, frozen=True):
    """One event on its way to one endpoint.

    Attributes:
        attempts: how often it was tried.
        settled_at: when it was taken, or given up.
    """

    id: UUID
    endpoint_id: UUID
    event_id: UUID
    event_name: str
    state: DeliveryState
    attempts: int
    created_at: datetime
    settled_at: datetime | None


class WebhookAttempt(Output, frozen=True):
    """One try of a delivery.

    Attributes:
        status: of the answer, null where there was none.
        response_body: its first 4,096 bytes.
        error: what went wrong before there was an answer.
    """

    number: int
    url: str
    request_headers: dict[str, str]
    status: int | None
    response_headers: dict[str, str]
    response_body: str
    error: str | None
    milliseconds: int
    created_at: datetime


class WebhookDeliveryDetail(Output, frozen=True):
    """A delivery with what was sent and what came back, the newest attempt first."""

    delivery: WebhookDelivery
    body: msgspec.Raw
    attempts: list[WebhookAttempt]


class WebhookEventName(Output, frozen=True):
    """An event that can be told of."""

    name: str
    description: str


class Receiver(msgspec.Struct, frozen=True):
    """An endpoint as a delivery needs it."""

    id: UUID
    url: str
    secret: bytes
    previous_secret: bytes | None
    previous_until: datetime | None
    state: EndpointState
    failures: int


class Matcher(msgspec.Struct, frozen=True):
    """Which events an endpoint is told of."""

    id: UUID
    events: list[str]
    created_at: datetime


class Waiting(msgspec.Struct, frozen=True):
    """A delivery that is to be tried."""

    id: UUID
    endpoint_id: UUID
    event_name: str
    body: str
    state: DeliveryState
    attempts: int
    tries: int
