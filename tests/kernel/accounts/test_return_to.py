"""Where a browser may be sent to."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courtyard.kernel.accounts.rules import front_of, resolve_return

HERE = "https://courtyard.example.org/base"
OTHERS = ["https://shop.example.org", "http://localhost:5173/app/"]


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ("/", "https://courtyard.example.org/"),
        ("/inbox?a=/b#c", "https://courtyard.example.org/inbox?a=/b#c"),
        ("https://courtyard.example.org", "https://courtyard.example.org"),
        ("HTTPS://Shop.Example.org/x", "HTTPS://Shop.Example.org/x"),
        ("http://localhost:5173/y", "http://localhost:5173/y"),
        ("http://localhost:5174/y", None),
        ("http://shop.example.org", None),
        ("https://shop.example.org:444", None),
        ("https://shop.example.org@evil.example", None),
        ("https://evil.example/https://shop.example.org", None),
        ("//shop.example.org", None),
        ("//evil.example", None),
        ("/\\evil.example", None),
        ("/\t/evil.example", None),
        (" /inbox", None),
        ("/inb\u00f6x", None),
        ("https://[::1", None),
        ("javascript:alert(1)", None),
        ("javascript://courtyard.example.org/%0Aalert(1)", None),
        ("", None),
    ],
)
def test_pages(page: str, address: str | None) -> None:
    assert resolve_return(page, HERE, OTHERS) == address


PARTS = st.sampled_from(
    [
        "/",
        "//",
        "\\",
        "https:",
        "http:",
        "javascript:",
        "shop.example.org",
        "evil.example",
        "@",
        ":",
        "?",
        "#",
        ".",
        " ",
    ]
)


@given(st.lists(PARTS, max_size=8).map("".join) | st.text(max_size=40))
def test_whatever_is_said_leads_nowhere_else(page: str) -> None:
    address = resolve_return(page, HERE, OTHERS)
    if address is not None:
        parts = urlsplit(address)
        assert (parts.scheme, parts.netloc) in {
            ("https", "courtyard.example.org"),
            ("https", "shop.example.org"),
            ("http", "localhost:5173"),
        }


@pytest.mark.parametrize(
    ("link", "front"),
    [
        ("https://courtyard.example.org/#/{purpose}/{token}", "https://courtyard.example.org/"),
        ("https://www.example.org/app/{purpose}?t={token}", "https://www.example.org/app/"),
        ("https://www.example.org/auth-{purpose}#{token}", "https://www.example.org/"),
        ("https://www.example.org/page?purpose={purpose}&token={token}", "https://www.example.org/"),
    ],
)
def test_the_front_page(link: str, front: str) -> None:
    assert front_of(link) == front
