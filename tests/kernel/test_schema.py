"""What input is made of: the bounds of each type, and the way from an error to its field."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from courtyard.kernel.schema import (
    Email,
    Input,
    Name,
    Output,
    Password,
    Permission,
    RoleName,
    Slug,
    Text,
    TopicName,
    normalise_email,
    pointer_of,
)

ID = "01932c07-209f-7e2c-9c8b-4f3d1a4f6a10"
GOOD: list[tuple[Any, list[str]]] = [
    (Name, ["A", "Ada Lovelace", " x ", "日本", "x" * 200, "O'Brien <b>"]),
    (Slug, ["ab", "help-line", "a1-b2-c3", "x" * 63]),
    (Email, ["a@b", "ada@example.org", "x" * 64 + "@" + "y" * 189]),
    (Password, ["x" * 10, "x" * 128, "with space and \n", "пароль пароль"]),
    (Text, ["x", " ", "\n", "x" * 10_000, "\t\u202e"]),
    (Permission, ["a.b", "chat.conversation.open"]),
    (RoleName, ["owner", "chat.volunteer", "a_b.c_d"]),
    (TopicName, ["chat.queue", f"chat.conversation:{ID}"]),
]
BAD: list[tuple[Any, list[str]]] = [
    (Name, ["", " ", "\t", "a\nb", "a\0b", "x" * 201, "a\x7fb", "name\n"]),
    (Slug, ["", "a", "A", "1a", "-a", "a-", "a--b", "a_b", "x" * 64, "ab\n", "ä1"]),
    (Email, ["", "a@", "@b", "ab", "a b@c", "a@b@c", "a\n@b", "a@b\n", "x" * 65 + "@b", "x@" + "y" * 253]),
    (Password, ["", "x" * 9, "x" * 129, "x" * 10 + "\0"]),
    (Text, ["", "\0", "a\0b", "x" * 10_001, "a\0\n"]),
    (Permission, ["", "a", "a.", ".a", "A.b", "a.b\n", "x" * 99 + ".a"]),
    (RoleName, ["", "Owner", "a.b.c", "a.", "owner\n", "x" * 65]),
    (TopicName, ["", "chat", "chat.queue:", "chat.queue:x", "Chat.queue", f"chat.conversation:{ID.upper()}", "a.b\n"]),
]


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in GOOD for value in values])
def test_what_is_good(kind: Any, value: str) -> None:  # noqa: ANN401
    assert msgspec.json.decode(msgspec.json.encode(value), type=kind) == value


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in BAD for value in values])
def test_what_is_refused(kind: Any, value: str) -> None:  # noqa: ANN401
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(value), type=kind)


@given(st.text(max_size=300))
def test_every_string_is_either_good_or_refused(value: str) -> None:
    encoded = value.encode("utf-8", "surrogatepass")
    for kind, _ in GOOD:
        try:
            decoded = msgspec.json.decode(msgspec.json.encode(encoded.decode()), type=kind)
        except (msgspec.MsgspecError, UnicodeError):
            continue
        assert "\0" not in decoded


class Item(Input, frozen=True):
    name: Name
    tags: list[Slug] = []  # noqa: RUF012


class Order(Input, frozen=True):
    items: list[Item]
    by: dict[str, int] = {}  # noqa: RUF012


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({}, ""),
        ([], ""),
        ({"items": [], "more": 1}, ""),
        ({"items": 1}, "/items"),
        ({"items": [{"name": "a"}, {"name": ""}]}, "/items/1/name"),
        ({"items": [{"name": "a", "tags": ["ab", "-"]}]}, "/items/0/tags/1"),
        ({"items": [{"name": "a", "x": 1}]}, "/items/0"),
        ({"items": [], "by": {"a": "b"}}, "/by/..."),
    ],
)
def test_an_error_leads_to_its_field(value: object, pointer: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(value, Order)
    assert pointer_of(str(refused.value)) == pointer


@pytest.mark.parametrize(
    ("message", "pointer"),
    [
        ("Expected `int`, got `str` - at `$.items[3].number`", "/items/3/number"),
        ("Expected `str` - at `$.a~b.c/d`", "/a~0b/c~1d"),
        ("Expected `str` - at `$[0][12]`", "/0/12"),
        ("Expected `str` - at `key` in `$.by`", "/by"),
        ("Expected `object`, got `array`", ""),
        ("no path at all", ""),
    ],
)
def test_paths_become_pointers(message: str, pointer: str) -> None:
    assert pointer_of(message) == pointer


@given(st.text(max_size=200))
def test_any_message_has_a_pointer(message: str) -> None:
    assert re.fullmatch(r"(/.*)?", pointer_of(message), re.DOTALL)


def test_nothing_is_coerced() -> None:
    for value in ('{"name": 1}', '{"name": true}', '{"name": ["a"]}'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(value, type=Item)


def test_what_came_in_cannot_be_changed() -> None:
    class Answer(Output, frozen=True):
        name: str

    for one in (Item(name="a"), Answer("a")):
        with pytest.raises(AttributeError):
            one.name = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("email", "normal"), [("Ada@Example.ORG", "ada@example.org"), (" a@b ", "a@b"), ("ÜÑ@b", "üñ@b")]
)
def test_addresses_have_one_form(email: str, normal: str) -> None:
    assert normalise_email(email) == normal
    assert normalise_email(normal) == normal
