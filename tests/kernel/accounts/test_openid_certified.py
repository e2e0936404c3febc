"""The same with an OpenID provider that others have written and certified, and with a real browser."""

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import httpx2
import pytest

from courtyard.kernel.http import API
from tests.chromium import chromium
from tests.conftest import ServerFactory
from tests.factories import PASSWORD, Factory, ok, unique
from tests.openid import fragment, location
from tests.running import RunningServer
from tests.services import missing

pytestmark = pytest.mark.node

JS = Path(__file__).parent / "js"
SECONDS = 30
CLIENT = {"client_id": "courtyard", "client_secret": "of the test: + % only"}
START = f"{API}/sessions/oidc/certified/start"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class CertifiedProvider:
    """The provider, in a process of its own.

    Attributes:
        issuer: its address. To a browser it is another site than the server.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self.issuer = f"http://localhost:{free_port()}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, redirect_uri: str) -> None:
        """Start it, with a key that it has never used, and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            self._node, "provider.mjs", self.issuer, *CLIENT.values(), redirect_uri, cwd=JS,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert await asyncio.wait_for(self._process.stdout.readline(), SECONDS) == b"listening\n"

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            await asyncio.wait_for(self._process.wait(), SECONDS)
            self._process = None


@pytest.fixture
async def provider() -> AsyncIterator[CertifiedProvider]:
    node = shutil.which("node")
    if node is None or not (JS / "node_modules" / "oidc-provider").is_dir():
        missing("npm package oidc-provider", "make node")
    started = CertifiedProvider(node)
    yield started
    await started.stop()


@pytest.fixture
async def server(server_factory: ServerFactory, provider: CertifiedProvider) -> RunningServer:
    certified = {"label": "Certified", "issuer": provider.issuer, **CLIENT}
    running = await server_factory(accounts={"oidc": {"certified": certified}})
    await provider.start(f"{running.url}{API}/sessions/oidc/certified/callback")
    return running


