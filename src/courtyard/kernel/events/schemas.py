"""What an event is, on its way from a service to a client."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import msgspec


class Event(msgspec.Struct, frozen=True):
    """Base of the typed events. A subclass sets `name` (dotted, a past participle) and has the data as fields."""

    name: ClassVar[str]


class Envelope(msgspec.Struct, frozen=True):
    """An event as it is stored and sent.

    Attributes:
        workspace_id: the tenant.
        topic: where it was recorded.
        number: 1, 2, 3… without gap within the topic.
        id: identifies the event everywhere: on each topic that it is told on.
        name: says what `data` is.
        actor_id: the account that caused it, null for the system.
        data: the fields of the event, as JSON.
        created_at: when it was recorded.
    """

    workspace_id: UUID
    topic: str
    number: int
    id: UUID
    name: str
    actor_id: UUID | None
    data: msgspec.Raw
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A kind of topic that can be subscribed to.

    Attributes:
        kind: `chat.queue`, or `chat.conversation` for topics such as `chat.conversation:<id>`.
        description: what is told there, in a sentence.
        permission: the rule, by its name in the table of permissions.
        authorise: raises a `Problem` unless the caller of the context may listen; is given the id behind the
            colon, or None.
        has_id: whether the name of a topic carries an id.
        presence: whether listeners are told who else is there, and may say that they type.
    """

    kind: str
    description: str
    permission: str
    authorise: Callable[[Any, UUID | None], Awaitable[None]]
    has_id: bool = False
    presence: bool = False
