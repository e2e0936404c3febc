"""Triggers: in the source one that fences and keeps every change, in the target one that fences.

A trigger sees every change of every process, whatever statement made it, in its own transaction. On PostgreSQL a
trigger is made under a lock that no writer of the table holds: what was written before is committed, and so in every
snapshot that is taken later; what is written after is kept. On SQLite there is one writer at a time.

Only rows of the workspace are looked at (`WHEN`): changes of others cost a comparison.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator

from sqlalchemy import ARRAY, Dialect, String, bindparam, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateTable

from courtyard.kernel.database import FENCED_MESSAGE, FENCED_STATE
from courtyard.kernel.relocation.bulk import Side, is_lock_timeout
from courtyard.kernel.relocation.plan import GROUP, OP, SEQ, Moved, Plan
from courtyard.kernel.shards import CLOSED, MOVED, OPEN

_OPERATIONS = (("insert", "NEW"), ("update", "NEW"), ("delete", "OLD"))
_PAUSES_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
_TRIGGERS = text("SELECT tgname FROM pg_trigger WHERE tgname = ANY(:names)").bindparams(
    bindparam("names", type_=ARRAY(String()))
)


async def capture(side: Side, plan: Plan) -> None:
    """Begin to keep the changes of a workspace, in the source."""
    async with side.change() as connection:
        for moved in plan.tables:
            await connection.execute(CreateTable(moved.log))
        for statement in _made_first(connection.dialect, plan):
            await connection.exec_driver_sql(statement)
    # Each for itself: whoever waits for the lock of one table holds that of no other.
    for number, moved in enumerate(plan.tables):
        await run(side, _triggers(side.dialect, plan, moved, number, keeps=True))


async def fence(side: Side, plan: Plan) -> None:
    """Let a workspace be changed only where its fence is open, in the target."""
    if not side.is_sqlite:
        await run(side, [_function(side.dialect, plan, moved, n, keeps=False) for n, moved in enumerate(plan.tables)])
    for number, moved in enumerate(plan.tables):
        await run(side, _triggers(side.dialect, plan, moved, number, keeps=False))


async def only_fence(side: Side, plan: Plan) -> None:
    """End to keep changes; the fence stays."""
    if side.is_sqlite:
        for number, moved in enumerate(plan.tables):
            drop = [f"DROP TRIGGER IF EXISTS {_trigger(plan, number, operation)}" for operation, _ in _OPERATIONS]
            await run(side, [*drop, *_triggers(side.dialect, plan, moved, number, keeps=False)])
    else:
        # Without a lock on any table.
        await run(side, [_function(side.dialect, plan, moved, n, keeps=False) for n, moved in enumerate(plan.tables)])


async def run(side: Side, statements: Iterable[str]) -> None:
    """Run statements in one transaction, as soon as nobody holds a lock that they need."""
    texts = list(statements)

    async def all_of_them(connection: AsyncConnection) -> None:
        for statement in texts:
            await connection.exec_driver_sql(statement)

    await patiently(side, all_of_them)


async def patiently(side: Side, work: Callable[[AsyncConnection], Awaitable[None]]) -> None:
    """Do work in a transaction, again where somebody else held a lock for too long."""
    for pause in (*_PAUSES_SECONDS, None):
        try:
            async with side.change() as connection:
                await work(connection)
        except exc.DBAPIError as error:
            if pause is None or not is_lock_timeout(error):
                raise
            await asyncio.sleep(pause)
        else:
            return


async def set_fence(connection: AsyncConnection, plan: Plan, state: str, seconds: float | None = None) -> None:
    """Open or close the fence, or close it for so many seconds; whoever is in a change is waited for."""
    is_sqlite = connection.dialect.name == "sqlite"
    if state != OPEN and not is_sqlite:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": plan.lock})
    until = "NULL" if seconds is None else _in(seconds, is_sqlite=is_sqlite)
    values = f"'{_id(plan, is_sqlite=is_sqlite)}', :state, {until}"
    statement = f"""INSERT INTO shard_fence (workspace_id, state, until) VALUES ({values})
        ON CONFLICT (workspace_id) DO UPDATE SET state = excluded.state, until = excluded.until"""  # noqa: S608
    await connection.execute(text(statement), {"state": state})


async def hold_fence(connection: AsyncConnection, plan: Plan) -> bool:
    """Keep a closed fence closed for good; return False where its time was over before."""
    is_sqlite = connection.dialect.name == "sqlite"
    result = await connection.execute(
        text(
            f"UPDATE shard_fence SET until = NULL WHERE workspace_id = '{_id(plan, is_sqlite=is_sqlite)}' "  # noqa: S608
            f"AND state = '{CLOSED}' AND (until IS NULL OR until > {_in(0, is_sqlite=is_sqlite)})"
        )
    )
    return result.rowcount == 1


async def fence_state(connection: AsyncConnection, plan: Plan) -> str | None:
    """Return whether the fence is open, closed or gone."""
    is_sqlite = connection.dialect.name == "sqlite"
    wanted = f"SELECT state FROM shard_fence WHERE workspace_id = '{_id(plan, is_sqlite=is_sqlite)}'"  # noqa: S608
    state: str | None = (await connection.execute(text(wanted))).scalar_one_or_none()
    return state


async def drop_fence(connection: AsyncConnection, plan: Plan) -> None:
    """Forget the fence of the workspace."""
    is_sqlite = connection.dialect.name == "sqlite"
    await connection.execute(text(f"DELETE FROM shard_fence WHERE workspace_id = '{_id(plan, is_sqlite=is_sqlite)}'"))  # noqa: S608


async def drop_all(side: Side, plan: Plan) -> None:
    """Remove everything that the move has made in a database, but the fence."""
    preparer = side.dialect.identifier_preparer
    for number, moved in enumerate(plan.tables):
        names = [_trigger(plan, number, operation) for operation, _ in _OPERATIONS]
        if side.is_sqlite:
            await run(side, [f"DROP TRIGGER IF EXISTS {name}" for name in names])
        else:
            # Nothing to do costs no lock.
            async with side.snapshot() as connection:
                there = (await connection.execute(_TRIGGERS, {"names": names})).scalars().all()
            await run(side, [f"DROP TRIGGER {name} ON {preparer.quote(moved.name)}" for name in there])
            await run(side, [f"DROP FUNCTION IF EXISTS {plan.prefix}_c{number}()"])
    tables = [plan.applied.name, *(each.log.name for each in plan.tables), *(each.stage.name for each in plan.tables)]
    kind = "TABLE" if side.is_sqlite else "SEQUENCE"
    await run(side, [*(f"DROP TABLE IF EXISTS {name}" for name in tables), f"DROP {kind} IF EXISTS {plan.prefix}_seq"])


def _made_first(dialect: Dialect, plan: Plan) -> Iterator[str]:
    if dialect.name == "sqlite":
        yield f"CREATE TABLE {plan.prefix}_seq (n INTEGER NOT NULL)"
        yield f"INSERT INTO {plan.prefix}_seq VALUES (0)"  # noqa: S608 - names of ours, as everywhere in this file
        return
    yield f"CREATE SEQUENCE {plan.prefix}_seq"
    for number, moved in enumerate(plan.tables):
        yield _function(dialect, plan, moved, number, keeps=True)


def _trigger(plan: Plan, number: int, operation: str) -> str:
    return f"{plan.prefix}_{number}_{operation}"


def _triggers(dialect: Dialect, plan: Plan, moved: Moved, number: int, *, keeps: bool) -> Iterator[str]:
    table = dialect.identifier_preparer.quote(moved.name)
    for operation, row in _OPERATIONS:
        name = _trigger(plan, number, operation)
        if dialect.name != "sqlite":
            yield f"""CREATE TRIGGER {name} AFTER {operation} ON {table} FOR EACH ROW
                WHEN ({row}.workspace_id = '{plan.workspace_id}') EXECUTE FUNCTION {plan.prefix}_c{number}()"""
            continue
        kept = ""
        if keeps:
            kept = _keep(dialect, plan, moved, "d" if row == "OLD" else "u", row)
        if keeps and operation == "update":
            changed = f"({_row(dialect, 'OLD', moved.key)}) <> ({_row(dialect, 'NEW', moved.key)})"
            kept = _keep(dialect, plan, moved, "d", "OLD", where=changed) + kept
        yield f"""CREATE TRIGGER {name} AFTER {operation} ON {table}
            WHEN {row}.workspace_id = '{plan.workspace_id.hex}'
            BEGIN {_check_sqlite(plan)} {kept} END"""


def _function(dialect: Dialect, plan: Plan, moved: Moved, number: int, *, keeps: bool) -> str:
    kept = ""
    if keeps:
        kept = f"""IF TG_OP = 'DELETE' THEN
                {_keep(dialect, plan, moved, "d", "OLD")}
                RETURN NULL;
            END IF;
            IF TG_OP = 'UPDATE' AND ({_row(dialect, "OLD", moved.key)}) <> ({_row(dialect, "NEW", moved.key)}) THEN
                {_keep(dialect, plan, moved, "d", "OLD")}
            END IF;
            {_keep(dialect, plan, moved, "u", "NEW")}"""
    return f"""CREATE OR REPLACE FUNCTION {plan.prefix}_c{number}() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            fence_state text;
            fence_until timestamptz;
            change text := pg_current_xact_id()::text || ' ' || extract(epoch FROM statement_timestamp())::text;
        BEGIN
            {_check_postgresql(plan)}
            {kept}
            RETURN NULL;
        END $$"""


def _check_postgresql(plan: Plan) -> str:
    # Whoever closes the fence has the lock to himself: nobody is in a change then, and who comes later sees it closed.
    # Nobody waits for the lock: who did would keep rows locked that those need who are waited for.
    return f"""IF NOT pg_try_advisory_xact_lock_shared({plan.lock})
        THEN RAISE EXCEPTION '{FENCED_MESSAGE}' USING ERRCODE = '{FENCED_STATE}'; END IF;
        SELECT state, until INTO fence_state, fence_until FROM shard_fence WHERE workspace_id = '{plan.workspace_id}';
        IF fence_state = '{MOVED}'
            OR (fence_state = '{CLOSED}' AND (fence_until IS NULL OR fence_until > clock_timestamp()))
        THEN RAISE EXCEPTION '{FENCED_MESSAGE}' USING ERRCODE = '{FENCED_STATE}'; END IF;"""  # noqa: S608


def _check_sqlite(plan: Plan) -> str:
    return f"""SELECT RAISE(ABORT, '{FENCED_MESSAGE}') WHERE EXISTS (
            SELECT 1 FROM shard_fence WHERE workspace_id = '{plan.workspace_id.hex}' AND (
                state = '{MOVED}'
                OR (state = '{CLOSED}' AND (until IS NULL OR until > {_in(0, is_sqlite=True)}))));"""  # noqa: S608


def _keep(dialect: Dialect, plan: Plan, moved: Moved, op: str, row: str, where: str = "true") -> str:
    columns = ", ".join(_quoted(dialect, [SEQ, OP, GROUP, *moved.columns]))
    values = _row(dialect, row, moved.columns)
    if dialect.name == "sqlite":
        return f"""UPDATE {plan.prefix}_seq SET n = n + 1;
            INSERT INTO {moved.log.name} ({columns})
            SELECT n, '{op}', '', {values} FROM {plan.prefix}_seq WHERE {where};"""  # noqa: S608
    return f"INSERT INTO {moved.log.name} ({columns}) VALUES (nextval('{plan.prefix}_seq'), '{op}', change, {values});"  # noqa: S608


def _row(dialect: Dialect, row: str, columns: list[str]) -> str:
    return ", ".join(f"{row}.{column}" for column in _quoted(dialect, columns))


def _quoted(dialect: Dialect, names: list[str]) -> list[str]:
    return [dialect.identifier_preparer.quote(name) for name in names]


def _in(seconds: float, *, is_sqlite: bool) -> str:
    """Return the moment so many seconds from now, by the clock of the database."""
    if is_sqlite:
        return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', '{seconds:+.3f} seconds')"
    return f"clock_timestamp() + interval '{seconds:.3f} seconds'"


def _id(plan: Plan, *, is_sqlite: bool) -> str:
    return plan.workspace_id.hex if is_sqlite else str(plan.workspace_id)
