"""Old state + events = new state: what a client knows after it has heard of a change is what it would read anew."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import cache
from typing import Any

import jsonschema_rs
import msgspec

from courtyard.kernel.application import Application
from courtyard.kernel.events import Event
from courtyard.site import asyncapi_document
from tests.factories import Factory, Person
from tests.services import PARTS
from tests.sockets import Json

# Changes a state by the data of an event.
Apply = Callable[[Json, Json], None]


@contextlib.asynccontextmanager
async def told(
    make: Factory,
    person: Person,
    workspace: str,
    topic: str,
    read: Callable[[], Awaitable[Json]],
    apply: Mapping[type[Event], Apply],
) -> AsyncIterator[list[Json]]:
    """Check that whoever hears of what happens in the block knows everything that changes by it.

    Each event must fit its type and the AsyncAPI document.

    Args:
        make: the server.
        person: who listens.
        workspace: where, by its slug.
        topic: what to listen to.
        read: reads the state over HTTP, as that person.
        apply: what a client does with each event; an event without an entry must not happen.

    Yields:
        The events, when the block has ended.
    """
    by_name = {event.name: (event, change) for event, change in apply.items()}
    before = await make.socket(person)
    number = (await before.ok("subscribe", workspace=workspace, topic=topic))["number"]
    state = await read()
    heard: list[Json] = []
    yield heard
    after = await make.socket(person)
    newest = (await after.ok("subscribe", workspace=workspace, topic=topic, after=number))["number"]
    heard += await after.wait_for("event", newest - number)
    # Live and later is the same.
    assert await before.wait_for("event", newest - number) == heard
    for expected, event in enumerate(heard, number + 1):
        assert event["number"] == expected
        fits_document(event)
        kind, change = by_name[event["name"]]
        data = msgspec.to_builtins(msgspec.convert(event["data"], kind))
        # Nothing is told that the type does not know.
        assert data == event["data"]
        change(state, data)
    assert state == await read()
    for socket in (before, after):
        await socket.close()


def fits_document(event: Json) -> None:
    """Compare an event with what the AsyncAPI document says of it."""
    _validator(event["name"]).validate(event)


@cache
def _validator(name: str) -> jsonschema_rs.Draft202012Validator:
    document: dict[str, Any] = asyncapi_document(PARTS)
    payload = document["components"]["messages"][name]["payload"]
    whole = {**payload, "components": {"schemas": document["components"]["schemas"]}}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def declared(part: Application) -> set[type[Event]]:
    """Return the events that a part may record."""
    return set(part.events)
