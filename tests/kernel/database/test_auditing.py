"""Changes of audited rows: told of row by row, whatever statement makes them, and refused where that cannot be done."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, cast
from uuid import UUID, uuid4

import msgspec
import pytest
from sqlalchemy import Executable, String, Uuid, bindparam, delete, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column
from typing_extensions import override

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.accounts.models import SessionRow
from courtyard.kernel.database import (
    WORKSPACE,
    Auditable,
    Auditor,
    Database,
    MainBase,
    Prepared,
    ReadUnit,
    RowChange,
    SharedPlacement,
    UniqueViolation,
    UnitOfWork,
)
from courtyard.kernel.events import TopicRow
from courtyard.kernel.ids import new_id
from courtyard.kernel.settings import DatabaseSettings
from courtyard.kernel.workspaces.models import MembershipRow
from tests.running import MovableClock
from tests.services import Databases, Kind

ID = bindparam("id", type_=Uuid(), required=True)
PREFIX = bindparam("prefix", type_=String(), required=True)
COUNT_UP = Prepared(update(AccountRow).where(AccountRow.id == ID).values(version=AccountRow.version + 1))
VERSION = Prepared(select(AccountRow.version).where(AccountRow.id == ID), int)


class Kept(Auditor):
    """Keeps what it is told, and writes each change as a topic, where it can be read."""

    def __init__(self) -> None:
        self.told: list[RowChange] = []

    @override
    def entry(self, change: RowChange) -> RowChange:
        self.told.append(change)
        return change

    @override
    def insertions(self, entries: Sequence[Any]) -> Iterable[tuple[Prepared[None], Mapping[str, Any]]]:
        statement = Prepared(
            insert(TopicRow).values(
                workspace_id=WORKSPACE, topic=bindparam("topic", type_=String(), required=True), number=1
            )
        )
        for change in cast("Sequence[RowChange]", entries):
            row = change.after or change.before or {}
            yield statement, {"workspace_id": TENANT, "topic": f"{change.action}:{row['id']}:{uuid4()}"}

    @property
    def short(self) -> list[tuple[str, Any, Any]]:
        """Action, name before, name after."""
        return [(one.action, one.before and one.before["name"], one.after and one.after["name"]) for one in self.told]


TENANT = uuid4()
TOPICS = Prepared(select(TopicRow.topic).where(TopicRow.workspace_id == WORKSPACE), str)


@pytest.fixture
async def placement(databases: Databases, database_kind: Kind) -> AsyncIterator[SharedPlacement]:
    database = Database(await databases.shared(database_kind), DatabaseSettings(acquire_timeout_seconds=5))
    yield SharedPlacement(database)
    assert (database.readers.in_use, database.writers.in_use) == (0, 0)
    await database.close()


class Desk:
    """A unit of work with its auditor."""

    def __init__(self, placement: SharedPlacement) -> None:
        self.placement = placement
        self.kept = Kept()
        self.unit = UnitOfWork(placement, TENANT, self.kept)
        self.prefix = uuid4().hex[:12]

    async def account(self, name: str = "a") -> UUID:
        account_id = new_id()
        now = MovableClock().now()
        await self.unit.insert(
            AccountRow,
            id=account_id,
            # Nobody else may have an address.
            kind="person",
            name=f"{self.prefix}{name}",
            version=1,
            rights_epoch=0,
            must_change_password=False,
            created_at=now,
        )
        return account_id

    async def written(self, account_id: UUID) -> list[str]:
        topics = await ReadUnit(self.placement, TENANT).all(TOPICS)
        return [topic.partition(":")[0] for topic in topics if str(account_id) in topic]


@pytest.fixture
def desk(placement: SharedPlacement) -> Desk:
    return Desk(placement)


async def test_an_insertion_tells_the_whole_row(desk: Desk) -> None:
    account_id = await desk.account()
    await desk.unit.commit()
    (change,) = desk.kept.told
    assert (change.action, change.before) == ("created", None)
    assert change.after is not None
    assert set(change.after) == set(AccountRow.__table__.columns.keys())
    assert (change.after["id"], change.after["email"], change.after["version"]) == (account_id, None, 1)
    assert change.after["created_at"].tzinfo is not None
    assert await desk.written(account_id) == ["created"]


async def test_an_update_tells_the_row_before_and_after(desk: Desk) -> None:
    account_id = await desk.account()
    assert await desk.unit.update(AccountRow, {"id": account_id}, name="b", version=2) == 1
    await desk.unit.commit()
    change = desk.kept.told[1]
    assert change.before is not None
    assert change.after is not None
    assert (change.before["name"], change.after["name"]) == (f"{desk.prefix}a", "b")
    assert (change.before["version"], change.after["version"]) == (1, 2)
    assert await desk.written(account_id) == ["created", "updated"]


async def test_a_deletion_tells_the_whole_row(desk: Desk) -> None:
    account_id = await desk.account()
    assert await desk.unit.execute(Prepared(delete(AccountRow).where(AccountRow.id == ID)), id=account_id) == 1
    await desk.unit.commit()
    change = desk.kept.told[1]
    assert (change.action, change.after) == ("deleted", None)
    assert change.before is not None
    assert change.before["id"] == account_id


async def test_a_statement_for_many_rows_tells_each(desk: Desk) -> None:
    ids = {await desk.account(name) for name in "abc"}
    mine = AccountRow.name.startswith(PREFIX)
    changed = await desk.unit.execute(
        Prepared(update(AccountRow).where(mine).values(name=AccountRow.name + "!")), prefix=desk.prefix
    )
    removed = await desk.unit.execute(Prepared(delete(AccountRow).where(mine)), prefix=desk.prefix)
    assert (changed, removed) == (3, 3)
    updated = [change for change in desk.kept.told if change.action == "updated"]
    assert {change.before["id"] for change in updated if change.before} == ids
    assert all(
        change.before and change.after and change.after["name"] == change.before["name"] + "!" for change in updated
    )
    assert [change.action for change in desk.kept.told[6:]] == ["deleted"] * 3
    await desk.unit.rollback()


async def test_what_changes_no_row_tells_nothing(desk: Desk) -> None:
    account_id = await desk.account()
    stale = Prepared(update(AccountRow).where(AccountRow.id == ID, AccountRow.version == 7).values(name="x"))
    assert await desk.unit.execute(stale, id=account_id) == 0
    assert await desk.unit.execute(Prepared(delete(AccountRow).where(AccountRow.id == ID)), id=uuid4()) == 0
    assert [change.action for change in desk.kept.told] == ["created"]
    await desk.unit.rollback()


async def test_an_insertion_that_clashes_tells_nothing(desk: Desk) -> None:
    statement = Prepared(
        postgresql.insert(AccountRow)
        .values(
            id=ID,
            kind="visitor",
            name="a",
            version=1,
            rights_epoch=0,
            must_change_password=False,
            created_at=MovableClock().now(),
        )
        .on_conflict_do_nothing()
    )
    account_id = new_id()
    assert await desk.unit.execute(statement, id=account_id) == 1
    assert await desk.unit.execute(statement, id=account_id) == 0
    assert len(desk.kept.told) == 1
    await desk.unit.rollback()


class Renamed(msgspec.Struct):
    id: UUID
    version: int


async def test_results_of_the_statement_itself_come_out(desk: Desk) -> None:
    account_id = await desk.account()
    rename = update(AccountRow).where(AccountRow.id == ID).values(name="b", version=AccountRow.version + 1)
    whole = Prepared(rename.returning(AccountRow.id, AccountRow.version), Renamed)
    single = Prepared(rename.returning(AccountRow.version), int)
    assert await desk.unit.one(whole, id=account_id) == Renamed(account_id, 2)
    assert await desk.unit.first(single, id=account_id) == 3
    assert await desk.unit.first(single, id=uuid4()) is None
    assert desk.kept.short[1:] == [("updated", f"{desk.prefix}a", "b"), ("updated", "b", "b")]
    await desk.unit.rollback()


async def test_the_last_statement_of_a_unit_is_told_of_too(desk: Desk) -> None:
    account_id = await desk.account()
    await desk.unit.commit()
    statement = Prepared(update(AccountRow).where(AccountRow.id == ID).values(name="b").returning(AccountRow.name), str)
    assert await desk.unit.conclude(statement, id=account_id) == ["b"]
    await desk.unit.commit()
    assert await desk.written(account_id) == ["created", "updated"]


async def test_what_is_undone_to_a_savepoint_is_not_told_of(desk: Desk) -> None:
    taken = f"{desk.prefix}@example.org"
    account_id, other_id = await desk.account(), await desk.account("b")
    claim = update(AccountRow).where(AccountRow.id == ID).values(email=taken, password_hash="h")
    await desk.unit.execute(Prepared(claim), id=account_id)
    with pytest.raises(UniqueViolation):
        await desk.unit.conclude(Prepared(claim.returning(AccountRow.name), str), id=other_id)
    await desk.unit.commit()
    assert await desk.written(other_id) == ["created"]
    assert await desk.written(account_id) == ["created", "updated"]


async def test_what_is_rolled_back_is_not_told_of(desk: Desk) -> None:
    account_id = await desk.account()
    await desk.unit.rollback()
    await desk.unit.commit()
    assert await desk.written(account_id) == []


async def test_two_who_change_one_row_at_once_tell_a_story_that_fits(placement: SharedPlacement) -> None:
    first = Desk(placement)
    account_id = await first.account()
    await first.unit.commit()
    desks = [Desk(placement) for _ in range(6)]

    async def count_up(desk: Desk) -> None:
        for _ in range(10):
            await desk.unit.execute(COUNT_UP, id=account_id)
            await desk.unit.commit()

    await asyncio.gather(*(count_up(desk) for desk in desks))
    steps = sorted(
        (change.before["version"], change.after["version"])
        for desk in desks
        for change in desk.kept.told
        if change.before and change.after
    )
    assert steps == [(number, number + 1) for number in range(1, 61)]
    assert await ReadUnit(placement).all(VERSION, id=account_id) == [61]


async def test_an_update_of_an_audited_row_waits_for_nobody_who_refers_to_it(
    placement: SharedPlacement, database_kind: Kind
) -> None:
    """A foreign key of another transaction locks the row too, but not against this."""
    if database_kind == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    desk, other = Desk(placement), UnitOfWork(placement)
    account_id = await desk.account()
    await desk.unit.commit()
    now = MovableClock().now()
    await other.insert(
        SessionRow,
        id=new_id(),
        account_id=account_id,
        refresh_digest=uuid4().bytes,
        device="",
        address="",
        methods=[],
        created_at=now,
        authenticated_at=now,
        refreshed_at=now,
        expires_at=now,
    )
    await asyncio.wait_for(desk.unit.execute(COUNT_UP, id=account_id), 2)
    await desk.unit.rollback()
    await other.rollback()


async def test_without_an_auditor_nothing_is_told(placement: SharedPlacement) -> None:
    desk = Desk(placement)
    desk.unit = UnitOfWork(placement, TENANT)
    account_id = await desk.account()
    await desk.unit.commit()
    assert await desk.written(account_id) == []


# ------------------------------------------------------------------------------------------------- refusals

MEMBERS = select(MembershipRow.account_id)
WHERE = AccountRow.id == ID
IN_CTE = update(AccountRow).where(WHERE).values(name="x").returning(AccountRow.id).cte("changed")
REFUSED = {
    "within a WITH": select(IN_CTE.c.id),
    "a deletion within a WITH": select(delete(AccountRow).where(WHERE).returning(AccountRow.id).cte("gone").c.id),
    "an upsert": postgresql.insert(AccountRow)
    .values(id=ID)
    .on_conflict_do_update(index_elements=[AccountRow.id], set_={"name": "x"}),
    "an upsert of SQLite": sqlite.insert(AccountRow)
    .values(id=ID)
    .on_conflict_do_update(index_elements=[AccountRow.id], set_={"name": "x"}),
    "a join": update(AccountRow).where(AccountRow.id == MembershipRow.account_id).values(name="x"),
    "a change of the key": update(AccountRow).where(WHERE).values(id=bindparam("other", type_=Uuid())),
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_told_of_is_refused_where_it_is_written(statement: Executable) -> None:
    with pytest.raises(TypeError, match="is audited"):
        Prepared(statement)


def test_steps_of_sqlite_are_refused_where_one_is_audited() -> None:
    read = select(AccountRow.id).where(WHERE)
    with pytest.raises(TypeError, match="is audited"):
        Prepared(read, UUID, sqlite=(update(AccountRow).where(WHERE).values(name="x"), read))


def test_subqueries_are_welcome() -> None:
    newest = select(func.count()).select_from(MembershipRow).where(MembershipRow.account_id == AccountRow.id)
    changed = update(AccountRow).where(AccountRow.id.in_(MEMBERS)).values(version=newest.scalar_subquery())
    assert Prepared(changed).audited is not None
    assert Prepared(delete(AccountRow).where(AccountRow.id.in_(MEMBERS))).audited is not None
    assert Prepared(select(AccountRow.id, literal(1)).where(WHERE)).audited is None


async def test_an_update_with_subqueries_says_what_it_did(desk: Desk) -> None:
    account_id = await desk.account()
    mine = select(AccountRow.id).where(AccountRow.name.startswith(PREFIX))
    count = select(func.count()).select_from(AccountRow.__table__.alias("other")).where(literal(value=False))
    statement = Prepared(update(AccountRow).where(AccountRow.id.in_(mine)).values(version=5 + count.scalar_subquery()))
    assert await desk.unit.execute(statement, prefix=desk.prefix) == 1
    change = desk.kept.told[-1]
    assert change.before is not None
    assert change.after is not None
    assert (change.before["id"], change.before["version"], change.after["version"]) == (account_id, 1, 5)
    await desk.unit.rollback()


def test_a_model_that_names_what_it_has_not_is_refused() -> None:
    with pytest.raises(TypeError, match="no column"):

        class WrongRow(Auditable, MainBase):
            __tablename__ = "wrong_audited"
            __audit_secret__ = frozenset({"pass_word"})
            id: Mapped[UUID] = mapped_column(primary_key=True)

    MainBase.metadata.remove(MainBase.metadata.tables["wrong_audited"])
    with pytest.raises(TypeError, match="is no table"):

        class NoTable(Auditable):
            pass
