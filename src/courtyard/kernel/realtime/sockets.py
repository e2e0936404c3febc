"""The socket events of the kernel: subscribing, unsubscribing, typing."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from courtyard.kernel.context import ReadContext
from courtyard.kernel.events import AheadOfLog, ReplayTooLong, Topic
from courtyard.kernel.realtime.connection import Connection
from courtyard.kernel.realtime.errors import NotSubscribed, TooManySubscriptions, UnknownTopic
from courtyard.kernel.realtime.handlers import SocketInput, on
from courtyard.kernel.realtime.presence import Presence
from courtyard.kernel.schema import Output, TopicName

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]

# The rule of a topic is declared with the topic.
BY_TOPIC = "by topic"


class Subscribe(SocketInput, frozen=True):
    """A wish to hear a topic.

    Attributes:
        topic: its name.
        after: the number of the last event that was seen; 0 for all there are; left out for what comes.
    """

    topic: TopicName
    after: Number | UnsetType = UNSET


class Subscribed(Output, frozen=True):
    """The topic is heard now.

    Attributes:
        number: of the newest event; everything up to it has been sent.
        present: the accounts that are there, for topics that say so.
    """

    number: int
    present: list[UUID]


class Unsubscribe(SocketInput, frozen=True):
    """A wish to hear a topic no longer."""

    topic: TopicName


class Typing(SocketInput, frozen=True):
    """Somebody begins or ends to type."""

    topic: TopicName
    typing: bool


class TypingChange(msgspec.Struct, frozen=True):
    """What the others are told about it."""

    workspace_id: UUID
    topic: str
    account_id: UUID
    typing: bool


def split_topic(name: str) -> tuple[str, UUID | None]:
    """Return the kind of a topic and the id behind the colon.

    Raises:
        UnknownTopic: what stands behind the colon is not an id.
    """
    kind, colon, thing = name.partition(":")
    try:
        return kind, UUID(thing) if colon else None
    except ValueError as error:
        raise UnknownTopic from error


def key_of(context: ReadContext, name: str) -> tuple[UUID, str]:
    """Return workspace and name of a topic, as the server writes it: an id can be spelled in several ways.

    Raises:
        UnknownTopic: what stands behind the colon is not an id.
    """
    kind, thing = split_topic(name)
    return context.workspace.workspace_id, kind if thing is None else f"{kind}:{thing}"


def topic_of(context: ReadContext, name: str) -> tuple[Topic, UUID | None]:
    """Return the declaration of a topic, and the id in its name.

    Raises:
        UnknownTopic: no part declares it.
    """
    kind, thing = split_topic(name)
    for part in context.runtime.parts:
        for topic in part.topics:
            if topic.kind == kind and topic.has_id == (thing is not None):
                return topic, thing
    raise UnknownTopic


@on("subscribe", permission=BY_TOPIC, problems=[UnknownTopic, TooManySubscriptions, ReplayTooLong, AheadOfLog])
async def subscribe(context: ReadContext, connection: Connection, data: Subscribe, presence: Presence) -> Subscribed:
    """Hear a topic: first what was missed since `after`, then what comes."""
    topic, thing = topic_of(context, data.topic)
    await topic.authorise(context, thing)
    key = key_of(context, data.topic)
    if key not in connection.topics and len(connection.topics) >= context.runtime.settings.realtime.max_subscriptions:
        raise TooManySubscriptions
    dispatcher = context.runtime.dispatcher
    dispatcher.unsubscribe(connection, *key)
    connection.topics.add(key)
    present: list[UUID] = []
    is_heard = False
    try:
        number = await dispatcher.subscribe(connection, *key, None if data.after is UNSET else data.after)
        if topic.presence:
            present = await presence.enter(*key, context.account_id, connection.id)
        is_heard = not connection.closed
    finally:
        if not is_heard:
            # It failed, or the connection has ended meanwhile, and its end could not yet undo this.
            connection.topics.discard(key)
            dispatcher.unsubscribe(connection, *key)
            presence.lose(*key, context.account_id, connection.id)
    return Subscribed(number, present)


@on("unsubscribe", permission=BY_TOPIC, problems=[UnknownTopic])
async def unsubscribe(context: ReadContext, connection: Connection, data: Unsubscribe, presence: Presence) -> None:
    """Hear a topic no longer."""
    key = key_of(context, data.topic)
    if key in connection.topics:
        connection.topics.discard(key)
        context.runtime.dispatcher.unsubscribe(connection, *key)
        await presence.leave(*key, context.account_id, connection.id)


@on("typing", permission=BY_TOPIC, problems=[UnknownTopic, NotSubscribed])
async def typing(context: ReadContext, connection: Connection, data: Typing) -> None:
    """Tell the others on a topic that one is typing, or no longer is."""
    topic, _ = topic_of(context, data.topic)
    key = key_of(context, data.topic)
    if not topic.presence or key not in connection.topics:
        raise NotSubscribed
    change = TypingChange(*key, context.account_id, data.typing)
    context.runtime.dispatcher.tell(*key, "typing", msgspec.json.encode(change), skip=connection.id)


SOCKETS: tuple[Any, ...] = (subscribe, unsubscribe, typing)
