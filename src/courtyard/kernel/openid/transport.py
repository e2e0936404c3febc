"""HTTP to a provider: bounded in time and size, and never further than to the address that was asked."""

import asyncio
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TypeVar

import httpx2
import msgspec

from courtyard.kernel.openid.errors import InvalidProviderAnswer, ProviderAway

MAX_BYTES = 262_144
TOO_MANY_REQUESTS = 429
SERVER_ERRORS = 500

T = TypeVar("T")


class Reply(msgspec.Struct, frozen=True):
    """An answer over HTTP, complete."""

    status: int
    media_type: str
    body: bytes

    def decode(self, kind: type[T]) -> T:
        """Return the JSON of the body.

        Raises:
            InvalidProviderAnswer: it is none, or not of this kind.
        """
        if not (self.media_type == "application/json" or self.media_type.endswith("+json")):
            raise InvalidProviderAnswer("not_json")
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidProviderAnswer("malformed") from error


class Transport:
    """Asks providers. Its connections are opened when they are needed, and kept for a moment."""

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None

    async def ask(
        self,
        url: str,
        seconds: float,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a request and return the whole answer.

        Args:
            url: where to.
            seconds: the longest time for all of it.
            form: what to post; None to get.
            headers: of the request.

        Raises:
            ProviderAway: no answer in this time, or one that says to come again.
            InvalidProviderAnswer: it is too long, compressed although that was not asked for, or leads elsewhere.
        """
        if self._client is None:
            # What a provider remembers of one person is not to be told it with the next.
            no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
            self._client = httpx2.AsyncClient(follow_redirects=False, timeout=None, cookies=no_cookies)
        # What is compressed may be a thousand times longer than what has been counted.
        asked = {"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})}
        method = "GET" if form is None else "POST"
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream(method, url, data=form, headers=asked) as response,
            ):
                if response.is_redirect:
                    raise InvalidProviderAnswer("redirect")
                if response.status_code >= SERVER_ERRORS or response.status_code == TOO_MANY_REQUESTS:
                    raise ProviderAway
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise InvalidProviderAnswer("compressed")
                body = bytearray()
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise InvalidProviderAnswer("too_large")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as error:
            raise ProviderAway from error
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Reply(response.status_code, media_type, bytes(body))

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.aclose()
