"""Password hashes: a few at a time, off the loop."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from courtyard.kernel import passwords as module
from courtyard.kernel.errors import Unavailable
from courtyard.kernel.passwords import Passwords


def cheap(*, time_cost: int = 1, workers: int = 2) -> Passwords:
    return Passwords(time_cost=time_cost, memory_kib=64, parallelism=1, workers=workers)


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = cheap()
    yield made
    made.close()


async def test_a_password_belongs_to_its_hash(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse battery")
    assert stored.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert "horse" not in stored
    assert await passwords.verify(stored, "correct horse battery")
    assert not await passwords.verify(stored, "correct horse batterz")
    assert not await passwords.verify(stored, "")


async def test_two_hashes_of_a_password_differ(passwords: Passwords) -> None:
    assert await passwords.hash("same") != await passwords.hash("same")


@pytest.mark.parametrize("stored", ["", "plain text", "$argon2id$broken", "$2b$12$" + "x" * 53])
async def test_what_is_no_hash_matches_nothing(passwords: Passwords, stored: str) -> None:
    assert not await passwords.verify(stored, stored)


async def test_where_there_is_no_hash_nothing_matches(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "the password of nobody")


async def test_no_hash_takes_as_long_as_a_hash(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    hasher = passwords._hasher

    class Watched:
        @staticmethod
        def verify(stored: str, given: str) -> None:
            checked.append(stored)
            hasher.verify(stored, given)

    monkeypatch.setattr(passwords, "_hasher", Watched())
    assert not await passwords.verify(None, "whatever")
    (stored,) = checked
    assert hasher.check_needs_rehash(stored) is False


async def test_a_hash_of_other_parameters_is_outdated(passwords: Passwords) -> None:
    stored = await passwords.hash("whatever")
    harder = cheap(time_cost=2)
    assert not passwords.is_outdated(stored)
    assert harder.is_outdated(stored)
    assert await harder.verify(stored, "whatever")
    harder.close()


async def test_only_so_many_at_once_and_off_the_loop(passwords: Passwords) -> None:
    threads: set[int] = set()
    running: list[int] = []
    most: list[int] = []

    def work() -> None:
        threads.add(threading.get_ident())
        running.append(1)
        most.append(len(running))
        time.sleep(0.005)
        running.pop()

    await asyncio.gather(*(passwords._run(work) for _ in range(8)))
    assert max(most) <= 2
    assert threading.get_ident() not in threads


async def test_too_many_who_wait_are_refused(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 4)
    go = threading.Event()
    waiting = [asyncio.ensure_future(passwords._run(go.wait)) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable) as refused:
        await passwords.hash("one too many")
    assert refused.value.headers["Retry-After"] == "2"
    go.set()
    await asyncio.gather(*waiting)
    assert await passwords.hash("now there is room")


async def test_who_gives_up_makes_room(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    go = threading.Event()
    waiting = asyncio.ensure_future(passwords._run(go.wait))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    go.set()
    assert await passwords.hash("there is room")
