"""Where a request comes from: what is believed of whom."""

import ipaddress
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courtyard.kernel.proxies import ForwardedHeader, Proxies, canonical, subscriber_of

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
TRUSTED = ["127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48"]
PROXIES = Proxies(TRUSTED)
FORWARDED = Proxies(TRUSTED, "forwarded")


def told(*values: str, peer: str = "127.0.0.1", by: Proxies = PROXIES, header: str = "x-forwarded-for") -> str:
    """Return the address of a client whose headers have these values."""
    return by.address_of(peer, [(header.encode(), value.encode("latin-1")) for value in values])


@pytest.mark.parametrize("peer", ["192.0.2.1", "2001:db8:2::1", ""])
def test_whoever_is_no_proxy_is_the_client_whatever_it_says(peer: str) -> None:
    assert told("198.51.100.7", peer=peer) == peer


@pytest.mark.parametrize(
    ("values", "address"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        # What the client has sent stands before what the proxies have added.
        (["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
        (["6.6.6.6, 198.51.100.7, 10.1.1.1, 10.2.2.2"], "198.51.100.7"),
        (["6.6.6.6", "198.51.100.7", "10.1.1.1"], "198.51.100.7"),
        (["6.6.6.6,198.51.100.7 ,2001:db8:1::5"], "198.51.100.7"),
        # Everybody in the chain is trusted: the first of it.
        (["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        (["198.51.100.7:4711"], "198.51.100.7"),
        (["[2001:DB8:0:0::7]:4711"], "2001:db8::7"),
        (["[2001:db8::7]"], "2001:db8::7"),
        (["2001:db8::7"], "2001:db8::7"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["fe80::1%anything"], "fe80::1"),
        ([], "127.0.0.1"),
        # What is no address: whoever passed it on answers for it.
        ([""], "127.0.0.1"),
        (["unknown"], "127.0.0.1"),
        (["198.51.100.7, evil"], "127.0.0.1"),
        (["198.51.100.7, evil, 10.1.1.1"], "10.1.1.1"),
        (["198.51.100.7,"], "127.0.0.1"),
        (["198.51.100.7:port"], "127.0.0.1"),
        (["[2001:db8::7"], "127.0.0.1"),
        (["[2001:db8::7]x"], "127.0.0.1"),
        (["198.51.100.0/24"], "127.0.0.1"),
        (["0x7f000001"], "127.0.0.1"),
        (["1" * 20_000], "127.0.0.1"),
        (["\xff\x00\n"], "127.0.0.1"),
    ],
)
def test_a_proxy_tells_the_last_that_is_not_trusted(values: list[str], address: str) -> None:
    assert told(*values) == address


@pytest.mark.parametrize(
    ("values", "address"),
    [
        (["for=198.51.100.7"], "198.51.100.7"),
        (['For="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
        (["for=192.0.2.60;proto=http;by=203.0.113.43"], "192.0.2.60"),
        (["proto=https ; for=192.0.2.60"], "192.0.2.60"),
        (["for=6.6.6.6, for=198.51.100.7;proto=https, for=10.1.1.1"], "198.51.100.7"),
        (["for=6.6.6.6", "for=198.51.100.7", "for=10.1.1.1"], "198.51.100.7"),
        (["for=192.0.2.60:4711"], "192.0.2.60"),
        (["for=_hidden"], "127.0.0.1"),
        (["for=unknown, for=10.1.1.1"], "10.1.1.1"),
        (["proto=https"], "127.0.0.1"),
        ([""], "127.0.0.1"),
        (["for"], "127.0.0.1"),
        # A quotation mark that the client leaves open does not swallow what the proxy adds.
        (['for="6.6.6.6, for=198.51.100.7'], "127.0.0.1"),
        (['for=6.6.6.6;x=", for=198.51.100.7;by="10.0.0.1:80"'], "127.0.0.1"),
        (['for=6.6.6.6;x="\\", for=198.51.100.7;by="10.0.0.1:80"'], "127.0.0.1"),
        (['for=6.6.6.6;x="', 'for=198.51.100.7;by="10.0.0.1:80"'], "198.51.100.7"),
        (['x=",;", for="198.51.100.7"'], "198.51.100.7"),
    ],
)
def test_so_it_does_in_the_header_of_the_standard(values: list[str], address: str) -> None:
    assert told(*values, by=FORWARDED, header="forwarded") == address


@pytest.mark.parametrize(("by", "other"), [(PROXIES, "forwarded"), (FORWARDED, "x-forwarded-for")])
def test_the_other_header_is_not_read(by: Proxies, other: str) -> None:
    assert told("for=6.6.6.6", "6.6.6.6", by=by, header=other) == "127.0.0.1"


def test_without_proxies_no_header_counts() -> None:
    assert told("6.6.6.6", by=Proxies([])) == "127.0.0.1"


CLAIMS = st.text('0123456789abcdef.:[]="\\;, forx', max_size=60)


@given(claim=CLAIMS, client=st.ip_addresses(), port=st.booleans())
def test_nothing_that_a_client_sends_hides_where_it_comes_from(claim: str, client: Address, port: bool) -> None:  # noqa: FBT001 - drawn
    """A proxy adds the address of the client behind what came with the request."""
    address = canonical(str(client))
    known = {address, "127.0.0.1"}
    trusted = any(ipaddress.ip_address(address) in ipaddress.ip_network(one) for one in TRUSTED)
    shown = f"[{client}]" if client.version == 6 else str(client)
    shown = f"{shown}:80" if port else shown
    if not trusted:
        assert told(f"{claim}, {shown}") == address
        # Quoted or not, and with another pair that is quoted behind it.
        for added in (f'for="{shown}"', f"for={shown}", f'for="{shown}";by="10.0.0.1:80"'):
            assert told(f"{claim}, {added}", by=FORWARDED, header="forwarded") in known
            assert told(claim, added, by=FORWARDED, header="forwarded") == address


@given(value=st.binary(max_size=100), header=st.sampled_from(["x-forwarded-for", "forwarded"]))
def test_an_address_comes_out_whatever_goes_in(value: bytes, header: ForwardedHeader) -> None:
    found = Proxies(TRUSTED, header).address_of("10.0.0.1", [(header.encode(), value)])
    assert canonical(found) == found != ""


def scope(kind: str, client: tuple[str, int] | None, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": kind, "client": client, "headers": list(headers), "scheme": "ws" if kind == "websocket" else "http"}


@pytest.mark.parametrize(("kind", "scheme"), [("http", "https"), ("websocket", "wss")])
def test_a_scope_is_put_right(kind: str, scheme: str) -> None:
    headers = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"198.51.100.7")]
    behind = scope(kind, ("127.0.0.1", 5), *headers)
    PROXIES.correct(behind)
    assert (behind["client"][0], behind["scheme"]) == ("198.51.100.7", scheme)
    before = scope(kind, ("192.0.2.1", 5), *headers)
    PROXIES.correct(before)
    assert (before["client"], before["scheme"]) == (("192.0.2.1", 5), scheme[:-1])
    nobody = scope(kind, None, *headers)
    PROXIES.correct(nobody)
    assert nobody["client"][0] == ""


@pytest.mark.parametrize("told_scheme", [b"gopher", b"", b"https, http", b"\xff"])
def test_a_scheme_that_there_is_not_is_not_believed(told_scheme: bytes) -> None:
    odd = scope("http", ("127.0.0.1", 5), (b"x-forwarded-proto", told_scheme))
    PROXIES.correct(odd)
    assert odd["scheme"] == "http"


@pytest.mark.parametrize("trusted", ["*", "proxy.example.org", "10.0.0.1/8", ""])
def test_what_is_no_address_and_no_network_cannot_be_trusted(trusted: str) -> None:
    with pytest.raises(ValueError, match=r"not appear to be|host bits"):
        Proxies([trusted])


@pytest.mark.parametrize(
    ("address", "subscriber"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_a_subscriber_has_an_address_or_a_network(address: str, subscriber: str) -> None:
    assert subscriber_of(address) == subscriber
