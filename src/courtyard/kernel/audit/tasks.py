"""What looks after the log in the background: seals within seconds, signs with new keys, removes what is too old."""

import time
from datetime import timedelta
from uuid import UUID

import structlog

from courtyard.kernel.audit import service, store
from courtyard.kernel.context import Context
from courtyard.kernel.database import (
    INSTALLATION,
    Database,
    SharedPlacement,
    UnitOfWork,
    passing_over,
)
from courtyard.kernel.events import Background
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.trail import Origin

log = structlog.get_logger()

PRUNED = "audit:log:pruned"
# How many workspaces are worked on at once, and how many lots one turn may take before others get theirs.
WORKSPACES = 100
MAX_LOTS = 40
UPKEEP_SECONDS = 600.0


class Keeper:
    """Keeps the logs of all databases. Every process may have one: a chain has one sealer at a time.

    Args:
        runtime: the process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._background = Background()
        # Told once: a chain stays broken until somebody has looked at it.
        self._broken: set[UUID] = set()
        self._next_upkeep = 0.0

    def start(self) -> None:
        """Begin."""
        self._background.every(self._runtime.settings.audit.seal_seconds, self.turn)

    async def stop(self) -> None:
        """End. What has no seal yet gets it from the next who starts."""
        await self._background.end()

    async def turn(self) -> None:
        """Seal what waits and, every few minutes, look after keys and age."""
        for database in self._runtime.placement.databases():
            with passing_over(database):
                await self.seal(database)
        if time.monotonic() >= self._next_upkeep:
            self._next_upkeep = time.monotonic() + UPKEEP_SECONDS
            await self.renew_heads()
            await self.prune()

    async def seal(self, database: Database) -> int:
        """Seal what waits in a database, as much as one turn may; return how many entries."""
        first, lots, total = INSTALLATION, 0, 0
        while lots < MAX_LOTS and (waiting := await store.waiting(database, first, WORKSPACES)):
            sealed = service.LOT
            while sealed == service.LOT and lots < MAX_LOTS:
                sealed = await self._seal_lot(database, waiting)
                total += sealed
                lots += 1
            first = store.behind(waiting[-1])
        return total

    async def _seal_lot(self, database: Database, workspaces: list[UUID]) -> int:
        unit = _unit(database)
        try:
            sealed = await service.seal(unit, self._runtime.digests, workspaces)
            await unit.commit()
        finally:
            await unit.rollback()
        for workspace_id in set(sealed.broken) - self._broken:
            self._broken.add(workspace_id)
            log.error("audit.head_forged", workspace_id=str(workspace_id))
        return sealed.count

    async def renew_heads(self) -> int:
        """Sign with the newest key what an older one has signed; return how many heads."""
        renewed = 0
        for database in self._runtime.placement.databases():
            with passing_over(database):
                renewed += await self._renew_heads_of(database)
        return renewed

    async def _renew_heads_of(self, database: Database) -> int:
        first, renewed = INSTALLATION, 0
        while heads := await store.heads(database, first, service.LOT):
            unit = _unit(database)
            try:
                renewed += await service.renew_heads(unit, self._runtime.digests, heads)
                await unit.commit()
            finally:
                await unit.rollback()
            first = store.behind(heads[-1].workspace_id)
        return renewed

    async def prune(self, days: float | None = None) -> int:
        """Remove what is older than the settings allow, or than so many days; return how many entries."""
        kept_days = self._runtime.settings.audit.retention_days if days is None else days
        if kept_days is None:
            return 0
        total = 0
        for database in self._runtime.placement.databases():
            with passing_over(database):
                first = INSTALLATION
                while heads := await store.heads(database, first, WORKSPACES):
                    for head in heads:
                        total += await self._prune_one(database, head.workspace_id, kept_days)
                    first = store.behind(heads[-1].workspace_id)
        if total:
            await self._note(total, kept_days)
        return total

    async def _prune_one(self, database: Database, workspace_id: UUID, days: float) -> int:
        before = self._runtime.clock.now() - timedelta(days=days)
        total, removed = 0, service.LOT
        while removed == service.LOT:
            unit = _unit(database)
            try:
                count = await service.prune(unit, database, self._runtime.digests, workspace_id, before)
                await unit.commit()
            finally:
                await unit.rollback()
            if count is None:
                log.error("audit.not_pruned", workspace_id=str(workspace_id), reason="courtyard audit verify says why")
            removed = count or 0
            total += removed
        return total

    async def _note(self, entries: int, days: float) -> None:
        context = Context(self._runtime, None, None, "", Origin("system"))
        context.note(PRUNED, entries=entries, older_than_days=days)
        try:
            await context.commit()
        finally:
            await context.rollback()


def _unit(database: Database) -> UnitOfWork:
    # The chains of every workspace in one database.
    return UnitOfWork(SharedPlacement(database))
