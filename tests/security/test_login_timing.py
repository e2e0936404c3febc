"""Nobody can tell by the time, or by what the database does, whether an address has an account.

What is held is what makes the times alike: the same statements, as many hashes. The times themselves depend on the
machine, so they are measured and printed (`pytest -s -m slow tests/security/test_login_timing.py`), and hold nothing.
"""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import httpx2
import pytest

from courtyard.kernel.database import Prepared, UnitOfWork
from courtyard.kernel.database.database import Database
from courtyard.kernel.passwords import Passwords
from courtyard.kernel.settings import SecuritySettings
from tests.conftest import ServerFactory
from tests.factories import Factory, unique

SAMPLES = 40
SHAPES: dict[str, Callable[[str], tuple[str, dict[str, str]]]] = {
    "login": lambda email: ("/sessions", {"email": email, "password": "wrong horse battery"}),
    "registration": lambda email: (
        "/accounts",
        {"email": email, "password": "correct horse battery", "name": "Ada"},
    ),
    "password reset": lambda email: ("/password-resets", {"email": email}),
    "login by mail": lambda email: ("/sessions/email", {"email": email}),
}
shapes = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture
async def make(server_factory: ServerFactory) -> AsyncIterator[Factory]:
    """A server that delivers no mail meanwhile: what happens after the answer is not measured."""
    factory = Factory(await server_factory(tasks={"runner": "worker"}, audit={"seal_seconds": 60}))
    yield factory
    await factory.close()


async def attempt(nobody: httpx2.AsyncClient, shape: str, email: str) -> httpx2.Response:
    path, body = SHAPES[shape](email)
    return await nobody.post(path, json=body)


def stranger() -> str:
    # As long as the address of somebody who is there.
    return f"{unique('person')}@example.org"


class Recorder:
    """What was done on behalf of a request."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        # The application is called in the task of the test; deliveries and the like have tasks of their own.
        self._task = asyncio.current_task()
        for method in ("all", "execute"):
            self._record(monkeypatch, UnitOfWork, method)
        self._record(monkeypatch, Database, "fetch")
        for method in ("hash", "verify", "strength"):
            self._count(monkeypatch, Passwords, method)

    def _note(self, what: str) -> None:
        if asyncio.current_task() is self._task:
            self.done.append(what)

    def _record(self, monkeypatch: pytest.MonkeyPatch, kind: type, method: str) -> None:
        original: Callable[..., Awaitable[Any]] = getattr(kind, method)

        async def recorded(unit: Any, statement: Prepared[Any], *args: Any, **values: Any) -> Any:  # noqa: ANN401
            self._note(f"{method}: {statement._statement}")
            return await original(unit, statement, *args, **values)

        monkeypatch.setattr(kind, method, recorded)

    def _count(self, monkeypatch: pytest.MonkeyPatch, kind: type, method: str) -> None:
        original: Callable[..., Awaitable[Any]] = getattr(kind, method)

        async def counted(*args: Any) -> Any:  # noqa: ANN401
            self._note(method)
            return await original(*args)

        monkeypatch.setattr(kind, method, counted)


@shapes
async def test_an_unknown_address_makes_the_same_work(
    make: Factory, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await make.person()
    assert person.email is not None
    done = {}
    recorder = Recorder(monkeypatch)
    for who, email in (("known", person.email), ("unknown", stranger())):
        recorder.done = []
        answer = await attempt(make.nobody, shape, email)
        done[who] = (answer.status_code, recorder.done)
    assert done["known"] == done["unknown"]
    assert len(done["known"][1]) > 1


def quartiles(values: Sequence[float]) -> str:
    first, median, third = statistics.quantiles(values, n=4)
    return f"{median * 1000:7.2f} ({first * 1000:.2f}-{third * 1000:.2f}) ms"


def overlap(known: Sequence[float], unknown: Sequence[float]) -> float:
    """Return how well the times tell one from the other: 0.5 is not at all, 0 or 1 always (area under the ROC)."""
    pairs = [(one > other) + 0.5 * (one == other) for one in known for other in unknown]
    return sum(pairs) / len(pairs)


@pytest.mark.slow
@shapes
async def test_the_times_are_measured(server_factory: ServerFactory, database_kind: str, shape: str) -> None:
    real = SecuritySettings.model_fields
    security = {name: real[f"argon2_{name}"].default for name in ("time_cost", "memory_kib", "parallelism")}
    server = await server_factory(
        security={f"argon2_{name}": value for name, value in security.items()}, tasks={"runner": "worker"}
    )
    make = Factory(server)
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    people = [f"{unique('person')}@example.org" for _ in range(SAMPLES)]
    for email in people:
        await make.account(email, "Ada")
    # In any order, so that a machine that becomes slower is none of their doing; the first of each warms up.
    order = [(who, email) for email in people for who in times]
    random.shuffle(order)
    for who, email in order:
        started = time.perf_counter()
        await attempt(make.nobody, shape, email if who == "known" else stranger())
        times[who].append(time.perf_counter() - started)
    known, unknown = times["known"][2:], times["unknown"][2:]
    print(  # noqa: T201 - the figures are the point
        f"\n{database_kind:<10} {shape:<14} known {quartiles(known)}, unknown {quartiles(unknown)}, "
        f"told apart {overlap(known, unknown):.2f}",
        end="",
    )
    await make.close()
    assert len(known) == len(unknown) == SAMPLES - 2
