"""Who may do what, and who did it: what that costs a change."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import uvloop
from sqlalchemy import BigInteger, String, Uuid, bindparam, select, update

from benchmarks.bench import Bench
from benchmarks.checks import CHECKS, checks
from benchmarks.contest import OURS, Bar, Contestant, Reading, Work
from benchmarks.databases import temporary_database
from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.application import installed
from courtyard.kernel.database import INSTALLATION, Database, Prepared, SharedPlacement, UnitOfWork
from courtyard.kernel.database.migrator import upgrade
from courtyard.kernel.ids import new_id
from courtyard.kernel.settings import DatabaseSettings
from courtyard.kernel.trail import AuditEntryRow, AuditNames, Described, Origin, Recorder
from courtyard.server import KERNEL

UNAUDITED: Final = "unaudited"
MICROSECONDS: Final = "us each"
# So many at a time before the clock is read: it takes turns in short stretches, so that both have the same weather.
STRETCH: Final = 50
PARTS: Final = [*KERNEL, *installed(["chat"])]
NAMES: Final = AuditNames(PARTS)

RENAME: Final = Prepared(
    update(AccountRow)
    .where(
        AccountRow.id == bindparam("id", type_=Uuid(), required=True),
        AccountRow.version == bindparam("seen", type_=BigInteger(), required=True),
    )
    .values(name=bindparam("name", type_=String(), required=True), version=AccountRow.version + 1)
)
COUNT: Final = Prepared(select(AuditEntryRow.id).limit(1), UUID, across_workspaces=True)
# What a browser sends.
HEADERS: Final = {
    "host": "courtyard.example.org",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "accept": "application/json",
    "accept-language": "en-GB,en;q=0.5",
    "accept-encoding": "gzip, deflate, br, zstd",
    "content-type": "application/json",
    "authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJjb3VydHlhcmQifQ.c2lnbmF0dXJl",
}
REQUEST: Final = Described(
    method="PATCH", url="/api/v1/me", headers=HEADERS, body={"name": "Other name"}, address="192.0.2.7"
)


def update_of_one_row(*, audited: bool, embedded: bool) -> Contestant:
    """Rename an account in a transaction of its own, again and again, one after the other."""

    def measure(bench: Bench) -> Reading:
        if embedded:
            path = bench.directory / f"audit-{new_id().hex}.sqlite3"
            return uvloop.run(_rename(f"sqlite:///{path}", bench.seconds, audited=audited))
        with temporary_database("audit") as address:
            return uvloop.run(_rename(address, bench.seconds, audited=audited))

    return measure


async def _rename(address: str, seconds: float, *, audited: bool) -> Reading:
    database = Database(address, DatabaseSettings())
    try:
        await upgrade(database, PARTS)
        placement = SharedPlacement(database)
        account_id = new_id()
        unit = UnitOfWork(placement)
        await unit.insert(
            AccountRow,
            id=account_id,
            kind="visitor",
            name="Name",
            version=1,
            rights_epoch=0,
            must_change_password=False,
            created_at=datetime.now(UTC),
        )
        await unit.commit()
        version = 1

        async def rename() -> None:
            nonlocal version
            recorder = Recorder(
                NAMES, _now, INSTALLATION, ("person", account_id), Origin("http", lambda: REQUEST), "0" * 32
            )
            unit = UnitOfWork(placement, INSTALLATION, recorder if audited else None)
            changed = await unit.execute(RENAME, id=account_id, seen=version, name=f"Name {version}")
            await unit.commit()
            assert changed == 1  # noqa: S101 - or nothing has been measured
            version += 1

        reading = {MICROSECONDS: await _median(rename, seconds)}
        assert bool(await database.fetch(COUNT, {})) == audited  # noqa: S101 - "
        return reading
    finally:
        await database.close()


def _now() -> datetime:
    return datetime.now(UTC)


async def _median(work: Callable[[], Awaitable[None]], seconds: float) -> float:
    """Return the microseconds that a piece of work takes: the median over short stretches of it."""
    stretches: list[float] = []
    for _ in range(STRETCH):
        await work()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        for _ in range(STRETCH):
            await work()
        stretches.append((time.perf_counter() - started) / STRETCH)
    return sorted(stretches)[len(stretches) // 2] * 1e6


WORKS: Final = (
    Work(
        "update of one row, audited (PostgreSQL)",
        {
            OURS: update_of_one_row(audited=True, embedded=False),
            UNAUDITED: update_of_one_row(audited=False, embedded=False),
        },
        (Bar(MICROSECONDS, UNAUDITED, at_most=1.5),),
    ),
    Work(
        "update of one row, audited (SQLite)",
        {
            OURS: update_of_one_row(audited=True, embedded=True),
            UNAUDITED: update_of_one_row(audited=False, embedded=True),
        },
        # For information: the bar is on PostgreSQL. Here the update alone takes 0.2 ms, of which writing is the least.
        (Bar(MICROSECONDS, UNAUDITED),),
    ),
    *(
        Work(f"session, role and limit ({where})", {OURS: checks(embedded=embedded)}, (Bar(CHECKS, at_most=0.25),))
        for where, embedded in (("SQLite", True), ("PostgreSQL and Redis", False))
    ),
)
