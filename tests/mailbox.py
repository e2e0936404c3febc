"""Mail that servers of a test have delivered into their outbox."""

import asyncio
import contextlib
import re
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import lru_cache
from pathlib import Path

SECONDS = 10.0
POLL_SECONDS = 0.01

LINK = re.compile(r"^(https?://\S+)$", re.MULTILINE)
# Templates put a code on a line of its own, indented.
CODE = re.compile(r"^ {4}(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class ReceivedMail:
    """A mail in the outbox.

    Attributes:
        to: whom it went to, in lower case.
        template: what it was made from.
        subject: its subject.
        text: the plain text.
        html: the same as a page.
        message: all of it, with every header.
    """

    to: str
    template: str
    subject: str
    text: str
    html: str
    message: EmailMessage

    @property
    def links(self) -> list[str]:
        """Every link that stands on a line of its own."""
        return LINK.findall(self.text)

    @property
    def link(self) -> str:
        """The first link."""
        assert self.links, f"no link in:\n{self.text}"
        return self.links[0]

    @property
    def code(self) -> str:
        """The code to type in."""
        found = CODE.search(self.text)
        assert found is not None, f"no code in:\n{self.text}"
        return found[1]


class Mailbox:
    """Reads the outbox of a server, in this process or in another one, each mail once.

    Args:
        data_dir: of the server.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "outbox"
        self._known: set[str] = set()
        self._unread: list[ReceivedMail] = []

    async def wait_for(self, to: str, template: str | None = None, timeout: float = SECONDS) -> ReceivedMail:  # noqa: ASYNC109
        """Return the oldest mail to somebody that was not returned before, as soon as it is there.

        Args:
            to: the address.
            template: only a mail from this template, such as `accounts.login`.
            timeout: seconds, after which the test fails.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            for mail in self.waiting(to, template):
                self._unread.remove(mail)
                return mail
            assert asyncio.get_running_loop().time() < deadline, (
                f"no mail {template or ''} to {to} after {timeout} s; there is {self._told()}"
            )
            await asyncio.sleep(POLL_SECONDS)

    def waiting(self, to: str, template: str | None = None) -> list[ReceivedMail]:
        """Return the mails to somebody that `wait_for` has not returned yet, the oldest first."""
        self._look()
        return [mail for mail in self._unread if mail.to == to.lower() and template in {None, mail.template}]

    def _look(self) -> None:
        if not self._folder.is_dir():
            return
        names = {path.name for path in self._folder.iterdir() if path.suffix == ".eml" and path.name[0] != "."}
        for name in sorted(names - self._known):
            self._known.add(name)
            # The oldest files go when there are too many.
            with contextlib.suppress(FileNotFoundError):
                self._unread.append(_read(self._folder / name))

    def _told(self) -> str:
        return ", ".join(f"{mail.template} to {mail.to}" for mail in self._unread[-5:]) or "none"


# Each test begins with a mailbox of its own, on the same files.
@lru_cache(maxsize=10_000)
def _read(path: Path) -> ReceivedMail:
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    text, html = message.get_body(("plain",)), message.get_body(("html",))
    assert text is not None
    assert html is not None
    # The parser of Python does not know addresses beyond ASCII.
    recipients = message["To"].addresses
    return ReceivedMail(
        to=(recipients[0].addr_spec if recipients else str(message["To"])).lower(),
        template=message["X-Courtyard-Template"],
        subject=message["Subject"],
        text=text.get_content().replace("\r\n", "\n"),
        html=html.get_content().replace("\r\n", "\n"),
        message=message,
    )
