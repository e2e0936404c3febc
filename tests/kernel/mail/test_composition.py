"""A mail as it travels: whatever the address is, the message stays one message to that address."""

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from uuid import UUID

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from courtyard.kernel.mail.composition import compose
from courtyard.kernel.mail.schemas import Content
from courtyard.kernel.mail.store import Waiting
from courtyard.kernel.mail.transports import Refused
from courtyard.kernel.schema import Email
from courtyard.kernel.settings_sections import MailSettings

MOMENT = datetime(2026, 11, 21, tzinfo=UTC)
HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "X-Courtyard-Template",
    "MIME-Version",
    "Content-Type",
    "Content-Language",
}
ADDRESS = re.compile(r"[^@\s\x00-\x1f\x7f\u0130]{1,64}@[^@\s\x00-\x1f\x7f\u0130]{1,185}")


@given(st.from_regex(ADDRESS, fullmatch=True))
@example("ada@example.org")
@example("ø" * 64 + "@" + "é" * 90 + ".example")
@example("a" * 64 + "@" + "b" * 180 + ".org")
def test_the_message_is_whole_whatever_the_address_is(address: str) -> None:
    msgspec.convert(address, Email)
    waiting = Waiting(UUID(int=0), UUID(int=1), "accounts.login", "en", address, "Hi", b"", MOMENT, MOMENT)
    try:
        message = compose(MailSettings(), waiting, Content("text", "<p>page</p>"))
    except Refused:
        return
    sent = message.as_bytes()
    received = message_from_bytes(sent, policy=policy.SMTPUTF8)
    assert set(received.keys()) == HEADERS
    text, page = received.get_body(("plain",)), received.get_body(("html",))
    assert text is not None
    assert page is not None
    assert (text.get_content().strip(), page.get_content().strip()) == ("text", "<p>page</p>")
    header = sent.decode().split("To: ", 1)[1].split("\r\n")[0]
    assert "=?" not in header or "=?" in address
