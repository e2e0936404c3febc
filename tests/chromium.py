"""A real browser without a screen, told what to do over the Chrome DevTools Protocol."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import httpx2
import websockets

from tests.services import missing
from tests.sockets import Json

SECONDS = 30.0
POLL_SECONDS = 0.05
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    # No name but those of this machine can be looked up: nothing comes from elsewhere.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--remote-debugging-port=0",
)


class Page:
    """The one page that is open."""

    def __init__(self, connection: websockets.ClientConnection) -> None:
        self._connection = connection
        self._numbers = count(1)

    async def tell(self, method: str, **parameters: Json) -> Json:
        """Give an order of the protocol and return its answer."""
        number = next(self._numbers)
        await self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(SECONDS):
            while (answer := json.loads(await self._connection.recv())).get("id") != number:
                pass
        return answer

    async def open(self, address: str) -> None:
        """Open an address, and wait until the page is there."""
        await self.tell("Page.navigate", url=address)
        await self.until(f"location.href.startsWith({json.dumps(address)}) && document.readyState === 'complete'")

    async def run(self, script: str) -> Json:
        """Return what an expression comes to in the page; None while there is none between two pages."""
        answer = await self.tell("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        return answer.get("result", {}).get("result", {}).get("value")

    async def until(self, condition: str) -> None:
        """Wait until an expression is true in the page."""
        deadline = asyncio.get_running_loop().time() + SECONDS
        while await self.run(condition) is not True:
            assert asyncio.get_running_loop().time() < deadline, f"{condition}: {await self.run('location.href')}"
            await asyncio.sleep(POLL_SECONDS)


@contextlib.asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Page]:
    """Start a browser that knows nothing yet, and end it.

    Args:
        folder: where it keeps what it learns.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing("Chromium", "make browser")
    browser = await asyncio.create_subprocess_exec(
        program,
        *OPTIONS,
        f"--user-data-dir={folder}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(SECONDS):
            port = await _port(folder / "DevToolsActivePort")
            address = await _address(port)
        async with websockets.connect(address, max_size=None, ping_interval=None) as connection:
            yield Page(connection)
    finally:
        browser.terminate()
        await asyncio.wait_for(browser.wait(), SECONDS)


async def _port(file: Path) -> int:
    while True:
        with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
            return int((await asyncio.to_thread(file.read_text)).splitlines()[0])
        await asyncio.sleep(POLL_SECONDS)


async def _address(port: int) -> str:
    async with httpx2.AsyncClient(trust_env=False) as client:
        while True:
            listed = (await client.get(f"http://127.0.0.1:{port}/json/list")).json()
            pages = [str(target["webSocketDebuggerUrl"]) for target in listed if target["type"] == "page"]
            if pages:
                return pages[0]
            await asyncio.sleep(POLL_SECONDS)
