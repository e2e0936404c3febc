from typing import Any, cast

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from courtyard import __version__
from tests.conftest import ServerFactory
from tests.factories import Factory, problem
from tests.running import RunningServer
from tests.services import RedisSpace

TOKEN = "a-token-for-the-scraper"


async def scrape(client: httpx2.AsyncClient, **headers: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    response = await client.get("/metrics", headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = list(text_string_to_metric_families(response.text))
    assert len({family.name for family in families}) == len(families)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def labels(**named: str) -> frozenset[tuple[str, str]]:
    return frozenset(named.items())


def from_elsewhere(server: RunningServer) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(cast("Any", server.app), client=("203.0.113.7", 1))
    return httpx2.AsyncClient(transport=transport, base_url=server.url, trust_env=False)


async def test_requests_are_counted_by_the_template_of_their_route(make: Factory, client: httpx2.AsyncClient) -> None:
    workspace = await make.workspace()
    await workspace.owner.http.get(workspace.path)
    counted = await scrape(client)
    route = labels(method="GET", route="/api/v1/workspaces/{workspace}", status="200")
    assert counted["courtyard_request_answer_seconds_count", route] >= 1
    assert not any(workspace.slug in value for _, named in counted for _, value in named)


async def test_what_is_read_off_at_each_scrape(server: RunningServer, client: httpx2.AsyncClient) -> None:
    assert (await scrape(client))["courtyard_info", labels(version=__version__)] == 1
    readers = labels(database="database", pool="readers")
    pool = server.runtime.placement.main.readers
    # All of them, so that nothing in the background can hold one more or less while the page is made.
    held = [await pool.acquire() for _ in range(pool.size)]
    try:
        busy = await scrape(client)
    finally:
        for connection in held:
            pool.release(connection)
    idle = await scrape(client)
    assert busy["courtyard_database_connections_used", readers] == pool.size
    assert idle["courtyard_database_connections_used", readers] < pool.size
    assert idle["courtyard_database_connections_allowed", readers] == pool.size
    assert ("courtyard_database_connections_used", labels(database="database", pool="writers")) in idle
    assert ("courtyard_events_found_total", labels()) in idle
    # One process has nobody to send signals to.
    assert ("courtyard_bus_signals_dropped_total", labels()) not in idle


async def test_topics_that_are_listened_to(make: Factory, client: httpx2.AsyncClient) -> None:
    conversation = await make.conversation()
    before = (await scrape(client))["courtyard_topics_open", labels()]
    socket = await make.socket(conversation.visitor)
    await socket.ok("subscribe", workspace=conversation.workspace.slug, topic=conversation.topic)
    assert (await scrape(client))["courtyard_topics_open", labels()] == before + 1


async def test_without_a_token_only_this_machine_is_answered(server: RunningServer) -> None:
    async with from_elsewhere(server) as client:
        problem(await client.get("/metrics"), 404, "not_found")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_a_proxy_on_this_machine_asks_for_others(header: str, client: httpx2.AsyncClient) -> None:
    problem(await client.get("/metrics", headers={header: "127.0.0.1"}), 404, "not_found")


async def test_with_a_token_whoever_has_it_is_answered(server_factory: ServerFactory) -> None:
    server = await server_factory(telemetry={"metrics_token": TOKEN})
    async with from_elsewhere(server) as client:
        for shown in (None, TOKEN, f"Bearer {TOKEN}x", "Bearer", "Bearer ä"):
            headers = {} if shown is None else {"Authorization": shown.encode()}
            response = await client.get("/metrics", headers=headers)  # type: ignore[arg-type]
            problem(response, 401, "unauthenticated")
            assert response.headers["www-authenticate"] == "Bearer"
        await scrape(client, Authorization=f"Bearer {TOKEN}")


@pytest.mark.services
async def test_signals_that_were_dropped(redis_space: RedisSpace, server_factory: ServerFactory) -> None:
    server = await server_factory(redis={"url": redis_space.url, "prefix": redis_space.prefix})
    async with server.client() as client:
        assert (await scrape(client))["courtyard_bus_signals_dropped_total", labels()] == 0
