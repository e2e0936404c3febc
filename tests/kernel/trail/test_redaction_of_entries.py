"""What is secret is left out at any depth, by name, by type and by form; what is too long is cut and says so."""

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from courtyard.kernel.redaction import REDACTED, is_secret, redacted, redacted_text
from courtyard.kernel.trail.rules import bounded, canonical

CANARY = "kanarienvogel"

SECRET_NAMES = [
    "password",
    "Password",
    "newPassword",
    "password_hash",
    "current-password",
    "pwd",
    "PIN",
    "pin",
    "otp",
    "totp_code",
    "code",
    "token",
    "accessToken",
    "refresh_token",
    "x-access-token",
    "Authorization",
    "Proxy-Authorization",
    "cookie",
    "Set-Cookie",
    "X-CSRF-Token",
    "xsrf",
    "client_secret",
    "SECRET_KEY",
    "api_key",
    "X-API-Key",
    "apikey",
    "idempotency-key",
    "private_key",
    "encryptionKey",
    "credentials",
    "card_number",
    "cvv",
    "recovery_codes",
    "passphrase",
    "signature",
    "x-auth",
    "code_verifier",
]
PLAIN_NAMES = [
    "name",
    "email",
    "opinion",
    "shipping",
    "key",
    "public_key",
    "description",
    "state",
    "author_id",
    "monkey",
    "country_code",
    "compass",
    "encode",
]

texts = st.text(max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def planted(draw: st.DrawFn) -> Any:  # noqa: ANN401 - any value of JSON
    """A value with a canary under a secret name somewhere within it."""
    secret: Any = draw(
        st.sampled_from([CANARY, [CANARY], {"inner": CANARY}, {"deep": [{"deeper": f"x{CANARY}"}]}, CANARY.encode()])
    )
    value: Any = {draw(st.sampled_from(SECRET_NAMES)): secret}
    for _ in range(draw(st.integers(0, 40))):
        around = draw(st.dictionaries(texts, plain, max_size=2))
        value = [draw(plain), value] if draw(st.booleans()) else {**around, draw(texts): value}
    return value


@settings(deadline=None)
@given(planted())
def test_a_secret_is_left_out_at_any_depth(value: Any) -> None:  # noqa: ANN401
    assert CANARY not in bounded(redacted(value), 100_000)


@settings(deadline=None)
@given(plain)
def test_whatever_comes_in_becomes_json(value: Any) -> None:  # noqa: ANN401
    msgspec.json.decode(bounded(redacted(value), 100_000))


@settings(deadline=None)
@given(plain, st.integers(60, 2_000))
def test_nothing_is_longer_than_it_may_be(value: Any, limit: int) -> None:  # noqa: ANN401
    assert len(bounded(value, limit).encode()) <= limit


def test_what_is_cut_says_so() -> None:
    assert bounded({"text": "x" * 5_000}, 4_200) == f'{{"text":"{"x" * 4_000}[1000 more]"}}'
    assert bounded([1] * 100_000, 50) == '{"[truncated]":"200001 bytes"}'


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret(name)
    assert redacted({name: CANARY}) == {name: REDACTED}
    assert redacted({name: None}) == {name: None}


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_other_names_are_not(name: str) -> None:
    assert not is_secret(name)


def test_a_name_that_is_too_long_is_not_kept() -> None:
    (name,) = redacted({"n" * 1_000: CANARY})
    assert len(name) == 200
    assert redacted({"n" * 1_000: CANARY}) == {name: REDACTED}


@pytest.mark.parametrize("pair", ["name", "key", "field"])
def test_a_field_that_is_written_as_a_pair_is_one(pair: str) -> None:
    assert redacted([{pair: "password", "value": CANARY}]) == [{pair: "password", "value": REDACTED}]
    assert redacted([{pair: "colour", "value": "red"}]) == [{pair: "colour", "value": "red"}]


@pytest.mark.parametrize(
    "text",
    [
        f"the key cyk_{CANARY}{CANARY}_0aZ9bY",
        f"Bearer {CANARY}",
        f"bearer {CANARY}",
        f"Basic {CANARY}==",
        f"sent with Bearer {CANARY}, then refused",
        f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.c2ln",
        f"$argon2id$v=19$m=65536,t=3,p=4${CANARY}$aGFzaA",
        f"$2b$12${CANARY}",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}",
        f"postgresql://courtyard:{CANARY}@localhost/courtyard",
    ],
)
def test_secrets_are_known_by_their_form(text: str) -> None:
    assert CANARY not in redacted_text(text)
    assert CANARY not in msgspec.json.encode(redacted({"note": [text]})).decode()


@pytest.mark.parametrize("part", ["-eyJa", ".eyJaaaa", "$argon2id$ ", "Bearer ", "-----BEGIN ", "://", "://a:", " "])
def test_no_text_takes_long(part: str) -> None:
    """Clients may send what they like: the time grows with its length and not faster."""
    started = time.process_time()
    redacted_text(part * (65_536 // len(part)))
    assert time.process_time() - started < 1


def test_types() -> None:
    moment, some_id = datetime(2026, 11, 21, tzinfo=UTC), uuid4()
    assert redacted({"a": b"12345", "b": SecretStr(CANARY), "c": moment, "d": some_id, "e": {1}}) == {
        "a": "[5 bytes]",
        "b": "**********",
        "c": moment,
        "d": some_id,
        "e": [1],
    }
    assert redacted(msgspec.Raw(b'{"password":"x","a":1}')) == {"password": REDACTED, "a": 1}


def test_what_no_database_takes_is_replaced() -> None:
    assert redacted_text("a\x00b") == "a\ufffdb"
    msgspec.json.encode(redacted({"\ud800": "\udfff"}))


def test_a_digest_is_made_of_everything() -> None:
    fields = [UUID(int=1), datetime(2026, 11, 21, tzinfo=UTC), None, "text", '{"a":1}']
    whole = canonical(1, fields)
    others = [canonical(2, fields), canonical(1, [*fields[:3], "texts", fields[4]]), canonical(1, fields[::-1])]
    assert whole not in others
    # Fields cannot run into each other.
    assert canonical(1, ["a", "b"]) != canonical(1, ["a,b"])
    assert canonical(1, ["a", None]) != canonical(1, ["a", "null"])
