"""A new key takes over on servers that are busy: no request is refused, and at its date the old key is over."""

import asyncio
import base64
import json
import tomllib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest

from courtyard.kernel.settings_sources import new_key, rotate_secrets
from tests.e2e.test_conversation import serving, shared_settings
from tests.factories import ok
from tests.processes import PROGRAM, ServerProcess
from tests.services import Databases, RedisSpace

pytestmark = pytest.mark.slow


@pytest.fixture(params=["one process", pytest.param("two processes", marks=pytest.mark.services)])
async def servers(
    request: pytest.FixtureRequest, tmp_path: Path, databases: Databases
) -> AsyncIterator[list[ServerProcess]]:
    """Server processes that share the secrets of a data directory."""
    async with AsyncExitStack() as stack:
        settings: dict[str, str] = {}
        if request.param == "two processes":
            space = RedisSpace()
            await space.check()
            stack.push_async_callback(space.clear)
            settings = await shared_settings(databases, space)
        count = 2 if settings else 1
        yield [await stack.enter_async_context(serving(tmp_path, settings)) for _ in range(count)]


class Load:
    """Somebody who asks again and again, at every server, with each access token that was ever given out."""

    def __init__(self, servers: list[ServerProcess]) -> None:
        self.clients = [httpx2.AsyncClient(base_url=f"{server.url}/api/v1", timeout=20) for server in servers]
        self.tokens: list[str] = []
        self.refresh = ""
        self.requests = 0
        self.refused: list[str] = []
        self._running = True

    async def __aenter__(self) -> Self:
        self._take(ok(await self.clients[0].post("/sessions/anonymous", json={"name": "Vera"})))
        self._tasks = [asyncio.create_task(self._ask(client)) for client in self.clients]
        self._tasks.append(asyncio.create_task(self._renew()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running = False
        await asyncio.gather(*self._tasks)
        for client in self.clients:
            await client.aclose()

    def _take(self, login: dict[str, Any]) -> None:
        self.refresh = login["refresh_token"]
        self.tokens.append(login["access_token"])

    async def renew(self, client: httpx2.AsyncClient) -> None:
        self._take(ok(await client.post("/sessions/refresh", json={"refresh_token": self.refresh})))

    async def _renew(self) -> None:
        while self._running:
            for client in self.clients:
                await self.renew(client)
            await asyncio.sleep(0.3)

    async def until_key(self, key_id: str) -> None:
        """Go on until every server has signed with a key for a while."""
        async with asyncio.timeout(30):
            while {key_of(token) for token in self.tokens[-8:]} != {key_id}:  # noqa: ASYNC110 - the load goes on
                await asyncio.sleep(0.1)

    async def _ask(self, client: httpx2.AsyncClient) -> None:
        while self._running:
            for token in self.tokens[-20:] + self.tokens[:5]:
                await self.ask(client, token)

    async def ask(self, client: httpx2.AsyncClient, token: str) -> None:
        answer = await client.get("/me", headers={"Authorization": f"Bearer {token}"})
        self.requests += 1
        if not answer.is_success:
            self.refused.append(f"{key_of(token)}: {answer.status_code} {answer.text}")


def key_of(token: str) -> str:
    head = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


def keys_in(folder: Path) -> list[dict[str, Any]]:
    return list(tomllib.loads((folder / "data/secrets.toml").read_text())["signing_keys"])


async def refused_at(client: httpx2.AsyncClient, token: str) -> datetime:
    """Ask until a token is refused, and return when that was."""
    async with asyncio.timeout(20):
        while True:
            answer = await client.get("/me", headers={"Authorization": f"Bearer {token}"})
            if answer.status_code == 401:
                return datetime.now(UTC)
            ok(answer)
            await asyncio.sleep(0.02)


async def courtyard(server: ServerProcess, *arguments: str) -> str:
    """Run a command as the operator of a server."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, *arguments, env=server._environment, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return out.decode()


async def test_keys_are_rotated_under_load(servers: list[ServerProcess], tmp_path: Path) -> None:
    (old,) = keys_in(tmp_path)
    async with Load(servers) as load:
        for _ in range(2):
            await courtyard(servers[0], "keys", "rotate", "--lead", "3s")
        new, passed_over, dated = keys_in(tmp_path)
        assert dated["id"] == old["id"]
        await load.until_key(new["id"])
    assert load.refused == []
    assert load.requests > 100
    assert {key_of(token) for token in load.tokens} <= {old["id"], passed_over["id"], new["id"]}
    assert {key_of(token) for token in load.tokens} >= {old["id"], new["id"]}
    print(f"\n{load.requests} requests with {len(load.tokens)} tokens, none refused", end="")  # noqa: T201
    assert [server.faults for server in servers] == [[]] * len(servers)


async def test_at_its_date_a_key_is_over_and_people_stay_logged_in(
    servers: list[ServerProcess], tmp_path: Path
) -> None:
    (old,) = keys_in(tmp_path)
    load = Load(servers)
    async with load:
        pass
    token, now = load.tokens[0], datetime.now(UTC).replace(microsecond=0)
    retired = now + timedelta(seconds=4)
    # As the command does it, which would have an operator wait for an hour.
    key = {**new_key(generated=True), "not_before": now + timedelta(seconds=2)}
    rotate_secrets(tmp_path / "data", "signing_keys", key, retired, now)
    clients = [httpx2.AsyncClient(base_url=f"{server.url}/api/v1", timeout=20) for server in servers]
    for moment in await asyncio.gather(*(refused_at(client, token) for client in clients)):
        assert retired <= moment <= retired + timedelta(seconds=1)
    # The refresh token knows nothing of that key.
    login = ok(await clients[-1].post("/sessions/refresh", json={"refresh_token": load.refresh}))
    assert key_of(login["access_token"]) == key["id"]
    for client in clients:
        ok(await client.get("/me", headers={"Authorization": f"Bearer {login['access_token']}"}))
    # One that is in wrong hands is over at once.
    await courtyard(servers[0], "keys", "rotate", "--leaked")
    for client in clients:
        await refused_at(client, login["access_token"])
    login = ok(await clients[0].post("/sessions/refresh", json={"refresh_token": login["refresh_token"]}))
    assert key_of(login["access_token"]) == keys_in(tmp_path)[0]["id"] != old["id"]
    for client in clients:
        ok(await client.get("/me", headers={"Authorization": f"Bearer {login['access_token']}"}))
        await client.aclose()
