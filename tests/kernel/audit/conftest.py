"""A database with an audit log that no server looks after, and somebody who tampers with it."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.audit import service, store
from courtyard.kernel.audit.service import Verified
from courtyard.kernel.crypto import Signer
from courtyard.kernel.database import Database, Prepared, SharedPlacement, UnitOfWork
from courtyard.kernel.database.drivers import Connection
from courtyard.kernel.ids import new_id
from courtyard.kernel.settings import DatabaseSettings
from courtyard.kernel.trail import AuditEntryRow, AuditNames, AuditSealRow, Entry, Note, Origin, Recorder
from tests.services import PARTS, Databases, Kind

NAMES = AuditNames(PARTS)
RING = (("first", b"1" * 16 + bytes(range(16))),)


class Lab:
    """The audit log of one workspace that has just been thought up, in a database of its own.

    Attributes:
        database: where.
        workspace_id: whose it is.
        signer: of the keys of its head.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.workspace_id = uuid4()
        self.signer = Signer(RING)

    def recorder(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Recorder:
        return Recorder(NAMES, clock, self.workspace_id, ("person", uuid4()), Origin("system"), "request")

    def unit(self, **options: Any) -> UnitOfWork:
        """Return a unit of work whose changes are told of."""
        return UnitOfWork(SharedPlacement(self.database), self.workspace_id, self.recorder(**options))

    def plain_unit(self) -> UnitOfWork:
        """Return a unit of work of the upkeep."""
        return UnitOfWork(SharedPlacement(self.database))

    async def add_account(self, unit: UnitOfWork, name: str = "Ada") -> UUID:
        account_id = new_id()
        await unit.insert(
            AccountRow,
            id=account_id,
            kind="visitor",
            name=name,
            version=1,
            rights_epoch=0,
            must_change_password=False,
            created_at=datetime.now(UTC),
        )
        return account_id

    async def fill(self, count: int, **options: Any) -> list[UUID]:
        """Write entries, each in a transaction of its own; return their ids, oldest first."""
        for number in range(count):
            unit = self.unit(**options)
            await self.add_account(unit, f"Account {number}")
            await unit.commit()
        return [entry.id for entry in await self.entries()]

    async def note(self, name: str) -> None:
        unit = self.plain_unit()
        for statement, values in self.recorder().notes([Note(name=name)]):
            await unit.execute(statement, **values)
        await unit.commit()

    async def entries(self) -> list[Entry]:
        statement = Prepared(
            select(*AuditEntryRow.__table__.columns)
            .where(AuditEntryRow.workspace_id == self.workspace_id)
            .order_by(AuditEntryRow.id),
            Entry,
            across_workspaces=True,
        )
        return await self.database.fetch(statement, {})

    async def numbers(self) -> list[int]:
        statement = Prepared(
            select(AuditSealRow.number)
            .where(AuditSealRow.workspace_id == self.workspace_id)
            .order_by(AuditSealRow.number),
            int,
            across_workspaces=True,
        )
        return await self.database.fetch(statement, {})

    async def seal(self, limit: int = service.LOT) -> int:
        """Seal what waits."""
        unit, total = self.plain_unit(), 0
        while True:
            try:
                sealed = await service.seal(unit, self.signer, [self.workspace_id], limit)
                await unit.commit()
            finally:
                await unit.rollback()
            total += sealed.count
            if sealed.count < limit:
                return total

    async def verify(self, signer: Signer | None = None, now: datetime | None = None) -> Verified:
        return await service.verify_one(
            self.database, signer or self.signer, now or datetime.now(UTC), self.workspace_id
        )

    async def told(self, **options: Any) -> list[tuple[str, int | None]]:
        """Return what verifying finds: kinds and numbers."""
        return [(fault.kind, fault.number) for fault in (await self.verify(**options)).faults]

    async def head(self) -> store.Head:
        head = await store.find_head(self.database, self.workspace_id)
        assert head is not None
        return head

    async def tamper(self, *statements: str) -> None:
        """Run SQL as somebody does who owns the tables: with the triggers out of the way.

        `:workspace` stands for the id of the workspace as the database writes it.
        """
        connection = await self.database.writers.acquire()
        try:
            await connection.begin()
            triggers = await self._disarm(connection)
            for statement in statements:
                await connection.execute(statement.replace(":workspace", self.literal(self.workspace_id)), ())
            for trigger in triggers:
                await connection.execute(trigger, ())
            await connection.commit()
        finally:
            if not connection.closed:
                await connection.rollback()
            self.database.writers.release(connection)

    async def _disarm(self, connection: Connection) -> Sequence[str]:
        tables = ("audit_entry", "audit_seal")
        if not self.database.is_sqlite:
            for table in tables:
                await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER", ())
            return [f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in tables]
        found = await connection.fetch("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'", ())
        for name, _ in found:
            await connection.execute(f"DROP TRIGGER {name}", ())
        return [sql for _, sql in found]

    def literal(self, one: UUID) -> str:
        """Return an id as SQL."""
        return f"'{one.hex if self.database.is_sqlite else one}'"


@pytest.fixture(scope="session")
async def lab_databases() -> AsyncIterator[dict[Kind, Database]]:
    made: dict[Kind, Database] = {}
    yield made
    for database in made.values():
        await database.close()


@pytest.fixture
async def lab(databases: Databases, lab_databases: dict[Kind, Database], database_kind: Kind) -> Lab:
    if database_kind not in lab_databases:
        lab_databases[database_kind] = Database(await databases.new(database_kind), DatabaseSettings())
    return Lab(lab_databases[database_kind])
