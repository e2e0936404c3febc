"""The realtime layer: Socket.IO connections, subscriptions to the event log, presence, typing.

Stands on the context and the event log. Knows no application: what can be asked and listened to is declared.
"""

from courtyard.kernel.application import Application
from courtyard.kernel.realtime.errors import EventTimeout, InternalSocketError
from courtyard.kernel.realtime.handlers import SocketHandler, SocketInput, on
from courtyard.kernel.realtime.presence import PresenceChange
from courtyard.kernel.realtime.server import PATH, Realtime
from courtyard.kernel.realtime.sockets import SOCKETS, TypingChange

__all__ = [
    "PATH",
    "EventTimeout",
    "InternalSocketError",
    "PresenceChange",
    "Realtime",
    "SocketHandler",
    "SocketInput",
    "TypingChange",
    "on",
    "realtime",
]

realtime = Application(
    name="realtime",
    description="Socket.IO connections, subscriptions, presence and typing.",
    sockets=SOCKETS,
)
