"""What input and output Structs are made of. Every string, number and list of the API has a bound here or beside it."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

# PostgreSQL cannot store NUL in text, and no line of a person holds other control characters.
_NO_NUL = r"^[^\x00]*$(?!\n)"
_ONE_LINE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$(?!\n)"

Name = Annotated[
    str, Meta(min_length=1, max_length=200, pattern=_ONE_LINE, description="One line, 1 to 200 characters.")
]
Slug = Annotated[
    str,
    Meta(
        min_length=2,
        max_length=63,
        pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$(?!\n)",
        description="Lower-case letters, digits and single hyphens; starts with a letter.",
        examples=["help-line"],
    ),
]
# Deliberately loose: RFC 5321 allows nearly everything, and only a message that arrives proves an address. U+0130 is
# the one letter that is longer in lower case, in which addresses are stored.
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=254,
        pattern=r"^[^@\s\x00-\x1f\x7f\u0130]{1,64}@[^@\s\x00-\x1f\x7f\u0130]{1,255}$(?!\n)",
        description="An e-mail address, at most 254 characters (RFC 5321).",
        examples=["ada@example.org"],
    ),
]
Password = Annotated[
    str,
    Meta(
        min_length=10,
        max_length=128,
        pattern=_NO_NUL,
        description="10 to 128 characters.",
        examples=["correct horse battery"],
    ),
]
Text = Annotated[str, Meta(min_length=1, max_length=10_000, pattern=_NO_NUL, description="1 to 10,000 characters.")]
Permission = Annotated[str, Meta(max_length=100, pattern=r"^[a-z_]+(\.[a-z_]+)+$(?!\n)")]
RoleName = Annotated[
    str,
    Meta(min_length=1, max_length=64, pattern=r"^[a-z_]+(\.[a-z0-9_]+)?$(?!\n)", examples=["chat.volunteer"]),
]
TopicName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[a-z]+\.[a-z_]+(:[0-9a-f-]{36})?$(?!\n)",
        description="The kind of topic and, behind a colon, the id of the thing.",
        examples=["chat.queue", "chat.conversation:01932c07-209f-7e2c-9c8b-4f3d1a4f6a10"],
    ),
]


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what comes in: unknown fields are refused."""


class WorkspaceSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=False):
    """Base of what can be set in a workspace. Every field has a default and bounds.

    What a bound cannot say is checked in `__post_init__`: a `ValueError` that begins with the name of the field.
    """


class Output(msgspec.Struct, frozen=True, gc=False):
    """Base of what goes out. Fields are in the order of the columns that fill them; no cycles (`gc=False`)."""


def normalise_email(email: str) -> str:
    """Return the form under which an address is stored and compared: without outer space, lower-case."""
    return email.strip().lower()


_PATH = re.compile(r"`\$((?:\.[^.\[\]`]+|\[(?:\d+|\.\.\.)\])*)`")


def pointer_of(message: str) -> str:
    """Return the JSON pointer (RFC 6901) of the path that a msgspec error message ends with.

    >>> pointer_of("Expected `int`, got `str` - at `$.items[3].number`")
    '/items/3/number'
    """
    found = _PATH.search(message)
    if found is None:
        return ""
    parts = re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", found.group(1))
    return "".join("/" + (name or index).replace("~", "~0").replace("/", "~1") for name, index in parts)
