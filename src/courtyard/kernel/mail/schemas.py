"""What a mail is made of, before and after it is rendered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TypeAlias

import msgspec

Value: TypeAlias = str | int | float | date | datetime | None


@dataclass(frozen=True, kw_only=True)
class Template:
    """The declaration of a mail that a part may send.

    Its text stands in `<folder>/<name>.txt.jinja` and `<folder>/<name>.html.jinja`, where the folder is that of the
    part (`Application.templates`) and the name that behind the first dot.

    Attributes:
        name: of the part, a dot, and of the mail: `accounts.login`.
        fields: what has to be given to it. Those that end in `link` are addresses; everything else is plain text,
            whoever wrote it.
    """

    name: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Message:
    """A mail to one person.

    Attributes:
        to: the address.
        template: what to say.
        language: in which language, as `languages.choose` returns it.
        data: a value for each field of the template.
        time_zone: in which times are told, a name of the IANA database.
        expires_at: when it has become useless, so that it is not sent any more; None for the end that the
            settings give every mail.
    """

    to: str
    template: Template
    language: str
    data: Mapping[str, Value] = field(default_factory=dict)
    time_zone: str = "UTC"
    expires_at: datetime | None = None


class Content(msgspec.Struct, frozen=True):
    """The text of a mail, whole in both forms."""

    text: str
    html: str


class Rendered(msgspec.Struct, frozen=True):
    """A mail as a person will read it."""

    subject: str
    content: Content
