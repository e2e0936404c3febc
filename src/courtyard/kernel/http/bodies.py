"""A body that is one file, taken part by part as it comes in: as it is, or in a form (`multipart/form-data`)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from courtyard.kernel.errors import InvalidInput
from courtyard.kernel.http import idempotency
from courtyard.kernel.http.errors import ContentTooLarge, UploadTooSlow
from courtyard.kernel.http.exchange import StrictRequest

FORM = "multipart/form-data"
# What a form may have beside the file: its other fields, which are passed over, and headers.
FORM_EXTRA_BYTES = 65_536
FORM_FIELDS = 32
MAX_BOUNDARY = 200


class Body:
    """The body of one request. It is read once, and not before `begin`.

    Attributes:
        key: the `Idempotency-Key` that came with it.
        length: how long the client says that it is, with what a form has around the file; None where it does not say.
        name: what the client calls the file, in a form.
        content_type: what the client takes the file for; empty where it does not say.
    """

    def __init__(self, request: StrictRequest) -> None:
        """Look at the headers.

        Raises:
            InvalidInput: one of them is malformed.
        """
        self._request = request
        self.key = idempotency.key_of(request)
        declared = request.headers.get("content-length", "")
        self.length = int(declared) if declared.isdecimal() else None
        self.content_type, options = parse_options_header(request.headers.get("content-type", ""))
        self.name: str | None = None
        self._ahead: list[bytes] = []
        self._max_bytes = 0
        self._form: _Form | None = None
        if self.content_type == FORM:
            self._form = _Form(str(options.get("boundary", ""))[:MAX_BOUNDARY])
        self._parts: AsyncIterator[bytes] | None = None

    async def begin(self, max_bytes: int, seconds: float) -> None:
        """Read as far as the first bytes of the file, so that `name` and `content_type` are known.

        Args:
            max_bytes: how long the file may be.
            seconds: how long everything may take.

        Raises:
            ContentTooLarge: the client says that it is longer.
            InvalidInput: it is a form without a file, or no form at all.
        """
        if self.length is not None and self.length > max_bytes + (FORM_EXTRA_BYTES if self._form else 0):
            raise ContentTooLarge(max_bytes=max_bytes)
        received = self._received(asyncio.get_running_loop().time() + seconds)
        if self._form is None:
            self._parts = received
            return
        self._parts = self._form.file(received)
        async for part in self._parts:
            self._ahead.append(part)
            break
        self.name, self.content_type = self._form.name, self._form.content_type

    async def parts(self, max_bytes: int) -> AsyncIterator[bytes]:
        """Return the file, part by part.

        Raises:
            ContentTooLarge: it is longer than that.
            InvalidInput: the connection ended before it did.
            UploadTooSlow: nothing comes any more, or the time is over.
        """
        if self._parts is None:
            raise RuntimeError("begin comes first")
        length = 0
        self._max_bytes = max_bytes
        while True:
            part = self._ahead.pop() if self._ahead else await anext(self._parts, None)
            if part is None:
                return
            length += len(part)
            if length > self._max_bytes:
                raise ContentTooLarge(max_bytes=self._max_bytes)
            yield part

    def shorten(self, max_bytes: int) -> None:
        """Allow less, now that it is known what comes.

        Raises:
            ContentTooLarge: the client says that it is longer.
        """
        self._max_bytes = min(self._max_bytes, max_bytes)
        if self.length is not None and self.length > self._max_bytes + (FORM_EXTRA_BYTES if self._form else 0):
            raise ContentTooLarge(max_bytes=self._max_bytes)

    async def _received(self, until: float) -> AsyncIterator[bytes]:
        loop, exchange = asyncio.get_running_loop(), self._request.exchange
        patience = exchange.runtime.settings.server.request_timeout_seconds
        more = True
        while more:
            # Whoever sends something has that long for the next part, and a while is left to deal with it.
            exchange.prolong(2 * patience)
            try:
                async with asyncio.timeout_at(min(loop.time() + patience, until)):
                    message: Any = await self._request.receive()
            except TimeoutError:
                raise UploadTooSlow from None
            if message["type"] == "http.disconnect":
                raise InvalidInput("The connection ended before the body.")
            more = message.get("more_body", False)
            if part := message.get("body", b""):
                yield part


class _Form:
    """Finds the file in a form."""

    def __init__(self, boundary: str) -> None:
        try:
            self._parser = PushMultipartParser(boundary, max_segment_count=FORM_FIELDS, strict=True)
        except MultipartError as error:
            raise InvalidInput(f"The form cannot be read: {error}.") from None
        self.name: str | None = None
        self.content_type = ""
        self._inside = False

    async def file(self, received: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Return the one file, part by part. The first part is empty: then its headers are known."""
        extra = 0
        async for chunk in received:
            for event in self._events(chunk):
                if isinstance(event, MultipartSegment):
                    self._enter(event)
                    if self._inside:
                        yield b""
                elif self._inside:
                    yield bytes(event or b"")
                else:
                    extra += len(event or b"")
                    if extra > FORM_EXTRA_BYTES:
                        raise ContentTooLarge
        try:
            self._parser.close()
        except MultipartError:
            raise InvalidInput("The form ends too early.") from None
        if self.name is None:
            raise InvalidInput("The form has no file.")

    def _enter(self, segment: MultipartSegment) -> None:
        self._inside = segment.filename is not None
        if not self._inside:
            return
        if self.name is not None:
            raise InvalidInput("The form has more than one file.")
        self.name, self.content_type = segment.filename, segment.content_type or ""

    def _events(self, chunk: bytes) -> Any:  # noqa: ANN401 - what the parser makes of it
        try:
            yield from self._parser.parse(chunk)
        except MultipartError as error:
            raise InvalidInput(f"The form cannot be read: {error}.") from None
