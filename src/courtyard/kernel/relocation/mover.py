"""A move, step by step. Each step can be lost and done again; what counts is where `MoveRow` says that it stands.

1. *Copying.* Triggers in the source keep every change; all rows are copied as one snapshot shows them.
2. *Following.* What was kept is replayed, again and again. Both ends are compared, all rows of all tables, as one
   snapshot of the source shows them, while clients go on. Then the fence is closed for an announced time: changes are
   refused with 503, reads go on. The rest is replayed and compared. If time is left, the fence is held for good, and
   the placement changes: the workspace is *switched*.
3. *Switched.* When every process has followed, the fence of the target opens. The source stays fenced, until the old
   rows are removed.
"""

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateTable

from courtyard.kernel.context import Context
from courtyard.kernel.database import Database, address, sqlite_path
from courtyard.kernel.events import Signal
from courtyard.kernel.relocation import capture, moves
from courtyard.kernel.relocation.audit import append_entries
from courtyard.kernel.relocation.bulk import Side
from courtyard.kernel.relocation.copying import Copier
from courtyard.kernel.relocation.errors import CannotMove
from courtyard.kernel.relocation.models import COPYING, DONE, FOLLOWING, SWITCHED
from courtyard.kernel.relocation.moves import Move
from courtyard.kernel.relocation.plan import plan_of
from courtyard.kernel.relocation.verification import differences, differences_of
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.shards import CLOSED, FRESH_SECONDS, MOVED, OPEN, PLACEMENTS_CHANNEL, place
from courtyard.kernel.trail import Origin

# The fence is closed once no more than so many changes wait, and as many rows are compared behind it at the most.
FEW = 500
MANY_TOUCHED = 50_000
ATTEMPTS = 5
# The part of the announced time for which the fence is closed. It opens by itself then, also where the command was
# killed, and whoever was refused comes back within the rest.
CLOSED_PART = 0.9
# Of that time, what has to be left for the switch itself.
LEAST_LEFT_SECONDS = 1.0
SETTLE_SECONDS = FRESH_SECONDS + 0.3
# For so long the database may go on with what a command that was killed has asked of it.
ALONE_SECONDS = 15.0

PLACED = "placements:workspace:placed"

Say = Callable[[str], object]


