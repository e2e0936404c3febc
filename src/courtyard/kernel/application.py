"""What a part of the house declares about itself: a module of the kernel and an application in the same way.

An application is found through the entry-point group `courtyard.applications` and is data: importing it opens no
file, connects nowhere and registers nothing.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler
    from sqlalchemy.orm import DeclarativeBase

    from courtyard.kernel.context import Context, Owned, ReadContext
    from courtyard.kernel.events import Event, Topic
    from courtyard.kernel.files import FileKind
    from courtyard.kernel.limits import Policy
    from courtyard.kernel.mail import Template
    from courtyard.kernel.quotas import Quota
    from courtyard.kernel.realtime import SocketHandler
    from courtyard.kernel.schema import WorkspaceSection
    from courtyard.kernel.tasks import Schedule, Task

ENTRY_POINTS = "courtyard.applications"


@dataclass(frozen=True, kw_only=True)
class Role:
    """A named set of permissions.

    Attributes:
        description: whom it is for, in a sentence.
        permissions: the names of what it may do.
        assignable: whether it is given to a member. The others come with a relation: everybody who is signed in,
            or the owner of a thing.
        staff: whether those who have it run something, so that a workspace may ask them for a second factor.
    """

    description: str
    permissions: frozenset[str]
    assignable: bool = True
    staff: bool = True


@dataclass(frozen=True, kw_only=True)
class ScopeKind:
    """A kind of thing on which a role can be given: then it counts there, and nowhere else in the workspace.

    The Structs of such things have `scopes()`, which returns this name with their id.

    Attributes:
        name: such as `chat.conversation`.
        description: what it is, in a few words.
        find: returns the thing of an id, None where there is none in the workspace. Asks for no permission.
    """

    name: str
    description: str
    find: "Callable[[ReadContext, UUID], Awaitable[Owned | None]]"


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
        scopes: the kinds of things on which roles can be given.
        routes: HTTP handlers. Paths of an application are below its workspace and name.
        sockets: handlers of socket events.
        topics: what can be subscribed to.
        events: what is recorded on the topics.
        mails: what it may send by mail.
        templates: the folder with the text of its mails, or None without any.
        limits: rate limits that a service counts by itself; those of routes and socket events stand there.
        quotas: how much of something a workspace may have.
        tasks: what it has done in the background.
        schedules: when some of that is done again and again.
        files: the kinds of files that people may upload for it.
        audit_names: what its services note in the audit log, `source:subject:action` → what happened. The names of
            changes of rows need not be declared.
        commands: a Typer application, or a function that returns one, which no server has to load; mounted as
            `courtyard <name>`. In `typer.Context.obj` its commands find a function that takes the name of a command
            and opens a `Context`, committed at the end: `async with context.obj("chat close") as work`.
        workspace_settings: what can be set in each workspace, under the name of the part: a Struct all of whose
            fields have defaults.
        outlives_workspaces: whether its rows stay when their workspace is removed, because it removes them itself.
        forget_account: is told, in the transaction, that an account is deleted for good; a `Problem` refuses it.
    """

    name: str
    description: str
    models: Sequence["type[DeclarativeBase]"] = ()
    side: Literal["main", "workspace"] = "workspace"
    migrations: Path | None = None
    permissions: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)
    scopes: Sequence[ScopeKind] = ()
    routes: Sequence["HTTPRouteHandler"] = ()
    sockets: Sequence["SocketHandler[Any, Any]"] = ()
    topics: Sequence["Topic"] = ()
    events: Sequence["type[Event]"] = ()
    mails: Sequence["Template"] = ()
    templates: Path | None = None
    limits: Sequence["Policy"] = ()
    quotas: Sequence["Quota"] = ()
    tasks: "Sequence[Task[Any]]" = ()
    schedules: "Sequence[Schedule]" = ()
    files: Sequence["FileKind"] = ()
    audit_names: Mapping[str, str] = field(default_factory=dict)
    commands: Any = None
    workspace_settings: "type[WorkspaceSection] | None" = None
    outlives_workspaces: bool = False
    forget_account: "Callable[[Context, UUID], Awaitable[None]] | None" = None


# Begins the names of roles that a workspace has made itself, so that no part can ever declare one of them.
CUSTOM = "custom."


def declared_roles(parts: Sequence[Application]) -> dict[str, Role]:
    """Return every role with the permissions that all parts give it; the first part to name it says what it is.

    Raises:
        ValueError: a role names a permission that no part declares, or has a name that belongs to workspaces.
    """
    known = {name for part in parts for name in part.permissions}
    roles: dict[str, Role] = {}
    for part in parts:
        for name, role in part.roles.items():
            unknown = role.permissions - known
            if unknown:
                raise ValueError(f"{part.name}: the role {name} names unknown permissions: {sorted(unknown)}")
            if name.startswith(CUSTOM):
                raise ValueError(f"{part.name}: the role {name} has a name that belongs to workspaces")
            first = roles.get(name)
            roles[name] = role if first is None else replace(first, permissions=first.permissions | role.permissions)
    return roles


def declared_tasks(parts: Sequence[Application]) -> "dict[str, Task[Any]]":
    """Return every task by its name.

    Raises:
        ValueError: a name does not begin with that of its part, or is there twice.
    """
    tasks: dict[str, Task[Any]] = {}
    for part in parts:
        for task in part.tasks:
            if not task.name.startswith(f"{part.name}."):
                raise ValueError(f"{part.name}: the name of the task {task.name} begins with {part.name}.")
            if task.name in tasks:
                raise ValueError(f"{part.name}: there are two tasks {task.name}")
            tasks[task.name] = task
    return tasks


def declared_schedules(parts: Sequence[Application]) -> "dict[str, Schedule]":
    """Return every schedule by its name.

    Raises:
        ValueError: a name does not begin with that of its part or is there twice, or the task is not of its part.
    """
    schedules: dict[str, Schedule] = {}
    for part in parts:
        for schedule in part.schedules:
            if not schedule.name.startswith(f"{part.name}.") or schedule.name in schedules:
                raise ValueError(f"{part.name}: {schedule.name} is not a name of its own for a schedule")
            if schedule.task not in part.tasks:
                raise ValueError(f"{part.name}: the schedule {schedule.name} is of a task that is not declared")
            schedules[schedule.name] = schedule
    return schedules


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
