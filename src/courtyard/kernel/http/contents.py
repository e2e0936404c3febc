"""Answers that are bytes of a file: whole, in part, or not at all where the client has them (RFC 9110, 13 and 14)."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import TypeAlias
from urllib.parse import quote

import structlog
from litestar.types import Receive, Scope, Send

from courtyard.kernel.errors import Unavailable
from courtyard.kernel.http.errors import RangeNotSatisfiable
from courtyard.kernel.http.exchange import StrictRequest
from courtyard.kernel.http.sending import while_there
from courtyard.kernel.telemetry import FILE_BYTES

log = structlog.get_logger()

OK, PARTIAL, NOT_MODIFIED = 200, 206, 304
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
_UNSAFE = re.compile(r'[^ !#-\[\]-~]|[%"\\]')
# Nothing in a file runs, loads, or is taken for a page of this server, even where a browser shows it.
SANDBOX = b"sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'"
# The viewers of browsers do not work in a sandbox. What is no page cannot use what this leaves out.
VIEWED = b"default-src 'none'; style-src 'unsafe-inline'; object-src 'self'"

Headers: TypeAlias = list[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True)
class Content:
    """The bytes of a file, as an answer.

    Attributes:
        read: returns those from a position up to and without another. Called once.
        size: how many there are.
        tag: other bytes have another one; visible ASCII without quotes.
        modified_at: when they were written.
        content_type: what they are.
        filename: under which a browser stores them.
        inline: whether a browser may show them. Only for what it does not run.
        viewed: whether it shows them in a viewer of its own (PDF).
        cache: the value of `Cache-Control`.
    """

    read: Callable[[int, int], AsyncIterator[bytes]]
    size: int
    tag: str
    modified_at: datetime
    content_type: str
    filename: str
    inline: bool
    viewed: bool
    cache: str


class ContentResponse:
    """Sends what of a content a request asks for.

    Raises:
        RangeNotSatisfiable: it asks for what is behind the end.
    """

    body = b""

    def __init__(self, request: StrictRequest, content: Content) -> None:
        self._content = content
        etag = f'"{content.tag}"'
        modified = content.modified_at.astimezone(UTC).replace(microsecond=0)
        self._headers: Headers = [
            (b"etag", etag.encode()),
            (b"last-modified", format_datetime(modified, usegmt=True).encode()),
            (b"cache-control", content.cache.encode()),
            (b"vary", b"Authorization, Cookie"),
        ]
        self.status, self._start, self._end = OK, 0, content.size
        header = request.headers.get
        if _is_known(header("if-none-match"), header("if-modified-since"), etag, modified):
            self.status = NOT_MODIFIED
            return
        # A range is of GET alone (RFC 9110, section 14.2).
        self._is_head = request.exchange.is_head
        wanted = None if self._is_head else header("range")
        if wanted is not None and _is_same(header("if-range"), etag, modified):
            span = span_of(wanted, content.size)
            if span is not None:
                self.status, (self._start, self._end) = PARTIAL, span

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer, as far as the client waits for it."""
        await while_there(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        content = self._content
        if self.status == NOT_MODIFIED:
            await send({"type": "http.response.start", "status": NOT_MODIFIED, "headers": self._headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        length = self._end - self._start
        headers: Headers = [
            (b"content-type", content.content_type.encode()),
            (b"content-length", str(length).encode()),
            (b"content-disposition", disposition(content.filename, inline=content.inline).encode()),
            (b"content-security-policy", VIEWED if content.viewed else SANDBOX),
            (b"accept-ranges", b"bytes"),
            *self._headers,
        ]
        if self.status == PARTIAL:
            headers.append((b"content-range", f"bytes {self._start}-{self._end - 1}/{content.size}".encode()))
        if self._is_head:
            # Nothing is asked of the storage.
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        async with aclosing(content.read(self._start, self._end)) as parts:  # type: ignore[type-var]
            # Before the first line of the answer, so that a storage that is away is a problem like any other.
            first = await anext(parts, b"")
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            sent = len(first)
            await send({"type": "http.response.body", "body": first, "more_body": sent < length})
            try:
                while sent < length:
                    part = await anext(parts)
                    sent += len(part)
                    await send({"type": "http.response.body", "body": part, "more_body": sent < length})
            except (Unavailable, StopAsyncIteration) as error:
                # Too late for another answer: the client sees that there is less than was announced.
                log.warning("http.content_broken_off", error=str(error), sent=sent, length=length)
            finally:
                FILE_BYTES.labels("sent").inc(sent)


def span_of(header: str, size: int) -> tuple[int, int] | None:
    """Return the part that a `Range` asks for, from and up to without; None to answer with everything.

    Several ranges, other units and what is malformed are answered with everything, as RFC 9110, section 14.2, allows.

    Raises:
        RangeNotSatisfiable: it begins behind the end.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or found[1] == found[2] == "":
        return None
    first, last = found[1], found[2]
    if first and last and int(first) > int(last):
        return None
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last) + 1, size) if first and last else size
    if start >= size or (not first and int(last) == 0):
        raise RangeNotSatisfiable(size)
    return start, end


def disposition(filename: str, *, inline: bool) -> str:
    """Return `Content-Disposition` with a name in any script (RFC 6266, with what old clients read beside it)."""
    kind = "inline" if inline else "attachment"
    plain = _UNSAFE.sub("_", filename)
    written = f'{kind}; filename="{plain}"'
    return written if plain == filename else f"{written}; filename*=UTF-8''{quote(filename, safe='')}"


def _is_known(tags: str | None, since: str | None, etag: str, modified: datetime) -> bool:
    if tags is not None:
        return any(tag.strip().removeprefix("W/") in {etag, "*"} for tag in tags.split(","))
    moment = _moment(since)
    return moment is not None and modified <= moment


def _is_same(condition: str | None, etag: str, modified: datetime) -> bool:
    """Return whether a client that has a part of it can go on with the next one (RFC 9110, section 13.1.5)."""
    if condition is None:
        return True
    if '"' in condition:
        return condition.strip() == etag
    return _moment(condition) == modified


def _moment(header: str | None) -> datetime | None:
    if header is None:
        return None
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
