"""The unit of work: what one request, socket event, task or command reads and changes, as one.

The edge opens it, hands it on inside the context, and commits once. Services and queries cannot commit.
"""

from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.orm import DeclarativeBase
from typing_extensions import override

from courtyard.kernel.database.auditing import AuditedStatement, Auditor
from courtyard.kernel.database.database import Database
from courtyard.kernel.database.drivers import Connection, Statement
from courtyard.kernel.database.errors import DatabaseUnavailable, UniqueViolation
from courtyard.kernel.database.placement import INSTALLATION, Placement
from courtyard.kernel.database.statements import Prepared, change, insertion

T = TypeVar("T")


class ReadUnit:
    """Reads only. Each statement sees the newest committed state; no transaction is held between them.

    Args:
        placement: where the databases are.
        workspace_id: the tenant that statements on the side of the workspace are bound to. Outside of any
            workspace it is `INSTALLATION`, whose rows live in the main database.
    """

    def __init__(self, placement: Placement, workspace_id: UUID = INSTALLATION) -> None:
        self._placement = placement
        self.workspace_id = workspace_id

    async def _database(self, *, main: bool) -> Database:
        if main:
            return self._placement.main
        return await self._placement.database_of(self.workspace_id)

    async def all(self, statement: Prepared[T], **values: Any) -> list[T]:
        """Return every row of the result."""
        database = await self._database(main=statement.main)
        return await database.fetch(statement, {"workspace_id": self.workspace_id, **values})

    async def first(self, statement: Prepared[T], **values: Any) -> T | None:
        """Return the first row of the result, or None."""
        rows = await self.all(statement, **values)
        return rows[0] if rows else None

    async def one(self, statement: Prepared[T], **values: Any) -> T:
        """Return the one row of a result that always has one."""
        (row,) = await self.all(statement, **values)
        return row


