"""One request and its answer: what the edge knows of it before and after the framework has its turn."""

import asyncio
from ipaddress import ip_address
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ClientException, InternalServerException
from litestar.types import Scope
from typing_extensions import override

from courtyard.kernel.context import Principal
from courtyard.kernel.errors import FieldError, InvalidInput
from courtyard.kernel.http.errors import ContentTooLarge, UnsupportedMediaType
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.schema import pointer_of

STATE = "courtyard"
TOO_LARGE = 413
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


class Exchange:
    """What is known of a request outside of its handler.

    Attributes:
        runtime: the process.
        request_id: identifies the request in logs, problems and the header `X-Request-ID`.
        address: of the client, as far as trusted proxies tell; empty where there is none.
        principal: who asks, None for nobody and where the route is open to everybody.
        account_id: who asked, once that is known.
        error: the code of the problem that was the answer.
        headers: of the answer, whatever it is.
        body: of the request, once it has been read.
        deadline: of the answer, where there is one.
        is_head: whether only what stands before the body is asked for.
    """

    __slots__ = (
        "account_id",
        "address",
        "body",
        "deadline",
        "error",
        "headers",
        "is_head",
        "principal",
        "request_id",
        "runtime",
    )

    def __init__(self, runtime: Runtime, request_id: str, address: str = "") -> None:
        self.runtime = runtime
        self.request_id = request_id
        self.address = address
        self.principal: Principal | None = None
        self.account_id: Any = None
        self.error: str | None = None
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.deadline: asyncio.Timeout | None = None
        self.is_head = False

    def prolong(self, seconds: float) -> None:
        """Allow so much time from now on, for a request that still gets somewhere."""
        if self.deadline is not None:
            self.deadline.reschedule(asyncio.get_running_loop().time() + seconds)


def bind(scope: Scope, exchange: Exchange) -> None:
    """Make the exchange known to whoever has the scope."""
    scope[STATE] = exchange  # type: ignore[literal-required]  # ASGI allows keys of servers and middleware


def exchange_of(scope: Scope) -> Exchange | None:
    """Return the exchange that a scope belongs to."""
    exchange: Exchange | None = scope.get(STATE)  # type: ignore[assignment]
    return exchange


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON is decoded straight into the Struct of the handler, with nothing coerced."""

    @property
    def exchange(self) -> Exchange:
        """What the edge knows of this request."""
        exchange = exchange_of(self.scope)
        if exchange is None:
            raise RuntimeError("a request that has not come in through the edge")
        return exchange

    @property
    def is_from_this_machine(self) -> bool:
        """Whether it comes from the machine itself, and through no proxy, which would ask for others."""
        if self.client is None or any(name in self.headers for name in FORWARDED):
            return False
        try:
            return ip_address(self.client.host).is_loopback
        except ValueError:
            return False

    @override
    async def body(self) -> bytes:
        try:
            body = self.exchange.body = await super().body()
        except ClientException as error:
            if error.status_code == TOO_LARGE:
                raise ContentTooLarge from error
            raise
        except InternalServerException as error:
            # What the framework makes of a client that hangs up. Nobody reads the answer, but it is no fault of ours.
            raise InvalidInput("The connection ended before the body.") from error
        return body

    @override
    async def json(self) -> Any:
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise UnsupportedMediaType
        decoder = self.route_handler.opt["decoder"]
        try:
            return decoder.decode(await self.body())
        except msgspec.ValidationError as error:
            message = str(error)
            detail = message.partition(" - at ")[0]
            raise InvalidInput(errors=[FieldError(detail, pointer=pointer_of(message))]) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(
                f"The body is not JSON: {error}.", errors=[FieldError("malformed", pointer="")]
            ) from error
