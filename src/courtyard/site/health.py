"""Whether the process lives, and whether what it needs is there."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from courtyard.kernel.database import Database, DatabaseUnavailable
from courtyard.kernel.runtime import Runtime
from courtyard.site.errors import NotReady
from courtyard.site.preparation import pending_in
from courtyard.site.schemas import Check, Ready

# Balancers ask every few seconds and count a late answer as none.
CHECK_SECONDS = 2.0

# Finds out about one thing: whether it is well, and a few words. Raises where it does not answer.
_Look = Callable[[], Awaitable[tuple[bool, str]]]


async def readiness(runtime: Runtime) -> Ready:
    """Look at everything that is configured, all at once and for `CHECK_SECONDS` at the most.

    The databases of workspaces do not count: where one is away, the server is there for all other workspaces.

    Raises:
        NotReady: something does not answer, or a database is not up to date.
    """
    looks: dict[str, _Look] = {"database": _database(runtime, runtime.placement.main)}
    if runtime.redis is not None:
        looks["redis"] = _answers(runtime.redis.ping)
        looks["bus"] = _answers(runtime.bus.ping)
    checks = await asyncio.gather(*(_check(name, look) for name, look in looks.items()))
    if not all(check.ok for check in checks):
        raise NotReady(checks=checks)
    return Ready("ready", checks)


async def _check(name: str, look: _Look) -> Check:
    started = time.perf_counter()
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            ok, detail = await look()
    except TimeoutError:
        ok, detail = False, f"no answer within {CHECK_SECONDS:g} s"
    except (DatabaseUnavailable, RedisError, OSError) as error:
        # What a driver says may name hosts and users, and anybody may ask here.
        ok, detail = False, f"does not answer ({type(error).__name__})"
    return Check(name, ok, round((time.perf_counter() - started) * 1000, 2), detail)


def _database(runtime: Runtime, database: Database) -> _Look:
    async def look() -> tuple[bool, str]:
        states = await pending_in(runtime, database)
        if states:
            return False, f"not at the revisions of this code: {', '.join(state.module for state in states)}"
        return True, "SQLite" if database.is_sqlite else "PostgreSQL"

    return look


def _answers(ping: Callable[[], Awaitable[object]]) -> _Look:
    async def look() -> tuple[bool, str]:
        await ping()
        return True, "answers"

    return look
