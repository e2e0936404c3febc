"""One message to one receiver: the address that was resolved and checked is the one that is dialled."""

import asyncio
import socket
import time
from collections.abc import Sequence
from datetime import datetime
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
import msgspec

from courtyard import __version__
from courtyard.kernel.settings import Settings
from courtyard.kernel.telemetry import current_traceparent, span
from courtyard.kernel.webhooks import rules

# What is kept of an answer, and of the names and values of its headers.
MAX_BODY: Final = 4_096
MAX_HEADERS: Final = 40
MAX_HEADER: Final = 500


class Outcome(msgspec.Struct, frozen=True):
    """What was sent, where to, and what came back."""

    url: str
    request_headers: dict[str, str]
    status: int | None
    response_headers: dict[str, str]
    response_body: str
    error: str | None
    milliseconds: int


class Unreachable(Exception):
    """Nothing may be sent to this address, or it has none."""


async def send(
    settings: Settings, url: str, keys: Sequence[str], delivery_id: UUID, moment: datetime, body: str
) -> Outcome:
    """Send a message once, and return what came of it, whatever that is.

    Args:
        settings: of the process.
        url: where to.
        keys: the secrets to sign with, the newest first.
        delivery_id: by which the receiver knows it again.
        moment: of the attempt.
        body: JSON.
    """
    identifier = rules.message_id(delivery_id)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"Courtyard/{__version__} (webhooks)",
        "Accept-Encoding": "identity",
        "webhook-id": identifier,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": rules.signature(keys, identifier, moment, body),
    }
    status: int | None = None
    answer: dict[str, str] = {}
    text, error = "", None
    started = time.perf_counter()
    with span("webhook.send", "client") as sent:
        if (traceparent := current_traceparent()) is not None:
            headers["traceparent"] = traceparent
        try:
            async with asyncio.timeout(settings.webhooks.timeout_seconds):
                status, answer, text = await _post(settings, url, headers, body)
            sent.set("http.response.status_code", status)
        except TimeoutError:
            error = f"no answer within {settings.webhooks.timeout_seconds:g} s"
            sent.fail("timeout")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, Unreachable) as fault:
            error = f"{type(fault).__name__}: {fault}"[:300]
            sent.fail(type(fault).__name__)
    milliseconds = round((time.perf_counter() - started) * 1_000)
    return Outcome(url, headers, status, answer, text, error, milliseconds)


async def _post(settings: Settings, url: str, headers: dict[str, str], body: str) -> tuple[int, dict[str, str], str]:
    target = httpx2.URL(url)
    address = await _resolve(settings, url)
    # The name stays in the certificate's check and in `Host`; a connection is for one message, so that none is used
    # for another name at the same address.
    async with (
        httpx2.AsyncClient(trust_env=False, timeout=None, follow_redirects=False) as client,
        client.stream(
            "POST",
            target.copy_with(host=address),
            content=body.encode(),
            headers={**headers, "Host": target.netloc.decode("ascii")},
            extensions={"sni_hostname": target.host},
        ) as response,
    ):
        text = bytearray()
        async for chunk in response.aiter_raw():
            text += chunk
            if len(text) >= MAX_BODY:
                break
        kept = {name: value[:MAX_HEADER] for name, value in list(response.headers.items())[:MAX_HEADERS]}
        return response.status_code, kept, bytes(text[:MAX_BODY]).decode(errors="replace").replace("\x00", "\ufffd")


async def _resolve(settings: Settings, url: str) -> str:
    """Return the address to dial.

    Raises:
        Unreachable: there is none, or one of them is not to be told anything: a name that means two things is refused.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise Unreachable("the name has no address") from error
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    allowed = rules.networks(settings.webhooks.allowed_networks)
    if not addresses or not all(rules.is_reachable(ip_address(each), allowed) for each in addresses):
        raise Unreachable("the name leads into a private network")
    return addresses[0]
