"""Where a request comes from: the address of its peer, or the one that a configured proxy tells.

Everything that asks for the address of a client (limits, sessions, audit, logs) asks the scope, which is put right
here, once, for HTTP and sockets alike. The web server below leaves it alone.
"""

import ipaddress
import re
from collections.abc import Iterable, MutableMapping, Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

# Of ASGI; also what the realtime layer has.
Scope: TypeAlias = MutableMapping[str, Any]
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
ForwardedHeader: TypeAlias = Literal["x-forwarded-for", "forwarded"]

UNKNOWN = ""
_REMEMBERED = 8_192
# Nothing that is an address, with brackets and a port, is longer.
_LONGEST_HOP = 64
_SCHEMES = {"http": "ws", "https": "wss"}
# One `name=value` of RFC 7239, section 4, and what ends it. Addresses with a port are often not quoted, as they should.
_PAIR = re.compile(r"""[ \t]*(?:([\w!#$%&'*+.^`|~-]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*))?[ \t]*(;|,|$)""", re.ASCII)


class Proxies:
    """Knows which proxies are believed.

    Args:
        trusted: their addresses and networks.
        header: the one in which they tell the address of the client. Only one is read: a proxy that sets one passes
            the other on as the client has sent it.

    Raises:
        ValueError: what is trusted is neither an address nor a network.
    """

    def __init__(self, trusted: Sequence[str], header: ForwardedHeader = "x-forwarded-for") -> None:
        self._networks = [ipaddress.ip_network(one) for one in trusted]
        self._header = header.encode()
        self._hops = _hops if header == "x-forwarded-for" else _forwarded_hops
        self._trusts = lru_cache(maxsize=_REMEMBERED)(self._is_trusted)

    def correct(self, scope: Scope) -> bool:
        """Put the address of the client in the place of the peer's in a scope of ASGI, and the scheme it came by.

        Returns:
            Whether the peer is a trusted proxy.
        """
        client = scope.get("client")
        peer = canonical(client[0]) if client else UNKNOWN
        is_trusted = self._trusts(peer)
        if is_trusted:
            headers: list[tuple[bytes, bytes]] = scope["headers"]
            told = [value for name, value in headers if name == b"x-forwarded-proto"]
            scheme = told[-1].decode("latin-1").strip().lower() if told else ""
            if scheme in _SCHEMES:
                scope["scheme"] = _SCHEMES[scheme] if scope["type"] == "websocket" else scheme
            peer = self.address_of(peer, headers)
        if client is None or peer != client[0]:
            scope["client"] = (peer, 0)
        return is_trusted

    def address_of(self, peer: str, headers: Headers) -> str:
        """Return the address of a client: the last in the chain of proxies that is not a trusted one.

        Args:
            peer: the address of the other end of the connection, in its canonical form.
            headers: of the request, with names in lower case.

        Returns:
            An address in its canonical form; `UNKNOWN` where the peer has none.
        """
        address = peer
        if not self._trusts(address):
            return address
        lines = [value.decode("latin-1") for name, value in headers if name == self._header]
        for hop in (hop for line in reversed(lines) for hop in reversed(self._hops(line))):
            told = _address_in(hop)
            if told == UNKNOWN:
                # What stands before it may be anything. The proxy that passed it on answers for it.
                break
            address = told
            if not self._trusts(address):
                break
        return address

    def _is_trusted(self, address: str) -> bool:
        return address != UNKNOWN and any(ipaddress.ip_address(address) in network for network in self._networks)


@lru_cache(maxsize=_REMEMBERED)
def canonical(text: str) -> str:
    """Return the one way in which an address is written; an IPv4 address within IPv6 is the former.

    The zone of an IPv6 address is left out: it means something on one machine only, and may be any text.

    >>> canonical("::FFFF:192.0.2.1")
    '192.0.2.1'
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.IPv6Address(int(address)))


@lru_cache(maxsize=_REMEMBERED)
def subscriber_of(address: str) -> str:
    """Return what one subscriber has of the internet: an IPv4 address, or the /64 of an IPv6 address (RFC 6177).

    >>> subscriber_of("2001:db8::1:2")
    '2001:db8::/64'
    """
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((int(ipaddress.IPv6Address(address)), 64), strict=False))


def _address_in(hop: str) -> str:
    """Return the address in one hop, which may have a port; `UNKNOWN` for a name or anything else."""
    text = hop.strip()
    if len(text) > _LONGEST_HOP:
        return UNKNOWN
    if text.startswith("["):
        text, bracket, rest = text[1:].partition("]")
        return canonical(text) if bracket and (rest == "" or _is_port(rest)) else UNKNOWN
    if text.count(":") == 1:
        text, _, port = text.partition(":")
        return canonical(text) if _is_port(f":{port}") else UNKNOWN
    return canonical(text)


def _is_port(text: str) -> bool:
    return text[:1] == ":" and text[1:].isdigit()


def _hops(line: str) -> list[str]:
    return line.split(",")


def _forwarded_hops(line: str) -> list[str]:
    """Return the `for` of each element of `Forwarded` (RFC 7239); none at all where the line is malformed.

    The line is read as a whole: a client that leaves a quotation mark open must not swallow what a proxy adds.
    """
    hops, hop, position = [], "", 0
    while position <= len(line):
        found = _PAIR.match(line, position)
        if found is None:
            return [""]
        name, value, end = found.groups()
        if name is not None and name.lower() == "for":
            hop = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        if end != ";":
            hops.append(hop)
            hop = ""
        position = found.end() + (end == "")
    return hops
