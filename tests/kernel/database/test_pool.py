"""The pool: bounded, patient for a while, and never handing out what is broken."""

import asyncio
from typing import cast

import pytest

from courtyard.kernel.database import DatabaseUnavailable
from courtyard.kernel.database.drivers import Connection
from courtyard.kernel.database.pool import Pool


class Fake:
    """A connection that does nothing."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Opener:
    """Opens connections, as long as it is told to.

    Attributes:
        opened: all of them.
        fault: what happens instead.
        gate: whether opening may go on.
    """

    def __init__(self) -> None:
        self.opened: list[Fake] = []
        self.fault: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Connection:
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.opened.append(Fake())
        return cast("Connection", self.opened[-1])


@pytest.fixture
async def opener() -> Opener:
    return Opener()


@pytest.fixture
async def pool(opener: Opener) -> Pool:
    return Pool(opener, size=2, acquire_timeout_seconds=10)


@pytest.fixture
async def impatient(opener: Opener) -> Pool:
    return Pool(opener, size=2, acquire_timeout_seconds=0.02)


async def test_connections_are_opened_when_needed_and_used_again(pool: Pool, opener: Opener) -> None:
    assert opener.opened == []
    for _ in range(5):
        connection = await pool.acquire()
        assert pool.in_use == 1
        pool.release(connection)
    assert (len(opener.opened), pool.in_use) == (1, 0)


async def test_the_last_one_in_is_the_first_one_out(pool: Pool) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(first)
    pool.release(second)
    assert await pool.acquire() is second


async def test_no_more_are_open_than_allowed(pool: Pool, opener: Opener) -> None:
    async def use() -> int:
        connection = await pool.acquire()
        in_use = pool.in_use
        await asyncio.sleep(0)
        pool.release(connection)
        return in_use

    assert max(await asyncio.gather(*(use() for _ in range(50)))) == 2
    assert len(opener.opened) == 2


async def test_who_waits_gets_the_next_one_in_turn(pool: Pool) -> None:
    first, _ = await pool.acquire(), await pool.acquire()
    order: list[int] = []

    async def wait(number: int) -> None:
        connection = await pool.acquire()
        order.append(number)
        pool.release(connection)

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    pool.release(first)
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]


async def test_nobody_waits_for_ever(impatient: Pool) -> None:
    held = [await impatient.acquire() for _ in range(2)]
    with pytest.raises(DatabaseUnavailable) as refused:
        await impatient.acquire()
    assert refused.value.headers["Retry-After"]
    assert (impatient.waiting, impatient.refused) == (0, 1)
    for connection in held:
        impatient.release(connection)
    assert impatient.in_use == 0
    assert await impatient.acquire() in held


async def test_whoever_gives_up_while_waiting_takes_nothing_away(impatient: Pool) -> None:
    held = [await impatient.acquire() for _ in range(2)]
    waiting = asyncio.create_task(impatient.acquire())
    await asyncio.sleep(0)
    assert impatient.waiting == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    impatient.release(held.pop())
    await impatient.acquire()
    with pytest.raises(DatabaseUnavailable):
        await impatient.acquire()


async def test_whoever_gives_up_as_it_becomes_free_leaves_it_to_the_next(pool: Pool) -> None:
    held = [await pool.acquire() for _ in range(2)]
    given_up, patient = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.release(held.pop())
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    if not given_up.cancelled():
        pool.release(given_up.result())
    await patient
    assert pool.in_use == 2


async def test_whoever_gives_up_while_it_opens_leaves_room(pool: Pool, opener: Opener) -> None:
    opener.gate.clear()
    opening = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    for task in opening:
        task.cancel()
    await asyncio.gather(*opening, return_exceptions=True)
    assert pool.in_use == 0
    opener.gate.set()
    assert len([await pool.acquire(), await pool.acquire()]) == 2


async def test_a_database_that_cannot_be_reached_leaves_room(pool: Pool, opener: Opener) -> None:
    opener.fault = DatabaseUnavailable("No connection to the database.")
    for _ in range(5):
        with pytest.raises(DatabaseUnavailable):
            await pool.acquire()
    opener.fault = None
    assert len([await pool.acquire(), await pool.acquire()]) == 2


async def test_a_broken_connection_is_replaced(pool: Pool, opener: Opener) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(first)
    pool.release(second)
    # One breaks while it is idle, another while it is used.
    second.closed = True  # type: ignore[misc]
    again = await pool.acquire()
    assert again is first
    again.closed = True  # type: ignore[misc]
    pool.release(again)
    assert id(await pool.acquire()) == id(opener.opened[2])


async def test_in_the_place_of_a_lost_connection_comes_a_new_one(pool: Pool, opener: Opener) -> None:
    idle, lost = await pool.acquire(), await pool.acquire()
    pool.release(idle)
    replacement = await pool.replace()
    assert (id(replacement), idle.closed, pool.in_use) == (id(opener.opened[2]), True, 1)
    pool.release(replacement)
    assert await pool.acquire() is replacement
    assert id(lost) == id(opener.opened[1])


async def test_closing_closes_what_is_idle(pool: Pool) -> None:
    idle, used = await pool.acquire(), await pool.acquire()
    pool.release(idle)
    await pool.close()
    assert (idle.closed, used.closed) == (True, False)
