"""Support chat: visitors open conversations, staff claim and answer them, both see each other's words at once.

Stands on the kernel alone.
"""

from pathlib import Path

from courtyard.applications.chat.events import EVENTS
from courtyard.applications.chat.models import (
    BookmarkRow,
    ConversationRow,
    MessageRow,
    NoteRow,
    ParticipantRow,
    ProfileRow,
    SeenRow,
)
from courtyard.applications.chat.permissions import CONVERSATION, PERMISSIONS, ROLES
from courtyard.applications.chat.queries.conversations import find_conversation
from courtyard.applications.chat.routes import ROUTES
from courtyard.applications.chat.schemas import ChatSettings
from courtyard.applications.chat.sockets import SOCKETS, TOPICS
from courtyard.kernel.application import Application, ScopeKind

__all__ = ["application"]

application = Application(
    name="chat",
    description="Visitors talk with volunteers and staff, live.",
    models=(ConversationRow, ParticipantRow, MessageRow, NoteRow, SeenRow, BookmarkRow, ProfileRow),
    migrations=Path(__file__).parent / "migrations",
    permissions=PERMISSIONS,
    roles=ROLES,
    scopes=(ScopeKind(name=CONVERSATION, description="One conversation.", find=find_conversation),),
    routes=ROUTES,
    sockets=SOCKETS,
    topics=TOPICS,
    events=EVENTS,
    workspace_settings=ChatSettings,
)