class UnitOfWork(ReadUnit):
    """Reads and changes in one transaction per database, begun at the first statement.

    Args:
        placement: where the databases are.
        workspace_id: as for `ReadUnit`.
        auditor: makes entries of the changes of audited rows, which are written in the database and transaction of
            the change. Without one, nothing is told of: that of every context has one.
    """

    def __init__(self, placement: Placement, workspace_id: UUID = INSTALLATION, auditor: Auditor | None = None) -> None:
        super().__init__(placement, workspace_id)
        self._open: dict[Database, Connection] = {}
        # A workspace that is moved meanwhile: what began in one place ends there.
        self._places: dict[UUID, Database] = {}
        self._auditor = auditor
        self._entries: dict[Database, list[Any]] = {}

    @property
    def is_open(self) -> bool:
        """Whether a transaction has begun."""
        return bool(self._open)

    @override
    async def _database(self, *, main: bool) -> Database:
        if main:
            return self._placement.main
        place = self._places.get(self.workspace_id)
        if place is None:
            place = self._places[self.workspace_id] = await self._placement.database_of(self.workspace_id)
        return place

    async def _connection(self, *, main: bool) -> tuple[Connection, Database]:
        database = await self._database(main=main)
        connection = self._open.get(database)
        if connection is None:
            connection = await database.writers.acquire()
            # Registered before BEGIN, so that an interruption here is cleaned up like any other.
            self._open[database] = connection
            try:
                await connection.begin()
            except DatabaseUnavailable:
                if not connection.closed:
                    raise
                connection = self._open[database] = await database.writers.replace()
                await connection.begin()
        return connection, database

    @override
    async def all(self, statement: Prepared[T], **values: Any) -> list[T]:
        connection, database = await self._connection(main=statement.main)
        bound = {"workspace_id": self.workspace_id, **values}
        if statement.audited is not None and self._auditor is not None:
            return await self._tell(statement.audited, self._auditor, connection, database, bound)
        return await statement.fetch(connection, database.dialect, bound)

    async def _tell(
        self,
        statement: AuditedStatement[T],
        auditor: Auditor,
        connection: Connection,
        database: Database,
        bound: dict[str, Any],
    ) -> list[T]:
        """Run a change of audited rows, and keep what there is to tell of it for the commit."""
        rows, changes = await statement.run(connection, database.dialect, bound)
        entries = [entry for change in changes if (entry := auditor.entry(change)) is not None]
        if entries:
            self._entries.setdefault(database, []).extend(entries)
        return rows

    async def execute(self, statement: Prepared[Any], **values: Any) -> int:
        """Run a statement without a result and return how many rows it changed."""
        connection, database = await self._connection(main=statement.main)
        bound = {"workspace_id": self.workspace_id, **values}
        if statement.audited is not None and self._auditor is not None:
            return len(await self._tell(statement.audited, self._auditor, connection, database, bound))
        return await statement.execute(connection, database.dialect, bound)

    async def conclude(self, statement: Prepared[T], **values: Any) -> list[T]:
        """Run the last statement of the unit, behind which nothing can fail any more.

        Where it is the only one too, and one statement of SQL, it is a transaction by itself: a single round trip,
        and its locks are held for no longer than the database takes.

        Raises:
            UniqueViolation: naming the constraint; the unit goes on as if the statement had not been run.
        """
        database = await self._database(main=statement.main)
        bound = {"workspace_id": self.workspace_id, **values}
        told = statement.audited if self._auditor is not None else None
        if not self._open and told is None and statement.is_single(database.dialect):
            return await database.fetch(statement, bound, writers=True)
        connection, _ = await self._connection(main=statement.main)
        await connection.execute("SAVEPOINT conclusion", ())
        try:
            if told is not None and self._auditor is not None:
                rows = await self._tell(told, self._auditor, connection, database, bound)
            else:
                rows = await statement.fetch(connection, database.dialect, bound)
        except UniqueViolation:
            await connection.execute("ROLLBACK TO SAVEPOINT conclusion", ())
            raise
        await connection.execute("RELEASE SAVEPOINT conclusion", ())
        return rows

    async def insert(self, model: type[DeclarativeBase], **values: Any) -> None:
        """Insert one row.

        Raises:
            UniqueViolation: naming the constraint. On PostgreSQL the transaction is over then: where a clash is
                expected, insert with `ON CONFLICT DO NOTHING` and look at the count.
        """
        await self.execute(insertion(model, tuple(values)), **values)

    async def update(self, model: type[DeclarativeBase], where: dict[str, Any], **values: Any) -> int:
        """Set columns of the rows whose columns equal those of `where`; return how many there were."""
        keys = {f"key_{name}": value for name, value in where.items()}
        return await self.execute(change(model, tuple(where), tuple(values)), **keys, **values)

    async def write_entries(self) -> None:
        """Write what there is to tell of the changes so far. The commit does so by itself."""
        for database in list(self._entries):
            for sql, args in self._untold(database):
                await self._open[database].execute(sql, args)

    def _untold(self, database: Database) -> list[Statement]:
        """Return the statements that write what there is to tell of the changes in a database."""
        entries = self._entries.pop(database, None)
        if entries is None or self._auditor is None:
            return []
        written = self._auditor.insertions(entries)
        return [text for statement, values in written for text in statement.texts(database.dialect, values)]

    async def commit(self) -> None:
        """Make all changes durable: the main database first, then that of the workspace.

        Nothing promises that both succeed where they are two: a service that changes both must be safe to repeat.
        """
        try:
            in_order = sorted(self._open.items(), key=lambda item: item[0] is not self._placement.main)
            if len(in_order) > 1:
                # Before the first of the commits, so that none of them is undone by what can fail in another.
                await self.write_entries()
            for database, connection in in_order:
                await connection.commit(self._untold(database))
                del self._open[database]
                database.writers.release(connection)
            self._places.clear()
        except BaseException:
            await self.rollback()
            raise

    async def rollback(self) -> None:
        """Undo all that is not committed and give the connections back."""
        failure: BaseException | None = None
        self._entries.clear()
        self._places.clear()
        while self._open:
            database, connection = self._open.popitem()
            try:
                await connection.rollback()
            except BaseException as error:  # noqa: BLE001 - raised below, when every connection has been given back
                await connection.close()
                if not isinstance(error, (DatabaseUnavailable, OSError)):
                    failure = error
            finally:
                database.writers.release(connection)
        if failure is not None:
            raise failure
