import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typing_extensions import override

from courtyard import __version__
from courtyard.kernel.application import Application
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.workspaces import DatabaseIdentity
from courtyard.site.front import front_page
from tests.conftest import ServerFactory
from tests.running import make_settings
from tests.services import Kind


class Page(HTMLParser):
    """What a browser would fetch, and what a screen reader would find."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.attributes: dict[str, dict[str, str | None]] = {}
        self.feed(text)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes[tag] = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]


async def page(client: httpx2.AsyncClient, **options: Any) -> str:
    response = await client.get("/", **options)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    return response.text


async def test_it_says_what_runs_here(client: httpx2.AsyncClient, database_kind: Kind) -> None:
    text = await page(client)
    assert f"Version {__version__}" in text
    assert "<dt>chat</dt><dd>Visitors talk with volunteers and staff, live.</dd>" in text
    assert {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[database_kind] in text
    assert "<code>/socket.io</code>" in text
    assert "<code>/api/v1</code>" in text


async def test_every_link_leads_somewhere_on_this_server(client: httpx2.AsyncClient) -> None:
    links = [link for link in Page(await page(client)).links if not link.startswith("data:")]
    assert set(links) == {"/explorer", "/openapi.json", "/asyncapi.json", "/health/ready", "/health/live"}
    for link in links:
        assert (await client.get(link)).status_code == 200


async def test_it_needs_no_script_and_can_be_read_aloud(client: httpx2.AsyncClient) -> None:
    found = Page(await page(client))
    assert "script" not in found.tags
    assert found.attributes["html"] == {"lang": "en"}
    assert found.tags.count("h1") == found.tags.count("main") == 1
    assert "title" in found.tags


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": "Bearer forged"}, {"Authorization": "nonsense"}, {"Cookie": "courtyard_access=forged"}],
    ids=["bearer", "scheme", "cookie"],
)
@pytest.mark.parametrize("path", ["/", "/explorer", "/openapi.json", "/asyncapi.json", "/health/live", "/health/ready"])
async def test_a_login_that_does_not_count_is_no_obstacle(
    path: str, headers: dict[str, str], client: httpx2.AsyncClient
) -> None:
    assert (await client.get(path, headers=headers)).status_code == 200


async def test_without_applications(server_factory: ServerFactory) -> None:
    server = await server_factory()
    server.settings.__dict__["applications"] = ()
    async with server.client() as client:
        assert "Only the kernel runs." in await page(client)


def test_what_applications_say_is_text(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/x.sqlite3")
    rude = Application(name="chat", description="<script>alert(1)</script> & more $version")
    text = front_page(Runtime.create(settings, [rude], DatabaseIdentity())).decode()
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more $version" in text


async def test_headers_let_nothing_in_from_elsewhere(client: httpx2.AsyncClient) -> None:
    policy = (await client.get("/")).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert not re.search(r"script-src[^;]*unsafe", policy)
