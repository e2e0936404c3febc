"""What is secret, and how it is left out: of the audit log, of logs, of traces and of error reports. Pure, without I/O.

It is known by its name (OWASP Logging Cheat Sheet, "Data to exclude"), by its type (bytes, `SecretStr`), and by its
form: what looks like a token, a hash of a password or a private key is one, whatever it is called.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec

REDACTED = "[redacted]"
TOO_DEEP = "[too deep]"
MAX_DEPTH = 24
MAX_NAME = 200

_SCALARS = (type(None), bool, int, float, UUID, datetime, date)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# Parts of names, with what joins their words taken out.
_SECRET_PARTS = (
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "authorization",
    "authentication",
    "cookie",
    "csrf",
    "xsrf",
    "credential",
    "apikey",
    "signature",
    "recoverycode",
    "verificationcode",
    "creditcard",
    "cardnumber",
    "privatekey",
)
# Whole words of names.
_SECRET_WORDS = frozenset(
    {"pwd", "pin", "otp", "totp", "mfa", "jwt", "bearer", "cvv", "cvc", "iban", "ssn", "auth", "pass", "seed"}
)
# Whole names, which mean something else beside other words.
_SECRET_NAMES = frozenset({"code", "codes", "verifier", "codeverifier", "nonce"})
_SECRET_FORMS = re.compile(
    r"""
    \b(?i:bearer|basic|digest|negotiate)[ ]+[A-Za-z0-9+/=._~-]{4,}         # RFC 9110, section 11.6.2
    | (?<![\w-])eyJ[\w-]{4,}\.[\w-]{4,}(?:\.[\w-]*){1,3}                     # JWS and JWE, RFC 7515 and 7516
    | \$(?:argon2(?:id|i|d)|2[abxy]|scrypt|pbkdf2[a-z0-9-]*)\$[^\s"']+      # password hashes
    | \bcyk_[0-9A-Za-z]{20,}(?:_[0-9A-Za-z]+)?                              # our own API keys
    | -----BEGIN[ A-Z]*PRIVATE\ KEY-----.*?(?:-----END[ A-Z]*PRIVATE\ KEY-----|\Z)
    | (?<=://)[^/\s:@]*:[^/\s@]+(?=@)                                       # the password of an address
    """,
    re.VERBOSE | re.DOTALL,
)
# `name=value` and `"name": "value"`.
_NAME = re.compile(r"""(?<![\w-])([A-Za-z_][\w-]{1,63})["']?[ ]{0,4}[=:][ ]{0,4}""")
_VALUE = re.compile(r"""b?"[^"]*"|b?'[^']*'|[^\s,;)}\]]+""")


def is_secret(name: str) -> bool:
    """Return whether what has this name is left out: a header, a field, a parameter, a column."""
    # Names that a client makes up are many and long; what is kept of them in memory is neither.
    return _is_secret(name) if len(name) <= MAX_NAME else True


@lru_cache(maxsize=4_096)
def _is_secret(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    joined = "".join(words)
    return (
        any(part in joined for part in _SECRET_PARTS)
        or not _SECRET_WORDS.isdisjoint(words)
        or joined in _SECRET_NAMES
        or (len(words) > 1 and words[-1] in {"key", "keys"} and "public" not in words)
    )


def redacted_text(text: str) -> str:
    """Return a text without what is secret by its form. NUL, which no database takes, becomes U+FFFD."""
    if not text.isascii():
        # A lone surrogate, which is in no encoding.
        text = text.encode(errors="replace").decode()
    # Most texts have none of what every form has, and this is done for each of them.
    if " " in text or "eyJ" in text or "$" in text or "://" in text or "cyk_" in text:
        text = _SECRET_FORMS.sub(REDACTED, text)
    return text.replace("\x00", "\ufffd")


def redacted_prose(text: str) -> str:
    """Return a text for people, such as that of an exception, without what stands behind a secret name in it either.

    >>> redacted_prose("refused: {'password': 'hunter2', 'name': 'Ada'}")
    "refused: {'password': [redacted], 'name': 'Ada'}"
    """
    text = redacted_text(text)
    parts, reached = [], 0
    for name in _NAME.finditer(text):
        # What looks like a name within a value that is left out is a part of it.
        if name.end() > reached and is_secret(name[1]) and (value := _VALUE.match(text, name.end())):
            parts += [text[reached : name.end()], REDACTED]
            reached = value.end()
    return "".join([*parts, text[reached:]])


def redacted_deep(value: Any) -> Any:  # noqa: ANN401 - any value
    """Return a value as `redacted` does, with its texts read as prose; for what is rare, such as a fault."""
    return _read_as_prose(redacted(value))


def _read_as_prose(value: Any) -> Any:  # noqa: ANN401 - any value of JSON
    if isinstance(value, str):
        return redacted_prose(value)
    if isinstance(value, dict):
        return {name: _read_as_prose(each) for name, each in value.items()}
    return [_read_as_prose(each) for each in value] if isinstance(value, list) else value


def redacted(value: Any, depth: int = 0) -> Any:  # noqa: ANN401, PLR0911 - any value that JSON or a row can have
    """Return a value as JSON can have it, without what is secret, at any depth."""
    if isinstance(value, str):
        return redacted_text(value)
    # The exact type first, which is quick, and nearly always enough.
    if type(value) in _SCALARS or isinstance(value, _SCALARS):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"[{len(value)} bytes]"
    if isinstance(value, msgspec.Raw):
        value = msgspec.json.decode(value)
    elif isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, (dict, Mapping, Sequence, set, frozenset)):
        if depth >= MAX_DEPTH:
            return TOO_DEEP
        if isinstance(value, Mapping):
            return _redacted_fields(value, depth + 1)
        return [redacted(item, depth + 1) for item in value]
    # Which says of a `SecretStr` that it is one.
    return redacted_text(str(value))


def _redacted_fields(fields: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    # `{"name": "password", "value": …}` is a field of that name.
    is_pair = "value" in fields and any(
        isinstance(name := fields.get(key), str) and is_secret(name) for key in ("name", "key", "field")
    )
    kept: dict[str, Any] = {}
    for key, value in fields.items():
        name = str(key)
        left_out = is_secret(name) or (is_pair and name == "value")
        kept[_kept_name(name)] = REDACTED if left_out and value is not None else redacted(value, depth)
    return kept


def _kept_name(name: str) -> str:
    return _short_name(name) if len(name) <= MAX_NAME else redacted_text(name[:MAX_NAME])


# The names of columns and headers come again and again.
_short_name = lru_cache(maxsize=4_096)(redacted_text)
