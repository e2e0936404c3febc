"""What it costs a request that somebody has to be signed in, to have a role, and not to ask too often."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Any, Final
from uuid import uuid4

import httpx2
import uvloop

from benchmarks.bench import Bench
from benchmarks.contest import BenchmarkError, Contestant, Reading
from benchmarks.databases import temporary_database
from courtyard.kernel.accounts import NewAccount, create_person
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database.migrator import upgrade
from courtyard.kernel.http import API, PUBLIC, get
from courtyard.kernel.settings import load_settings
from courtyard.server import Server

REDIS: Final = os.environ.get("COURTYARD_TEST_REDIS", "redis://127.0.0.1:6379/0")
PERMISSION: Final = "workspaces.member.read"
CHECKS: Final = "CPU ms more"
# So many of one kind before it is the turn of the other, so that both have the same weather.
STRETCH: Final = 200
# Everything is counted, and nothing refused.
LIMITS: Final = {"http.requests_by_account": "100000000/minute"}


@get("/benchmark", permission=PUBLIC)
async def unchecked(context: ReadContext) -> None:
    """Do nothing for anybody."""
    del context


@get("/workspaces/{workspace:str}/benchmark", permission=PERMISSION)
async def checked(context: ReadContext) -> None:
    """Do nothing for a member."""
    context.require(PERMISSION)


def checks(*, embedded: bool) -> Contestant:
    """Answer a request with every check and one without any, in turn, in this process."""

    def measure(bench: Bench) -> Reading:
        settings: dict[str, Any] = {
            "data_dir": bench.directory / f"checks-{uuid4().hex}",
            "telemetry": {"access_log": False},
        }
        with ExitStack() as stack:
            if not embedded:
                settings |= {
                    "database": {"url": stack.enter_context(temporary_database("checks"))},
                    "redis": {"url": REDIS, "prefix": f"benchmark-{uuid4().hex}"},
                    "accounts": {"session_store": "redis"},
                }
            return uvloop.run(_compare(settings, bench.seconds))

    return measure


async def _compare(settings: dict[str, Any], seconds: float) -> Reading:
    free = Server(load_settings(**settings, limits={"enabled": False}))
    full = Server(load_settings(**settings, limits={"policies": LIMITS}))
    free.http.register(unchecked)
    full.http.register(checked)
    try:
        await upgrade(full.runtime.placement.main, full.runtime.parts)
        await full.start()
        path, token = await _member(full)
        ask = {
            "unchecked": _asking(free, f"{API}/benchmark", None),
            "checked": _asking(full, path, token),
        }
        spent = dict.fromkeys(ask, 0.0)
        asked = 0
        end = time.monotonic() + seconds
        while asked == 0 or time.monotonic() < end:
            for kind, one in ask.items():
                started = time.process_time()
                for _ in range(STRETCH):
                    await one()
                spent[kind] += time.process_time() - started
            asked += STRETCH
    finally:
        await full.stop()
        await free.runtime.close()
    each = {kind: total / asked * 1_000 for kind, total in spent.items()}
    return {CHECKS: each["checked"] - each["unchecked"], **{f"CPU ms {kind}": each[kind] for kind in each}}


async def _member(server: Server) -> tuple[str, str]:
    """Return the path of the checked route in a workspace, and the token of its owner."""
    email, password = "owner@example.org", "a long and plain passphrase"
    context = Context(server.runtime, None, None, "benchmark")
    await create_person(context, NewAccount(email=email, name="Owner", password=password))
    await context.commit()
    transport: Any = httpx2.ASGITransport(server)  # type: ignore[arg-type]
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost" + API) as client:
        login = await client.post("/sessions", json={"email": email, "password": password})
        token = str(login.json()["access_token"])
        new = {"slug": "bench", "name": "Benchmarks"}
        made = await client.post("/workspaces", json=new, headers={"Authorization": f"Bearer {token}"})
    return f"{API}/workspaces/{made.json()['id']}/benchmark", token


def _asking(server: Server, path: str, token: str | None) -> Callable[[], Awaitable[None]]:
    """Return a call that sends one request straight into the server."""
    headers = [(b"host", b"localhost"), (b"accept", b"application/json")]
    if token is not None:
        headers.append((b"authorization", f"Bearer {token}".encode()))

    async def receive() -> Any:  # noqa: ANN401 - messages of ASGI
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:  # noqa: ANN401 - "
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise BenchmarkError(f"{path} answered {message['status']}")

    async def ask() -> None:
        scope: Any = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"", "headers": headers,
            "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8_000), "state": {},
        }  # fmt: skip
        await server(scope, receive, send)

    return ask
