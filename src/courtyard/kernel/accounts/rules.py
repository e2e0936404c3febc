"""Rules of logging in, without I/O."""

import hmac
import ipaddress
import re
import zlib
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import msgspec
import pyotp

# Failures that cost nothing; from then on each doubles the wait, up to the longest.
FREE_FAILURES = 5
FIRST_WAIT = timedelta(seconds=2)
LONGEST_WAIT = timedelta(minutes=15)

STEP_SECONDS = 30
# Crockford's base 32 (https://www.crockford.com/base32.html): no letter that looks like a digit.
_CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans("OIL", "011", " -")
RECOVERY_CODE_BITS = 60
_RECOVERY_CODE = re.compile(f"[{_CODE_LETTERS}]{{12}}")

API_KEY_PREFIX = "cyk_"
API_KEY_BYTES = 32
# What stands in lists. The rest has 195 random bits.
API_KEY_SHOWN = 12
_API_KEY = re.compile(r"(cyk_[0-9A-Za-z]{43})_([0-9A-Za-z]{6})")
_BASE_62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Arrival(msgspec.Struct, frozen=True):
    """How somebody who logs in reaches the server.

    Attributes:
        device: what the person will know the session by, such as the `User-Agent`.
        address: of the client, shortened for the list of sessions.
        browser: a secret that this browser alone has, by which it is known again; None for a client without one.
        by_cookie: whether the browser keeps the secret as a cookie.
    """

    device: str
    address: str
    browser: str | None = None
    by_cookie: bool = False


