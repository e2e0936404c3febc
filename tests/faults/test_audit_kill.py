"""A server that is killed between a commit and the seal of its entries, and two servers that seal at once."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.factories import ok
from tests.faults.conftest import StartServer
from tests.faults.load import ProcessFactory, Server
from tests.processes import PROGRAM
from tests.services import Databases, Kind

pytestmark = pytest.mark.slow
CHANGES = 40
SECONDS = 20


async def change(client: httpx2.AsyncClient, count: int = CHANGES) -> None:
    for number in range(count):
        ok(await client.patch("/me", json={"name": f"Name {number}"}))


async def verified(server: Server, folder: Path) -> list[dict[str, Any]]:
    """Return what `courtyard audit verify` says."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "audit", "verify", "--json", env=server._environment, cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return [json.loads(line) for line in out.splitlines()]


async def sealed(server: Server, folder: Path, wanted: int) -> dict[str, Any]:
    """Return the chain of the installation, as soon as it is that long."""
    async with asyncio.timeout(SECONDS):
        while True:
            chains = await verified(server, folder)
            assert all(chain["sound"] for chain in chains), chains
            if chains and chains[0]["number"] >= wanted:
                return chains[0]
            await asyncio.sleep(0.2)


async def test_what_was_committed_before_a_kill_is_sealed_after_it(
    database_kind: Kind, databases: Databases, start_server: StartServer, tmp_path: Path
) -> None:
    database = await databases.new(database_kind, migrated=False)
    server = await start_server(database, AUDIT__SEAL_SECONDS="60")
    client = (await ProcessFactory(server).person()).http
    await change(client)
    assert all(chain["number"] == 0 for chain in await verified(server, tmp_path))
    await server.kill()
    server = await start_server(database, name="again", migrate=False, AUDIT__SEAL_SECONDS="0.05")
    # Created, logged in, and renamed again and again.
    assert (await sealed(server, tmp_path, CHANGES + 2))["number"] == CHANGES + 2
    await server.kill()


@pytest.mark.services
async def test_two_processes_seal_one_chain(databases: Databases, start_server: StartServer, tmp_path: Path) -> None:
    database = await databases.new("postgresql", migrated=False)
    one = await start_server(database, name="one", AUDIT__SEAL_SECONDS="0.01")
    other = await start_server(database, name="other", migrate=False, AUDIT__SEAL_SECONDS="0.01")
    clients = [(await ProcessFactory(server).person()).http for server in (one, other, one, other)]
    await asyncio.gather(*(change(client) for client in clients))
    wanted = len(clients) * (CHANGES + 2)
    assert (await sealed(one, tmp_path, wanted))["number"] == wanted
    assert one.faults + other.faults == []
