"""The event log: what happened, numbered without gaps within each topic, written with the change itself.

Stands on the database. Knows neither sockets nor webhooks: whoever reacts subscribes at the dispatcher.
"""

from pathlib import Path

from courtyard.kernel.application import Application
from courtyard.kernel.events.background import Background
from courtyard.kernel.events.bus import Bus, LocalBus, RedisBus, Signal
from courtyard.kernel.events.dispatcher import Dispatcher, Frame, Subscriber
from courtyard.kernel.events.errors import AheadOfLog, ReplayTooLong
from courtyard.kernel.events.log import append, appending, newest, newest_number
from courtyard.kernel.events.models import EventRow, TopicRow
from courtyard.kernel.events.schemas import Envelope, Event, Topic

__all__ = [
    "AheadOfLog",
    "Background",
    "Bus",
    "Dispatcher",
    "Envelope",
    "Event",
    "EventRow",
    "Frame",
    "LocalBus",
    "RedisBus",
    "ReplayTooLong",
    "Signal",
    "Subscriber",
    "Topic",
    "TopicRow",
    "append",
    "appending",
    "events",
    "newest",
    "newest_number",
]

events = Application(
    name="events",
    description="The event log.",
    models=(TopicRow, EventRow),
    migrations=Path(__file__).parent / "migrations",
)