def shorten_address(address: str) -> str:
    """Return an address without the part that names one machine: IPv4 to /24, IPv6 to /48; empty for what is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))  # noqa: PLR2004


def shorten_email(email: str) -> str:
    """Return an address of which its owner knows which it is, and nobody else: `a…@e….org`."""
    local, _, domain = email.partition("@")
    name, dot, top = domain.rpartition(".")
    return f"{local[:1]}…@{(name or top)[:1]}…{dot}{top if name else ''}"


def wait_after(failures: int) -> timedelta:
    """Return how long nobody gets in with an address after so many wrong passwords in a row.

    A known browser is exempt, and so are the other ways in: whoever fails on purpose slows down strangers alone
    (OWASP Authentication Cheat Sheet, "Account Lockout").
    """
    if failures < FREE_FAILURES:
        return timedelta(0)
    return min(LONGEST_WAIT, FIRST_WAIT * (1 << min(failures - FREE_FAILURES, 20)))


def has_second_factor(methods: Collection[str]) -> bool:
    """Return whether these proofs of one session are of two kinds (NIST SP 800-63B-4, section 2.2).

    A passkey is two in one: the device, and what unlocks it. A code of an app or from paper always follows a first
    proof. Password, mail and OpenID provider are one kind, even together: who reads the mails can set the password
    anew, and what a provider asked for is not known.

    An API key carries the proofs of the session that made it, and counts as that session did. Alone it is the key
    of a service, which counts: it was drawn and never chosen, and no person is there who could be asked.
    """
    return not {"passkey", "totp", "recovery_code"}.isdisjoint(methods) or list(methods) == ["api_key"]


class RelyingParty(msgspec.Struct, frozen=True):
    """What passkeys belong to.

    Attributes:
        id: its domain.
        origins: the web sites that may ask for them.
    """

    id: str
    origins: list[str]


def relying_party(public_url: str, domain: str | None, origins: Sequence[str]) -> RelyingParty:
    """Return what passkeys belong to: what the operator chose, or else the web site of the server itself."""
    parts = urlsplit(public_url)
    host, port = parts.hostname or "", parts.port
    # Browsers know no passkeys of an address in numbers (Web Authentication Level 3, section 5.1.3).
    name = "localhost" if host in {"127.0.0.1", "::1"} else host
    shown = "" if port in {None, {"http": 80, "https": 443}[parts.scheme]} else f":{port}"
    return RelyingParty(domain or name, list(origins) or [f"{parts.scheme}://{name}{shown}"])


def counter_moves(stored: int, shown: int) -> bool:
    """Return whether the signature counter of an authenticator has gone on; a copy of it would be behind.

    Those that keep the key in many places have no counter, and always show 0 (Web Authentication Level 3, section
    6.1.1).
    """
    return shown > stored or shown == stored == 0


def time_step(now: datetime) -> int:
    """Return the time step of RFC 6238, section 4.2."""
    return int(now.timestamp()) // STEP_SECONDS


def totp_step(secret: str, code: str, now: datetime, last_step: int) -> int | None:
    """Return the time step that a code of an authenticator app is of; None for a code that does not count.

    Args:
        secret: the shared one, in base 32.
        code: what was typed, six digits.
        now: the time here; the clock of the app may be one step off (RFC 6238, section 5.2).
        last_step: of the last code that was taken; neither it nor an older one counts.
    """
    app, present = pyotp.HOTP(secret), time_step(now)
    # No early end: the time says nothing of which step it was.
    matching = [step for step in (present - 1, present, present + 1) if hmac.compare_digest(app.at(step), code)]
    return next((step for step in matching if step > last_step), None)


def write_recovery_code(number: int) -> str:
    """Return a number of 60 random bits as a code that can be read from paper: `7K2M-9QXD-T40V`."""
    letters = "".join(_CODE_LETTERS[number >> shift & 31] for shift in range(RECOVERY_CODE_BITS - 5, -1, -5))
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def read_recovery_code(typed: str) -> str | None:
    """Return the letters of a code however it was typed; None for what is none."""
    letters = typed.upper().translate(_MISREAD)
    return letters if _RECOVERY_CODE.fullmatch(letters) else None


def write_api_key(secret: bytes) -> str:
    """Return an API key of 32 random bytes: `cyk_`, 43 letters and digits, `_`, and a checksum of six.

    The prefix lets scanners for leaked secrets know it, the checksum lets them, and the server, tell a key from what
    only looks like one without asking the database.
    """
    body = API_KEY_PREFIX + _base_62(int.from_bytes(secret, "big"), 43)
    return f"{body}_{_base_62(zlib.crc32(body.encode()), 6)}"


def is_api_key(token: str) -> bool:
    """Return whether a token has the form of an API key and its checksum is right."""
    found = _API_KEY.fullmatch(token)
    return found is not None and _base_62(zlib.crc32(found[1].encode()), 6) == found[2]


def _base_62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_BASE_62[digit])
    return "".join(reversed(digits))


def is_recent(moment: datetime, now: datetime, seconds: int) -> bool:
    """Return whether a proof of this moment still counts for what is dangerous."""
    return now - moment <= timedelta(seconds=seconds)


def front_of(link_url: str) -> str:
    """Return the page that links in mails open, without what stands there for one link."""
    fixed = link_url.partition("{")[0].partition("#")[0].partition("?")[0]
    return fixed[: fixed.rindex("/") + 1]


def resolve_return(return_to: str, here: str, others: Sequence[str]) -> str | None:
    """Return the address of a page that a browser may be sent to, None for any other: no open redirect.

    Args:
        return_to: a path of this server, or a whole address.
        here: the address of this server.
        others: addresses whose sites belong to this installation too.
    """
    # Browsers skip white space and take a backslash for a slash (WHATWG URL, section 4.4).
    if not return_to.isascii() or not return_to.isprintable() or any(sign in return_to for sign in " \\"):
        return None
    try:
        parts = urlsplit(return_to)
    except ValueError:
        return None
    if not parts.scheme and not parts.netloc:
        return _origin_of(here) + return_to if return_to.startswith("/") else None
    is_ours = parts.scheme in {"http", "https"} and _origin_of(return_to) in {
        _origin_of(each) for each in (here, *others)
    }
    return return_to if is_ours else None


def _origin_of(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}".lower()
