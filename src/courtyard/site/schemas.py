"""What health answers with."""

from typing import Literal

from courtyard.kernel.schema import Output


class Live(Output, frozen=True):
    """The process runs and answers."""

    status: Literal["live"]


class Check(Output, frozen=True):
    """One thing that the server needs.

    Attributes:
        name: what was looked at: `database`, `redis`, `bus`.
        ok: whether it answers, and is as it should be.
        milliseconds: how long it took to find out.
        detail: what was found, in a few words.
    """

    name: str
    ok: bool
    milliseconds: float
    detail: str


class Ready(Output, frozen=True):
    """The server can take requests."""

    status: Literal["ready"]
    checks: list[Check]
