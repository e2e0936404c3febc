"""The reverse proxy of `deploy/`: real nginx, real server processes, real sockets."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from tests.deploy.nginx import Nginx, filled
from tests.factories import problem
from tests.faults.load import Room, Server
from tests.kernel.telemetry.collector import collecting
from tests.services import Databases
from tests.sockets import Socket

LIMITED = {"LIMITS__ENABLED": "true", "LIMITS__POLICIES": "http.requests_by_address=20/minute"}

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture
async def server(databases: Databases, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A server process behind the proxy."""
    database = {"DATABASE__URL": await databases.new("sqlite"), "TELEMETRY__ACCESS_LOG": "true"}
    server = Server(tmp_path, "server", {**database, **getattr(request, "param", {})})
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def nginx(server: Server, tmp_path: Path) -> AsyncIterator[Nginx]:
    """The proxy."""
    nginx = Nginx(tmp_path / "nginx", [server.port])
    await nginx.start()
    yield nginx
    assert await nginx.stop() == 0


async def test_the_configuration_is_whole(tmp_path: Path) -> None:
    nginx = Nginx(tmp_path / "nginx", [8001, 8002])
    checked = await asyncio.create_subprocess_exec(*nginx.check, stderr=asyncio.subprocess.PIPE)
    _, told = await checked.communicate()
    assert (checked.returncode, told) == (0, b"")
    assert "${" not in filled({"COURTYARD_LISTEN": "80", "COURTYARD_SERVERS": "", "COURTYARD_BODY": "1m"}).replace(
        "${…}", ""
    )


async def test_requests_sockets_and_polling(server: Server, nginx: Nginx) -> None:
    room = await Room.open(server)
    slug, topic = room.conversation.workspace.slug, room.conversation.topic
    for transport in ("websocket", "polling"):
        socket = Socket(nginx.url)
        await socket.connect(room.visitor.token, transports=[transport])
        await socket.ok("subscribe", workspace=slug, topic=topic)
        async with httpx2.AsyncClient(base_url=nginx.url, headers=room.visitor.headers, trust_env=False) as client:
            new = {"text": f"by {transport}", "client_message_id": str(uuid4())}
            sent = await client.post(f"/api/v1{room.conversation.messages}", json=new)
            assert sent.status_code == 201
        (event,) = await socket.wait_for("event")
        assert event["data"]["message"]["text"] == f"by {transport}"
        await socket.close()


async def test_metrics_are_not_for_those_outside(server: Server, nginx: Nginx) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{server.url}/metrics")).status_code == 200
        assert (await client.get(f"{nginx.url}/metrics")).status_code == 404


@pytest.mark.parametrize("server", [LIMITED], indirect=True)
async def test_the_address_of_a_client_is_what_the_proxy_sees(nginx: Nginx) -> None:
    """Whoever makes up addresses is counted as who it is."""
    async with httpx2.AsyncClient(base_url=nginx.url, trust_env=False) as client:

        async def ask(number: int) -> httpx2.Response:
            forged = f"203.0.113.{number % 250}"
            headers = {"X-Forwarded-For": forged, "Forwarded": f"for={forged}", "X-Real-IP": forged}
            return await client.post("/api/v1/sessions/anonymous", json={"name": "V"}, headers=headers)

        statuses = [(await ask(number)).status_code for number in range(25)]
    assert statuses[0] == 201
    assert statuses[-1] == 429


async def test_bodies_have_a_bound_at_the_proxy_and_at_the_server(nginx: Nginx) -> None:
    async with httpx2.AsyncClient(base_url=nginx.url, trust_env=False) as client:
        by_server = await client.post("/api/v1/sessions/anonymous", json={"name": "x" * 1_100_000})
        problem(by_server, 413, "content_too_large")
        by_proxy = await client.post("/api/v1/sessions/anonymous", json={"name": "x" * 2_200_000})
        assert by_proxy.status_code == 413


async def test_a_trace_that_a_client_makes_up_ends_at_the_proxy(databases: Databases, tmp_path: Path) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with collecting() as collector:
        settings = {"DATABASE__URL": await databases.new("sqlite"), "TELEMETRY__TRACES__ENDPOINT": collector.url}
        server = Server(tmp_path, "server", settings)
        nginx = Nginx(tmp_path / "nginx", [server.port])
        await server.start()
        await nginx.start()
        async with httpx2.AsyncClient(base_url=nginx.url, trust_env=False) as client:
            await client.get("/api/v1/me", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        (span,) = [one for one in await collector.wait_for(lambda all_: len(all_) > 0) if one.kind == "server"]
        assert (span.parent, span.trace != trace) == ("", True)
        await nginx.stop()
        await server.close()