@pytest.fixture
async def http(server: RunningServer) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser without scripts."""
    async with server.network_client() as client:
        yield client


async def walk(http: httpx2.AsyncClient, server: RunningServer, address: str, name: str | None) -> str:
    """Log in at the provider under a name, or refuse to, as its pages want it; return where it sends one back to."""
    async with asyncio.timeout(SECONDS):
        while not address.startswith(server.url):
            answer = await http.get(address)
            while answer.is_success:
                page = unescape(answer.text)
                if name is None:
                    form = re.search(r'<a href="([^"]+)">\[ Cancel \]', page)
                    assert form is not None, page
                    answer = await http.get(urljoin(address, form[1]))
                    continue
                form = re.search(r'<form[^>]* action="([^"]+)"', page)
                prompt = re.search(r'name="prompt" value="(\w+)"', page)
                assert form is not None, page
                assert prompt is not None, page
                data = {"prompt": prompt[1], "login": name, "password": "any"}
                answer = await http.post(urljoin(address, form[1]), data=data)
            assert answer.has_redirect_location, answer.text
            address = urljoin(str(answer.request.url), answer.headers["location"])
    return address


async def log_in(server: RunningServer, http: httpx2.AsyncClient, name: str | None) -> str:
    start = location(await http.get(START, params={"return_to": "/inbox"}))
    return location(await http.get(await walk(http, server, start, name)))


async def test_logging_in(server: RunningServer, http: httpx2.AsyncClient) -> None:
    name = unique("ada")
    assert await log_in(server, http, name) == f"{server.url}/inbox"
    me = ok(await http.get(f"{API}/me"))
    assert (me["email"], me["name"]) == (f"{name}@example.org", name.capitalize())
    # Again, and this time without a page of the provider: it knows its own cookie.
    assert await log_in(server, http, None) == f"{server.url}/inbox"
    assert ok(await http.get(f"{API}/me"))["id"] == me["id"]
    assert len(ok(await http.get(f"{API}/sessions"))) == 2


async def test_saying_no(server: RunningServer, http: httpx2.AsyncClient) -> None:
    told = fragment(await log_in(server, http, None))
    assert told == {"error": "provider_refused", "reason": "access_denied"}


async def test_a_code_that_was_used_already(server: RunningServer, http: httpx2.AsyncClient) -> None:
    name = unique("ada")
    start = location(await http.get(START))
    back = await walk(http, server, start, name)
    # By somebody who has seen it: to them it is worth nothing, and to its owner neither, if they were quicker.
    used = httpx2.URL(back).params["code"]
    assert "error" not in fragment(location(await http.get(back)))
    start = location(await http.get(START))
    again = await walk(http, server, start, name)
    replayed = str(httpx2.URL(again).copy_set_param("code", used))
    assert fragment(location(await http.get(replayed))) == {"error": "provider_refused", "reason": "invalid_grant"}


async def test_the_provider_changes_its_key(
    server: RunningServer, http: httpx2.AsyncClient, provider: CertifiedProvider
) -> None:
    await log_in(server, http, unique("ada"))
    await provider.stop()
    assert fragment(location(await http.get(START))) == {}
    await provider.start(f"{server.url}{API}/sessions/oidc/certified/callback")
    async with server.network_client() as other:
        assert await log_in(server, other, unique("bob")) == f"{server.url}/inbox"


async def test_the_provider_is_away_when_one_comes_back(
    server: RunningServer, http: httpx2.AsyncClient, provider: CertifiedProvider
) -> None:
    back = await walk(http, server, location(await http.get(START)), unique("ada"))
    await provider.stop()
    assert fragment(location(await http.get(back))) == {"error": "provider_unavailable"}


async def test_linking(server: RunningServer, http: httpx2.AsyncClient) -> None:
    person = await Factory(server).person()
    login = {"email": person.email, "password": PASSWORD, "cookies": True}
    csrf = {"X-CSRF-Token": ok(await http.post(f"{API}/sessions", json=login))["csrf_token"]}
    begun = ok(await http.post(f"{API}/me/identities/certified", json={"return_to": "/account"}, headers=csrf))
    name = unique("ada")
    back = await walk(http, server, begun["authorization_url"], name)
    assert location(await http.get(back)) == f"{server.url}/account"
    (identity,) = ok(await http.get(f"{API}/me/identities"))
    assert identity["email"] == f"{name}@example.org"
    async with server.network_client() as other:
        await log_in(server, other, name)
        assert ok(await other.get(f"{API}/me"))["id"] == str(person.id)


@pytest.mark.slow
async def test_a_real_browser_goes_there_and_comes_back(
    server: RunningServer, provider: CertifiedProvider, tmp_path: Path
) -> None:
    name = unique("ada")
    async with chromium(tmp_path) as page:
        await page.open(f"{server.url}/")
        # As somebody does who presses a button that is a link.
        await page.run(
            f"const link = document.createElement('a'); link.href = '{START}?return_to=/explorer';"
            "document.body.append(link); link.click()"
        )
        await page.until(f"location.origin === '{provider.issuer}' && !!document.querySelector('[name=login]')")
        await page.run(
            f"document.querySelector('[name=login]').value = '{name}';"
            "document.querySelector('[name=password]').value = 'any';"
            "document.querySelector('form').requestSubmit()"
        )
        await page.until("document.querySelector('[name=prompt]')?.value === 'consent'")
        await page.run("document.querySelector('form').requestSubmit()")
        # From another site, with cookies that are `SameSite=Lax`.
        await page.until(f"location.href === '{server.url}/explorer' && document.readyState === 'complete'")
        me = await page.run(f"fetch('{API}/me').then(answer => answer.json())")
        assert me["email"] == f"{name}@example.org"
        readable = str(await page.run("document.cookie"))
        assert "courtyard_csrf=" in readable
        assert not any(hidden in readable for hidden in ("access", "refresh", "browser"))
        # And with an error, which the page is told of.
        await page.run(f"location.href = '{API}/sessions/oidc/certified/callback?state=made-up'")
        await page.until(f"location.href === '{server.url}/#error=invalid_challenge'")