class Mover:
    """Moves one workspace.

    Args:
        runtime: of the command.
        move: where it stands.
        say: is told what happens, line by line.
        pause_seconds: the longest time for which changes are refused.
    """

    def __init__(self, runtime: Runtime, move: Move, say: Say, pause_seconds: float) -> None:
        self._runtime = runtime
        self._move = move
        self._say = say
        self._pause_seconds = pause_seconds
        self._closed_seconds = pause_seconds * CLOSED_PART
        self._plan = plan_of(runtime.parts, move.workspace_id, move.id)
        main = runtime.placement.main
        self._urls = moves.urls_of(runtime.keys, move)
        self._source, self._target = (
            Side(main if url is None else Database(url, runtime.settings.database)) for url in self._urls
        )
        self._copier = Copier(self._plan, self._source, self._target)

    async def close(self) -> None:
        """Let go of both ends."""
        await self._source.close()
        await self._target.close()

    async def run(self) -> None:
        """Bring the move to its end, from wherever it stands.

        Raises:
            CannotMove: it cannot go on; the workspace lives where it lived, and can be changed there.
        """
        async with self._alone():
            if self._move.state == COPYING:
                await self._copy()
                await self._advance(FOLLOWING)
            if self._move.state == FOLLOWING:
                await self._follow()
            if self._move.state == SWITCHED:
                await self._finish()
                await self._advance(DONE)
            self._say(f"lives in {self._name(1)}; the old rows in {self._name(0)} stay until `--clean`")

    def _name(self, end: int) -> str:
        url = self._urls[end]
        return "the main database" if url is None else address(url)

    async def _advance(self, state: str) -> None:
        async with self._changing() as context:
            await self._note_state(context, state)

    async def _note_state(self, context: Context, state: str) -> None:
        if not await moves.advance(context.db, self._move, state, context.now):
            raise CannotMove("somebody else has moved on meanwhile")
        self._move = msgspec.structs.replace(self._move, state=state)

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[Context]:
        context = Context(self._runtime, None, None, "workspaces move", Origin("cli"))
        try:
            yield context
            await context.commit()
        finally:
            await context.rollback()

    async def _copy(self) -> None:
        # First of all: what follows empties the target.
        await self._refuse_one_and_the_same()
        await self._clear_target()
        await capture.drop_all(self._source, self._plan)
        await capture.fence(self._target, self._plan)
        async with self._target.change() as connection:
            for moved in self._plan.tables:
                if moved.is_staged:
                    await connection.execute(CreateTable(moved.stage))
            await connection.execute(CreateTable(self._plan.applied))
        await capture.capture(self._source, self._plan)
        self._say(f"copying {len(self._plan.tables)} tables")
        await self._copier.copy()
        self._say(f"{self._copier.copied} rows copied")

    async def _clear_target(self) -> None:
        """Remove what an earlier attempt, or an earlier stay, has left in the target."""
        await self._copier.empty(self._target)
        await capture.drop_all(self._target, self._plan)

    async def _refuse_one_and_the_same(self) -> None:
        """Two names may lead to one database: what is written by one name is looked for by the other."""
        async with self._source.change() as connection:
            await capture.set_fence(connection, self._plan, OPEN)
        async with self._target.change() as connection:
            await capture.set_fence(connection, self._plan, CLOSED)
        async with self._source.change() as connection:
            state = await capture.fence_state(connection, self._plan)
        if state != OPEN:
            async with self._source.change() as connection:
                await capture.drop_fence(connection, self._plan)
            raise CannotMove("the workspace lives in that database already")

    async def _follow(self) -> None:
        # A command that died in the announced time may have left it closed.
        await self._open_source()
        await self._copier.resume()
        for attempt in range(1, ATTEMPTS + 1):
            await self._catch_up()
            await self._compare_all()
            await self._catch_up()
            if len(self._copier.touched or ()) > MANY_TOUCHED:
                self._say("too much was changed meanwhile: comparing again")
                continue
            if await self._switch():
                return
            self._say(f"the announced time was over too early, the workspace is open again (attempt {attempt})")
        raise CannotMove(f"{self._pause_seconds:g} seconds are too short: try again, or announce more (--pause)")

    async def _open_source(self) -> None:
        async with self._source.change() as connection:
            await capture.set_fence(connection, self._plan, OPEN)

    async def _catch_up(self) -> None:
        while (count := await self._copier.drain()) > FEW:
            self._say(f"{count} changes replayed")

    async def _compare_all(self) -> None:
        """Compare every row, as one snapshot of the source shows it; clients go on meanwhile."""
        async with self._source.snapshot() as there:
            await self._copier.drain(there)
            self._copier.touched = set()
            async with self._target.snapshot() as here:
                _refuse(await differences(self._plan, there, here))
        self._say(f"{len(self._plan.tables)} tables are the same")

    async def _switch(self) -> bool:
        """Close the fence, replay and compare the rest, and let the workspace live in the target."""
        closed_at = time.monotonic()

        async def close(connection: AsyncConnection) -> None:
            nonlocal closed_at
            # Whoever comes while those in a change are waited for is refused already.
            closed_at = time.monotonic()
            await capture.set_fence(connection, self._plan, CLOSED, self._closed_seconds)

        await capture.patiently(self._source, close)
        is_held = False
        try:
            await self._copier.drain()
            touched = self._copier.touched or set()
            async with self._source.snapshot() as there, self._target.snapshot() as here:
                _refuse(await differences_of(self._plan, touched, there, here))
            if time.monotonic() - closed_at > self._closed_seconds - LEAST_LEFT_SECONDS:
                return False
            async with self._source.change() as connection:
                is_held = await capture.hold_fence(connection, self._plan)
            if not is_held:
                return False
            async with self._changing() as context:
                await self._note_state(context, SWITCHED)
                url = self._urls[1]
                await place(context.db, self._runtime.keys, self._move.workspace_id, url, context.now)
                note_placement(context, self._move.workspace_id, url)
        finally:
            # Once it is held, whether it was switched is what the main database says when the command is run again.
            if not is_held:
                await self._open_source()
        self._say(f"switched after {time.monotonic() - closed_at:.1f} s")
        return True

    async def _finish(self) -> None:
        # Nobody reads from the old place any more when the first change is made in the new one.
        await asyncio.sleep(SETTLE_SECONDS)
        async with self._target.change() as connection:
            is_closed = await capture.fence_state(connection, self._plan) == CLOSED
        if is_closed:
            await self._copier.merge()
        self._say("the workspace can be changed again")
        async with self._source.change() as connection:
            await capture.set_fence(connection, self._plan, MOVED)
        await capture.only_fence(self._source, self._plan)
        # Work in the background is not to find there what is done elsewhere.
        await self._copier.empty(self._source, only_staged=True, state=MOVED)
        if self._urls[0] is not None:
            # What was written in the main database is read there, wherever the workspace lives.
            self._say(f"{await append_entries(self._plan, self._source, self._target)} audit entries appended")
        await capture.drop_all(self._target, self._plan)
        async with self._target.change() as connection:
            await capture.drop_fence(connection, self._plan)

    async def roll_back(self) -> None:
        """Undo a move that has not switched.

        Raises:
            CannotMove: the workspace lives in the new place already.
        """
        async with self._alone():
            if self._move.state in {SWITCHED, DONE}:
                raise CannotMove("the workspace lives in the new place: move it back instead")
            await self._open_source()
            await capture.drop_all(self._source, self._plan)
            await self._clear_target()
            for side in (self._source, self._target):
                async with side.change() as connection:
                    await capture.drop_fence(connection, self._plan)
            async with self._changing() as context:
                await moves.end(context.db, self._move.workspace_id)

    async def clean(self) -> None:
        """Remove the old rows, and the fence around them.

        Raises:
            CannotMove: the move is not done.
        """
        async with self._alone():
            if self._move.state != DONE:
                raise CannotMove("the move is not done")
            await self._copier.empty(self._source, state=MOVED)
            await capture.drop_all(self._source, self._plan)
            async with self._source.change() as connection:
                await capture.drop_fence(connection, self._plan)
            async with self._changing() as context:
                await moves.end(context.db, self._move.workspace_id)

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Be the only command that works on this move."""
        main = self._runtime.placement.main
        if main.is_sqlite:
            path = sqlite_path(main.url).with_name(f"{sqlite_path(main.url).name}.move-lock")
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise CannotMove("another command moves workspaces") from None
                yield
            finally:
                os.close(descriptor)
            return
        async with Side(main).session() as connection:
            key = self._plan.lock ^ _LOCK
            until = time.monotonic() + ALONE_SECONDS
            while not (await connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({key})")).scalar_one():
                if time.monotonic() > until:
                    raise CannotMove("another command moves this workspace")
                await asyncio.sleep(0.2)
            await connection.commit()
            yield


_LOCK = int.from_bytes(b"move", "big")


def _refuse(found: list[str]) -> None:
    if found:
        raise CannotMove("the copy is not the same: " + "; ".join(found))


async def start(runtime: Runtime, workspace_id: UUID, source: str | None, target: str | None) -> Move | None:
    """Write a move down, or find the one that was begun; return where it stands."""
    context = Context(runtime, None, None, "workspaces move", Origin("cli"))
    try:
        await moves.begin(context.db, runtime.keys, workspace_id, source, target, context.now)
        move = await moves.find_move(context.db, workspace_id)
        await context.commit()
    finally:
        await context.rollback()
    return move


def note_placement(context: Context, workspace_id: UUID, url: str | None) -> None:
    """Write into the audit log where a workspace lives now, and tell all processes at the commit."""
    runtime = context.runtime
    where = "main" if url is None else address(url)
    context.note(PLACED, object_type="workspace", object_id=str(workspace_id), database=where)

    def tell() -> None:
        runtime.placement.forget()
        runtime.bus.publish(Signal(PLACEMENTS_CHANNEL, "changed"))

    context.after_commit(tell)
