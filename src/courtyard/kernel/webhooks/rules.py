"""What is signed and how (Standard Webhooks 1.0.0), whom an event is told, and when it is tried again. Pure."""

import base64
import hmac
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from random import SystemRandom
from typing import Final, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
# As the specification recommends: ten tries in three days.
PAUSES_SECONDS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
GONE: Final = 410
_SUCCESS: Final = range(200, 300)
_RANDOM: Final = SystemRandom()
# Globally reachable by their own words, they lead to whatever IPv4 address is in them (RFC 6052, 3056, 4380).
_TRANSLATED: Final = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))


def networks(texts: Sequence[str]) -> list[Network]:
    """Return networks by their names, such as `10.1.0.0/16`."""
    return [ip_network(text) for text in texts]


def new_secret() -> str:
    """Return a secret in the form that receivers know."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def message_id(delivery_id: UUID) -> str:
    """Return by what a receiver recognises that it is told the same twice."""
    return f"msg_{delivery_id.hex}"


def signature(keys: Iterable[str], identifier: str, moment: datetime, body: str) -> str:
    """Return the signatures of a message, one for each secret.

    Args:
        keys: secrets, the newest first.
        identifier: of the message.
        moment: of the attempt.
        body: what is sent.
    """
    signed = f"{identifier}.{int(moment.timestamp())}.{body}".encode()
    digests = (hmac.digest(base64.b64decode(key.removeprefix(PREFIX)), signed, "sha256") for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def is_told(patterns: Sequence[str], event: str) -> bool:
    """Return whether an endpoint wants to be told of an event.

    >>> is_told(["chat.message.*"], "chat.message.sent")
    True
    """
    return any(event.startswith(each[:-1]) if each.endswith("*") else event == each for each in patterns)


def is_success(status: int | None) -> bool:
    """Return whether a receiver has taken a message."""
    return status in _SUCCESS


def pause_after(tries: int) -> timedelta | None:
    """Return how long to wait after so many tries; None for no more tries."""
    if tries > len(PAUSES_SECONDS):
        return None
    # What failed together does not come back together.
    return timedelta(seconds=PAUSES_SECONDS[tries - 1] * _RANDOM.uniform(0.8, 1.2))


def url_fault(url: str, *, plain: bool, allowed: Sequence[Network]) -> str | None:
    """Return why an address cannot be told anything; None where it can.

    Args:
        url: as somebody gave it.
        plain: whether `http` will do.
        allowed: networks that are not public, and may be told things all the same.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        return "is not an address of the web"
    if parts.scheme not in {"https", "http"} or not host or port == 0:
        return "is not an address of the web"
    if parts.scheme == "http" and not plain:
        return "must begin with https://"
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "must not have a user, a password or a fragment"
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return None if is_reachable(address, allowed) else "is an address of a private network"


def is_reachable(address: Address, allowed: Sequence[Network]) -> bool:
    """Return whether something may be sent to an address: a public one, or one in a network that is allowed."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    address = mapped or address
    if any(address in network for network in allowed):
        return True
    translated = any(address in network for network in _TRANSLATED)
    return address.is_global and not address.is_multicast and not translated


class Body(msgspec.Struct, frozen=True):
    """What a receiver is told."""

    type: str
    timestamp: datetime
    workspace_id: UUID
    topic: str
    number: int
    id: UUID
    actor_id: UUID | None
    data: msgspec.Raw
