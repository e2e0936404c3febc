"""What a part of the house declares about itself: a module of the kernel and an application in the same way.

An application is found through the entry-point group `courtyard.applications` and is data: importing it opens no
file, connects nowhere and registers nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler
    from sqlalchemy.orm import DeclarativeBase

    from courtyard.kernel.events import Event, Topic
    from courtyard.kernel.realtime import SocketHandler

ENTRY_POINTS = "courtyard.applications"


@dataclass(frozen=True, kw_only=True)
class Role:
    """A named set of permissions.

    Attributes:
        description: whom it is for, in a sentence.
        permissions: the names of what it may do.
        assignable: whether it is given to a member. The others come with a relation: everybody who is signed in,
            or the owner of a thing.
    """

    description: str
    permissions: frozenset[str]
    assignable: bool = True


@dataclass(frozen=True, kw_only=True)
class Application:
    """The declaration of one application, or of one module of the kernel.

    Attributes:
        name: short name; names of its permissions, events, topics and tables begin with it.
        description: what it is for, in a sentence.
        models: its tables, all of one side.
        side: the base of its models: `main` or `workspace`.
        migrations: the folder of its Alembic revisions, or None without tables.
        permissions: name → description.
        roles: name → role. A role of another part may be named to give it permissions of this one.
        routes: HTTP handlers. Paths of an application are below its workspace and name.
        sockets: handlers of socket events.
        topics: what can be subscribed to.
        events: what is recorded on the topics.
        commands: a Typer application, mounted as `courtyard <name>`.
    """

    name: str
    description: str
    models: Sequence["type[DeclarativeBase]"] = ()
    side: Literal["main", "workspace"] = "workspace"
    migrations: Path | None = None
    permissions: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    routes: Sequence["HTTPRouteHandler"] = ()
    sockets: Sequence["SocketHandler[Any, Any]"] = ()
    topics: Sequence["Topic"] = ()
    events: Sequence["type[Event]"] = ()
    commands: Any = None


class UnknownApplication(Exception):
    """The configuration names an application that is not installed."""


def installed(names: Sequence[str]) -> list[Application]:
    """Return the installed applications of these names, in this order.

    Raises:
        UnknownApplication: one is not installed; the message lists those that are.
    """
    found = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    missing = [name for name in names if name not in found]
    if missing:
        raise UnknownApplication(
            f"not installed: {', '.join(missing)}; installed: {', '.join(sorted(found)) or 'none'}"
        )
    return [found[name].load() for name in names]
