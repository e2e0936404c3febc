"""What a metric is declared with, and that nobody can make up series."""

import secrets
from typing import cast

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from courtyard.kernel.telemetry import DECLARED, REGISTRY, Reading, counter, declared, histogram
from tests.factories import Factory
from tests.running import RunningServer


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A metric of this test's own, which is forgotten with it."""
    made = f"courtyard_sample_{secrets.token_hex(4)}"

    def forget() -> None:
        DECLARED.pop(made)
        if made in REGISTRY._names_to_collectors:
            REGISTRY.unregister(REGISTRY._names_to_collectors[made])

    request.addfinalizer(forget)  # noqa: PT021 - nothing is set up but a name
    return made


def test_a_series_whose_labels_are_known_begins_at_nothing(name: str) -> None:
    counter(name, "Samples.", outcome=("good", "bad"), size=("small", "large"))
    assert REGISTRY.get_sample_value(f"{name}_total", {"outcome": "bad", "size": "large"}) == 0


def test_a_name_is_declared_once(name: str) -> None:
    counter(name, "Samples.")
    with pytest.raises(ValueError, match="declared twice"):
        Reading(name, "gauge", "Samples.")


def test_a_histogram_has_a_bound_all_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "MOST_SERIES", 3)
    made = histogram(name, "Samples.", kind="Such as comes in.")
    for number in range(10):
        made.observe((str(number),), 1)
    assert REGISTRY.get_sample_value(f"{name}_count", {"kind": "(other)"}) == 7
    assert REGISTRY.get_sample_value(f"{name}_count", {"kind": "3"}) is None


async def scrape(client: httpx2.AsyncClient) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    text = (await client.get("/metrics")).text
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_nobody_can_make_up_series(make: Factory, server: RunningServer) -> None:
    visitor = await make.visitor()
    socket = await make.socket(visitor)

    async def disturb() -> None:
        made_up = secrets.token_hex(8)
        async with server.client() as client:
            await client.request(made_up.upper(), "/api/v1/me")
            await client.request(made_up.upper(), f"/{made_up}")
            await client.get(f"/api/v1/{made_up}")
            await client.get(f"/api/v1/workspaces/{made_up}", headers={"X-Request-ID": made_up})
            await client.get(f"/explorer/{made_up}?{made_up}={made_up}", headers={"Host": made_up})
        await socket.call(made_up, {made_up: made_up})
        await socket.call("subscribe", {"workspace": made_up, "topic": made_up})

    async with server.client() as client:
        await scrape(client)
        await disturb()
        before = await scrape(client)
        for _ in range(5):
            await disturb()
        assert await scrape(client) - before == set()


async def test_every_metric_that_is_scraped_is_declared(server: RunningServer) -> None:
    async with server.client() as client:
        families = list(text_string_to_metric_families((await client.get("/metrics")).text))
    scraped = {family.name: family for family in families if not family.name.startswith("courtyard_process_")}
    assert set(scraped) <= set(DECLARED)
    assert {"courtyard_request_answer_seconds", "courtyard_database_connections_waited_for"} <= set(scraped)
    for one, family in scraped.items():
        assert family.type == DECLARED[one].kind
        said = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert said <= set(cast("dict[str, object]", DECLARED[one].labels))
