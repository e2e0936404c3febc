import asyncio
import re
import shutil
from pathlib import Path

import httpx2
import pytest

from tests.factories import problem
from tests.running import RunningServer
from tests.services import missing

SECONDS = 60


async def test_the_page_brings_its_files_from_here(client: httpx2.AsyncClient) -> None:
    page = await client.get("/explorer")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 5
    for link in links:
        response = await client.get(link)
        assert response.status_code == 200, link
        assert response.content
    # The policy of the server lets no script run that stands in a page.
    assert re.findall(r"<script[^>]*>([^<]*)</script>", page.text) == ["", ""]


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("favicon-32x32.png", "image/png"),
        ("explorer.js", "text/javascript; charset=utf-8"),
    ],
)
async def test_files_are_sent_once(name: str, media_type: str, client: httpx2.AsyncClient) -> None:
    first = await client.get(f"/explorer/{name}")
    assert first.headers["content-type"] == media_type
    again = await client.get(f"/explorer/{name}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["index.html", "explorer.html", "..%2Froutes.py", "..%2f..%2f__init__.py", "%00"])
async def test_no_other_file_is(name: str, client: httpx2.AsyncClient) -> None:
    problem(await client.get(f"/explorer/{name}"), 404, "not_found")


@pytest.mark.slow
async def test_it_shows_the_operations_in_a_browser(server: RunningServer, tmp_path: Path) -> None:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing("Chromium", "make browser")
    # No name but this machine's can be looked up: nothing comes from elsewhere.
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=10000",
        "--enable-logging=stderr",
        "--dump-dom",
    ]
    browser = await asyncio.create_subprocess_exec(
        program, *options, f"{server.url}/explorer", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(browser.communicate(), SECONDS)
    page = out.decode()
    assert "Log in with a password" in page
    assert "Write in a conversation" in page
    assert "What every answer has in common" in page
    assert "Content Security Policy" not in err.decode()
