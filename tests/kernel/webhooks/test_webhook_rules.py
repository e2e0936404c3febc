"""Which addresses are told anything, whom an event is told, and how it is signed."""

from datetime import UTC, datetime
from ipaddress import ip_address
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from courtyard.kernel.webhooks import rules

PRIVATE = [
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",  # noqa: S104 - nobody listens there
    "255.255.255.255", "224.0.0.1", "198.18.0.1", "192.0.2.1", "240.0.0.1",
    "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:0:4136::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_reached(address: str) -> None:
    assert not rules.is_reachable(ip_address(address), [])


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are(address: str) -> None:
    assert rules.is_reachable(ip_address(address), [])


def test_an_operator_allows_a_network() -> None:
    allowed = rules.networks(["10.1.0.0/16", "::1"])
    for address, reached in {"10.1.2.3": True, "::ffff:10.1.2.3": True, "10.2.0.1": False, "::1": True}.items():
        assert rules.is_reachable(ip_address(address), allowed) is reached


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org", "https://", "https://user@example.org", "https://a:b@example.org", "https://example.org#x",
        "http://example.org", "https://[::1]/", "https://169.254.169.254/latest", "https://127.0.0.1:8443/",
        "https://example.org:99999/", "https://[half", "javascript:alert(1)", "//example.org/", "https://example.org:0/",
    ],
)  # fmt: skip
def test_an_address_that_nothing_is_sent_to(url: str) -> None:
    assert rules.url_fault(url, plain=False, allowed=[]) is not None


@pytest.mark.parametrize("url", ["https://example.org/hook?x=1", "https://example.org:8443", "https://1.1.1.1/"])
def test_an_address_that_something_is_sent_to(url: str) -> None:
    assert rules.url_fault(url, plain=False, allowed=[]) is None


@pytest.mark.parametrize(
    ("patterns", "told"),
    [
        (["*"], True),
        (["chat.message.sent"], True),
        (["chat.message.*"], True),
        (["chat.*", "x"], True),
        (["chat.message"], False),
        (["chat.conversation.*"], False),
        (["chat.message.sent.*"], False),
    ],
)
def test_whom_an_event_is_told(patterns: list[str], told: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert rules.is_told(patterns, "chat.message.sent") is told


@given(body=st.text(max_size=200), other=st.text(max_size=200))
def test_receivers_believe_what_is_signed_with_any_of_their_secrets_and_nothing_else(body: str, other: str) -> None:
    new, old, foreign = (rules.new_secret() for _ in range(3))
    now, identifier = datetime.now(UTC), rules.message_id(uuid4())
    body = f'{{"text": {len(body)}, "more": {len(other)}}}'
    headers = {
        "webhook-id": identifier,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": rules.signature([new, old], identifier, now, body),
    }
    for secret in (new, old):
        assert Webhook(secret).verify(body, headers)["text"] >= 0
    with pytest.raises(WebhookVerificationError):
        Webhook(foreign).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(body + " ", headers)


def test_tries_are_ten_in_about_three_days() -> None:
    pauses = [rules.pause_after(tries) for tries in range(1, 11)]
    assert pauses[-1] is None
    whole = sum(pause.total_seconds() for pause in pauses if pause is not None)
    assert 2.5 * 86_400 < whole < 4 * 86_400
