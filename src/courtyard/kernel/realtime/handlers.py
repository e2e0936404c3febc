"""How socket events are declared: like routes, with the payload as the one argument.

    @on("chat.message.send", permission="chat.message.send")
    async def send_message(context: Context, data: SendMessage) -> Message: ...

A handler that takes a `Context` is committed when it returns; one that takes `connection` is given it.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, get_type_hints

import msgspec
from msgspec import Meta

from courtyard.kernel.context import ReadContext
from courtyard.kernel.errors import Problem
from courtyard.kernel.limits import Policy, TooManyRequests
from courtyard.kernel.schema import Input

C = TypeVar("C", bound=ReadContext)
T = TypeVar("T")

Handler = Callable[..., Awaitable[Any]]


class SocketInput(Input, kw_only=True, frozen=True):
    """Base of the payloads: every event names its workspace, as every path does."""

    workspace: Annotated[
        str,
        Meta(min_length=1, max_length=63, pattern=r"^[0-9a-z-]+$(?!\n)", description="Slug or id of the workspace."),
    ]


@dataclass(frozen=True)
class SocketHandler(Generic[C, T]):
    """One event that a client may send.

    Attributes:
        event: its name on the wire.
        permission: the rule, by its name; documented and walked by a test, enforced by the service.
        function: what answers it.
        context_type: `Context` or `ReadContext`.
        payload: the Struct of the argument.
        answer: the type of the `data` of the acknowledgement.
        takes_connection: whether the handler is given the connection.
        takes_presence: whether it is given the presence of this process.
        problems: what it may answer with, beside what every event may.
        limits: rate limits of its own.
        description: the first sentence of its docstring.
    """

    event: str
    permission: str
    function: Handler
    context_type: type[C]
    payload: type[SocketInput]
    answer: Any
    takes_connection: bool
    takes_presence: bool
    problems: Sequence[type[Problem]]
    limits: Sequence[Policy]
    description: str

    def decode(self, value: object) -> SocketInput:
        """Make the payload of what came in.

        Raises:
            msgspec.ValidationError: it does not fit the schema.
        """
        return msgspec.convert(value, self.payload)


def on(
    event: str, *, permission: str, problems: Sequence[type[Problem]] = (), limits: Sequence[Policy] = ()
) -> Callable[[Handler], SocketHandler[Any, Any]]:
    """Declare the handler of a socket event. A policy that is counted by a field finds it in the payload."""

    def decorate(function: Handler) -> SocketHandler[Any, Any]:
        hints = get_type_hints(function, include_extras=True)
        return SocketHandler(
            event=event,
            permission=permission,
            function=function,
            context_type=hints["context"],
            payload=hints["data"],
            answer=hints["return"],
            takes_connection="connection" in hints,
            takes_presence="presence" in hints,
            problems=[*problems, TooManyRequests] if limits else problems,
            limits=limits,
            description=(inspect.getdoc(function) or "").partition("\n")[0],
        )

    return decorate
