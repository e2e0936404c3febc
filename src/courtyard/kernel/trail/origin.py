"""Who brought something in, and how; asked only when an entry is really written."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

OriginKind: TypeAlias = Literal["http", "socket", "cli", "task", "system"]


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it came in, with nothing left out yet.

    Attributes:
        method: of HTTP; `EVENT` for that of a socket.
        url: path and query; the name of an event.
        headers: name → value.
        body: the decoded JSON, or a line that says what it was.
        arguments: of path and query, or of a command.
        address: of the client.
    """

    method: str | None = None
    url: str | None = None
    headers: Mapping[str, Any] = {}
    body: Any = None
    arguments: Mapping[str, Any] = {}
    address: str | None = None


class Origin:
    """Where a change comes from.

    Args:
        kind: of the edge.
        describe: what came in; called at most once for each transaction that has something to tell.
    """

    __slots__ = ("_describe", "kind")

    def __init__(self, kind: OriginKind, describe: Callable[[], Described] | None = None) -> None:
        self.kind: OriginKind = kind
        self._describe = describe

    def describe(self) -> Described:
        """Return what came in."""
        return Described() if self._describe is None else self._describe()
