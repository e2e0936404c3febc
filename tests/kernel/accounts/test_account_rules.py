"""Rules of second factors and keys, with plain values."""

import base64
import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courtyard.kernel.accounts import rules

# RFC 6238, appendix B: the secret, and codes of eight digits, of which apps show the last six.
SECRET = base64.b32encode(b"12345678901234567890").decode()
VECTORS = [
    (59, "94287082"),
    (1_111_111_109, "07081804"),
    (1_111_111_111, "14050471"),
    (1_234_567_890, "89005924"),
    (2_000_000_000, "69279037"),
    (20_000_000_000, "65353130"),
]
LETTERS = string.ascii_letters + string.digits


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(("seconds", "code"), VECTORS)
def test_codes_are_those_of_the_standard(seconds: int, code: str) -> None:
    step = seconds // 30
    assert rules.totp_step(SECRET, code[-6:], at(seconds), 0) == step
    # The clock of the app may be a step behind or ahead, and no more.
    assert rules.totp_step(SECRET, code[-6:], at(seconds + 30), 0) == step
    assert rules.totp_step(SECRET, code[-6:], at(seconds + 60), 0) is None
    # In the first minute of 1970 there are no steps before.
    if seconds > 90:
        assert rules.totp_step(SECRET, code[-6:], at(seconds - 30), 0) == step
        assert rules.totp_step(SECRET, code[-6:], at(seconds - 60), 0) is None


@pytest.mark.parametrize(("seconds", "code"), VECTORS)
def test_a_code_counts_once_and_with_it_every_older_one(seconds: int, code: str) -> None:
    step = seconds // 30
    assert rules.totp_step(SECRET, code[-6:], at(seconds), step - 1) == step
    assert rules.totp_step(SECRET, code[-6:], at(seconds), step) is None
    assert rules.totp_step(SECRET, code[-6:], at(seconds), step + 1) is None


@given(st.integers(0, 2**rules.RECOVERY_CODE_BITS - 1))
def test_a_recovery_code_is_read_however_it_is_typed(number: int) -> None:
    code = rules.write_recovery_code(number)
    plain = code.replace("-", "")
    assert len(plain) * 5 == rules.RECOVERY_CODE_BITS
    assert not set(plain) & set("ILOU")
    for typed in (code, plain, code.lower(), f" {plain[:6]} {plain[6:]} ", plain.replace("0", "o").replace("1", "l")):
        assert rules.read_recovery_code(typed) == plain


@given(st.integers(0, 2**60 - 1), st.integers(0, 2**60 - 1))
def test_different_numbers_are_different_codes(one: int, other: int) -> None:
    assert (rules.write_recovery_code(one) == rules.write_recovery_code(other)) == (one == other)


@given(st.text(max_size=40))
def test_what_is_no_recovery_code_is_read_as_none(typed: str) -> None:
    read = rules.read_recovery_code(typed)
    assert read is None or (len(read) == 12 and read.isascii())


@given(st.binary(min_size=32, max_size=32))
def test_an_api_key_has_its_form(secret: bytes) -> None:
    key = rules.write_api_key(secret)
    assert key.startswith("cyk_")
    assert len(key) == 54
    assert rules.is_api_key(key)


@given(st.binary(min_size=32, max_size=32), st.data())
def test_an_api_key_that_was_typed_wrong_is_none(secret: bytes, data: st.DataObject) -> None:
    key = rules.write_api_key(secret)
    place = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from(LETTERS).filter(lambda letter: letter != key[place]))
    assert not rules.is_api_key(key[:place] + letter + key[place + 1 :])
    assert not rules.is_api_key(key[:place] + key[place + 1 :])
    assert not rules.is_api_key(key + letter)
    swapped = key[:place] + key[place : place + 2][::-1] + key[place + 2 :]
    assert rules.is_api_key(swapped) == (swapped == key)


@given(st.text(max_size=60) | st.from_regex(r"cyk_[0-9A-Za-z]{43}_000000", fullmatch=True))
def test_what_is_no_api_key_is_known_as_none(token: str) -> None:
    assert not rules.is_api_key(token)


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ([], False),
        (["password"], False),
        (["email"], False),
        (["oidc"], False),
        (["email", "password"], False),
        (["password", "oidc"], False),
        (["passkey"], True),
        (["password", "totp"], True),
        (["email", "totp"], True),
        (["oidc", "recovery_code"], True),
        # The key of a service, and those of persons, which count as the session that made them did.
        (["api_key"], True),
        (["api_key", "password"], False),
        (["api_key", "password", "totp"], True),
        (["api_key", "passkey"], True),
    ],
)
def test_which_proofs_are_of_two_kinds(methods: list[str], expected: bool) -> None:  # noqa: FBT001
    assert rules.has_second_factor(methods) is expected


@pytest.mark.parametrize(
    ("stored", "shown", "expected"),
    [(0, 0, True), (0, 1, True), (7, 8, True), (7, 7, False), (8, 7, False), (7, 0, False)],
)
def test_when_a_counter_moves(stored: int, shown: int, expected: bool) -> None:  # noqa: FBT001
    assert rules.counter_moves(stored, shown) is expected


@pytest.mark.parametrize(
    ("public_url", "domain", "origins", "expected"),
    [
        ("https://courtyard.example.org", None, (), ("courtyard.example.org", ["https://courtyard.example.org"])),
        ("https://example.org:443/courtyard", None, (), ("example.org", ["https://example.org"])),
        ("https://example.org:8443", None, (), ("example.org", ["https://example.org:8443"])),
        ("http://127.0.0.1:8000", None, (), ("localhost", ["http://localhost:8000"])),
        ("http://[::1]:8000", None, (), ("localhost", ["http://localhost:8000"])),
        (
            "https://api.example.org",
            "example.org",
            ("https://www.example.org", "https://app.example.org"),
            ("example.org", ["https://www.example.org", "https://app.example.org"]),
        ),
    ],
)
def test_what_passkeys_belong_to(
    public_url: str, domain: str | None, origins: tuple[str, ...], expected: tuple[str, list[str]]
) -> None:
    party = rules.relying_party(public_url, domain, origins)
    assert (party.id, party.origins) == expected
