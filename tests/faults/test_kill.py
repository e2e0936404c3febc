"""A server that is killed in the middle of everything (`kill -9`): what was acknowledged is there, and told."""

import asyncio
import contextlib
import logging
import random
from uuid import uuid4

import httpx2
import pytest

from courtyard.kernel.http import API
from tests.faults.conftest import StartServer
from tests.faults.load import EVENTS_BEFORE, Load, Room, Server, check, check_heard, check_stored
from tests.processes import OwnRedis
from tests.services import Databases, Kind
from tests.sockets import Json

log = logging.getLogger(__name__)
pytestmark = pytest.mark.slow
ROUNDS = 25
ROUNDS_OF_TWO = 16
SENT_AT_ONCE = 20


@pytest.mark.usefixtures("quiet_logs")
async def test_nothing_is_lost_or_doubled(database_kind: Kind, databases: Databases, start_server: StartServer) -> None:
    server = await start_server(await databases.new(database_kind, migrated=False))
    rooms = [await Room.open(server) for _ in range(2)]
    loads = [Load(room, [server.url]) for room in rooms]
    async with contextlib.AsyncExitStack() as stack:
        listeners = [
            [await stack.enter_async_context(room.listener(server.url, staff=staff)) for staff in (False, True)]
            for room in rooms
        ]
        async with contextlib.AsyncExitStack() as running:
            for load in loads:
                await running.enter_async_context(load.run())
            for _ in range(ROUNDS):
                for load in loads:
                    await load.more(5)
                await asyncio.sleep(random.uniform(0, 0.4))
                await server.kill()
                await server.start()
        for load, heard in zip(loads, listeners, strict=True):
            await check(load, server.url, heard)
            assert min(listener.cuts for listener in heard) > 0
    assert server.faults == []
    log.info("%s: %s", "messages", sum(load.count for load in loads))
    log.info("%s: %s", "retries", sum(load.retries for load in loads))


@pytest.mark.services
async def test_another_process_tells_what_a_killed_one_could_not(
    databases: Databases, redis: OwnRedis, start_server: StartServer
) -> None:
    """In every second round Redis takes no signals, so that only the log knows of what the killed process wrote."""
    database = await databases.new("postgresql", migrated=False)
    one = await start_server(database, name="one", REDIS__URL=redis.url)
    other = await start_server(database, name="other", migrate=False, REDIS__URL=redis.url)
    room = await Room.open(one)
    acknowledged: list[Json] = []
    silent_rounds = 0
    async with room.listener(other.url) as listener, room.listener([one.url, other.url], staff=True) as wanderer:
        for number in range(ROUNDS_OF_TWO):
            silent = number % 2 == 1
            silent_rounds += silent
            if silent:
                await redis.command("ACL", "SETUSER", "default", "-publish")
            acknowledged += await _send_and_kill(room, one)
            await redis.command("ACL", "SETUSER", "default", "+publish")
            await listener.reach(max(message["number"] for message in acknowledged) + EVENTS_BEFORE)
            assert listener.cuts == 0
            await one.start()
        stored = await check_stored(room, other.url, acknowledged)
        await check_heard(room, other.url, stored, [listener, wanderer])
    found = await other.metric("courtyard_events_found_total")
    assert found >= silent_rounds
    assert one.faults + other.faults == []
    log.info("%s: %s", "messages", len(stored))
    log.info("%s: %s", "acknowledged", len(acknowledged))
    log.info("%s: %s", "found_by_sweep", found)


async def _send_and_kill(room: Room, server: Server) -> list[Json]:
    """Send many messages at once, kill the server when the first is acknowledged, and return those that were."""
    acknowledged: list[Json] = []
    first = asyncio.Event()
    async with httpx2.AsyncClient(base_url=server.url + API, trust_env=False, headers=room.visitor.headers) as client:

        async def send(number: int) -> None:
            new = {"text": f"message {number}", "client_message_id": str(uuid4())}
            with contextlib.suppress(httpx2.TransportError):
                response = await client.post(room.conversation.messages, json=new)
                assert response.status_code == 201, response.text
                acknowledged.append(response.json())
                first.set()

        async with asyncio.TaskGroup() as group:
            for number in range(SENT_AT_ONCE):
                group.create_task(send(number))
            await asyncio.wait_for(first.wait(), 30)
            await asyncio.sleep(random.uniform(0, 0.02))
            await server.kill()
    return acknowledged
