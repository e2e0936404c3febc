"""An application whose tasks do what a test tells them to."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from courtyard.kernel.application import Application
from courtyard.kernel.context import Context
from courtyard.kernel.events import Event
from courtyard.kernel.http import SIGNED_IN, Answer, post
from courtyard.kernel.tasks import Operation, Retry, Task, accepted, enqueue, task

EFFECTS = "probe.effects"
HASTY = Retry(attempts=50, first_pause_seconds=0.05, longest_pause_seconds=0.1)
QUICK = Retry(attempts=3, first_pause_seconds=10, longest_pause_seconds=60, jitter=0)


class Done(Event, frozen=True):
    """The effect of a task: there is one of them for each time that it was committed."""

    name: ClassVar[str] = "probe.effect.done"
    key: str


class Key(msgspec.Struct, frozen=True):
    """Which of the scripts is followed, or what is left in the log."""

    key: str


Script = Callable[[Context], Awaitable[Any]]
# In the process of a test, what a task does is said here.
SCRIPTS: dict[str, Script] = {}


def effect(context: Context, key: str) -> None:
    """Leave one."""
    context.record(EFFECTS, Done(key))


@task(name="probe.act", retry=QUICK, time_limit_seconds=30)
async def act(context: Context, payload: Key) -> Any:  # noqa: ANN401
    """Follow a script."""
    return await SCRIPTS[payload.key](context)


@task(name="probe.act_briefly", retry=QUICK, time_limit_seconds=0.05)
async def act_briefly(context: Context, payload: Key) -> Any:  # noqa: ANN401
    """Follow a script, for a moment only."""
    return await SCRIPTS[payload.key](context)


@task(name="probe.act_two_at_once", retry=QUICK, concurrency=2)
async def act_two_at_once(context: Context, payload: Key) -> Any:  # noqa: ANN401
    """Follow a script, as one of two."""
    return await SCRIPTS[payload.key](context)


@task(name="probe.act_apart", queue="apart", retry=QUICK)
async def act_apart(context: Context, payload: Key) -> Any:  # noqa: ANN401
    """Follow a script, on a queue of its own."""
    return await SCRIPTS[payload.key](context)


@task(name="probe.leave")
async def leave(context: Context, payload: Key) -> None:
    """Leave an effect."""
    effect(context, payload.key)


@task(name="probe.nothing")
async def nothing(context: Context, payload: Key) -> None:
    """Do nothing at all."""


@task(name="probe.operate", retry=QUICK, operation=True)
async def operate(context: Context, payload: Key) -> Any:  # noqa: ANN401
    """Follow a script, while somebody waits."""
    return await SCRIPTS[payload.key](context)


@post("/workspaces/{workspace:str}/probe/operations", permission=SIGNED_IN, status=202)
async def begin(context: Context, data: Key) -> Answer[Operation]:
    """Begin an operation."""
    return await accepted(context, await enqueue(context, operate, data))


@post("/workspaces/{workspace:str}/probe/effects", permission=SIGNED_IN)
async def ask(context: Context, data: Key) -> Key:
    """Ask for an effect."""
    await enqueue(context, leave, data)
    return data


@task(name="probe.stumble", retry=HASTY)
async def stumble(context: Context, payload: Key) -> None:
    """Fail as often as there are letters left in a file, which is shorter each time; then leave an effect."""
    if is_left(Path(payload.key)):
        raise RuntimeError("not yet")
    effect(context, Path(payload.key).name)


def is_left(path: Path) -> bool:
    """Take a letter out of a file; return whether there was one."""
    left = path.read_text()
    path.write_text(left[1:])
    return bool(left)


class Rest(msgspec.Struct, frozen=True):
    """How long a task takes, and what it leaves."""

    key: str
    seconds: float


@task(name="probe.rest", retry=HASTY)
async def rest(context: Context, payload: Rest) -> None:
    """Leave an effect, after a while."""
    effect(context, payload.key)
    await asyncio.sleep(payload.seconds)


@task(name="probe.rest_in_turn", retry=HASTY, concurrency=1)
async def rest_in_turn(context: Context, payload: Rest) -> None:
    """Do the same, one of a key at a time."""
    await rest(context, payload)


TASKS: tuple[Task[Any], ...] = (
    act,
    act_briefly,
    act_two_at_once,
    act_apart,
    leave,
    nothing,
    operate,
    stumble,
    rest,
    rest_in_turn,
)

application = Application(
    name="probe", description="Tasks for tests.", events=(Done,), routes=(begin, ask), tasks=TASKS
)
