"""The interface of what carries a mail away."""

from email.message import EmailMessage
from typing import Protocol


class Refused(Exception):
    """The mail will never be taken, however often it is tried: no such mailbox, too large."""


class Unavailable(Exception):
    """The mail was not taken now; later it may be. It has perhaps been delivered all the same."""


class Transport(Protocol):
    """Carries mails away, several at once. Each call is bounded in time by whoever makes it."""

    async def deliver(self, message: EmailMessage, recipient: str) -> str:
        """Hand over one mail for one mailbox; the same mail twice is the same `Message-ID` twice.

        Returns:
            What the other side says it did, for the operator.

        Raises:
            Refused: for good.
            Unavailable: for now.
        """
        ...

    async def close(self) -> None:
        """Let go of what is kept open between mails."""
        ...
