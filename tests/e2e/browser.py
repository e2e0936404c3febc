"""A real browser, told what to do over the DevTools protocol: Chromium, without a window."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import websockets

from tests.services import missing
from tests.sockets import Json

START_SECONDS = 60.0
ANSWER_SECONDS = 30.0
# What every call to `fetch` in a page looks like.
FETCH = """async (method, path, body, csrf) => {
    const headers = {...(body && {"Content-Type": "application/json"}), ...(csrf && {"X-CSRF-Token": csrf})};
    const answer = await fetch("/api/v1" + path, {method, headers, body: body && JSON.stringify(body)});
    return {status: answer.status, body: await answer.json().catch(() => null)};
}"""

IS_THERE = "url => document.readyState === 'complete' && location.href.startsWith(url)"


class ScriptFailed(Exception):
    """A script in a page has thrown something: its name and message."""


class Page:
    """A page in a browser profile of its own, without the cookies of others.

    Args:
        browser: the connection to the browser.
        session: of the protocol.
    """

    def __init__(self, browser: "Browser", session: str) -> None:
        self._browser = browser
        self._session = session

    async def command(self, method: str, **parameters: Json) -> Json:
        """Carry out a command of the protocol in this page."""
        return await self._browser.command(method, session=self._session, **parameters)

    async def open(self, url: str) -> None:
        """Go to an address and wait until scripts can run there."""
        await self.command("Page.enable")
        await self.command("Page.navigate", url=url)
        async with asyncio.timeout(ANSWER_SECONDS):
            # Asked again and again, because a navigation ends the page that would tell.
            while not await self.run(IS_THERE, url):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def run(self, function: str, *arguments: Json) -> Json:
        """Run a function of JavaScript in the page and return what it has returned, once that is there.

        Raises:
            ScriptFailed: it has thrown.
        """
        called = f"({function})(...{json.dumps(arguments)})"
        answer = await self.command(
            "Runtime.evaluate", expression=called, awaitPromise=True, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"].get("exception", {})
            raise ScriptFailed(thrown.get("description") or answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    async def fetch(self, method: str, path: str, body: Json = None, csrf: str | None = None) -> tuple[int, Json]:
        """Send a request from the page, with the cookies of its browser; return status and body."""
        answer = await self.run(FETCH, method, path, body, csrf)
        return answer["status"], answer["body"]


class Browser:
    """A running browser.

    Args:
        socket: the connection of the protocol.
    """

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket = socket
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[Json]] = {}

    async def listen(self) -> None:
        """Hand answers to those who wait for them, until the browser has gone."""
        # A browser that ends says no goodbye.
        with suppress(websockets.ConnectionClosedError):
            async for text in self._socket:
                message = json.loads(text)
                waiting = self._answers.pop(message.get("id"), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)

    async def command(self, method: str, *, session: str | None = None, **parameters: Json) -> Json:
        """Carry out a command of the protocol."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        sent: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        await self._socket.send(json.dumps(sent | ({"sessionId": session} if session else {})))
        message = await asyncio.wait_for(answer, ANSWER_SECONDS)
        assert "error" not in message, f"{method}: {message}"
        return message["result"]

    async def page(self) -> Page:
        """Open an empty page in a profile of its own."""
        profile = await self.command("Target.createBrowserContext")
        target = await self.command(
            "Target.createTarget", url="about:blank", browserContextId=profile["browserContextId"]
        )
        attached = await self.command("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        return Page(self, attached["sessionId"])


@asynccontextmanager
async def chromium(folder: Path, *, names: dict[str, str]) -> AsyncIterator[Browser]:
    """Start Chromium; skip the test where there is none.

    Args:
        folder: for its profile.
        names: host and port → where that is in truth. No other name can be looked up.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        missing("Chromium", "make browser")
    rules = ", ".join([f"MAP {name} {urlsplit(url).netloc}" for name, url in names.items()])
    process = await asyncio.create_subprocess_exec(
        program,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        f"--host-resolver-rules={rules}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={folder}",
        "--remote-debugging-port=0",
        "about:blank",
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stderr is not None
        address = await asyncio.wait_for(_address(process.stderr), START_SECONDS)
        # What it complains about is read, so that it never waits for somebody who does.
        reader = asyncio.create_task(process.stderr.read())
        async with websockets.connect(address, max_size=None, ping_interval=None) as socket:
            browser = Browser(socket)
            listener = asyncio.create_task(browser.listen())
            yield browser
            await browser.command("Browser.close")
            await asyncio.wait_for(listener, ANSWER_SECONDS)
        await reader
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _address(stream: asyncio.StreamReader) -> str:
    async for line in stream:
        _, said, address = line.decode(errors="replace").partition("DevTools listening on ")
        if said:
            return address.strip()
    raise AssertionError("Chromium has ended before it listened")
