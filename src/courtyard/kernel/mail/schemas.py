"""What a mail is made of, before and after it is rendered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

from courtyard.kernel.schema import Input, Output

Value: TypeAlias = str | int | float | date | datetime | None


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What somebody is written to about, and can turn off.

    Attributes:
        name: of the part, a dot, and of the kind: `chat.messages`.
        description: what these mails tell of, in a few words.
        per_hour: how many of them one person gets in an hour; the others are not sent. None for all of them.
    """

    name: str
    description: str
    per_hour: int | None = None


@dataclass(frozen=True, kw_only=True)
class Template:
    """The declaration of a mail that a part may send.

    Its text stands in `<folder>/<name>.txt.jinja` and `<folder>/<name>.html.jinja`, where the folder is that of the
    part (`Application.templates`) and the name that behind the first dot.

    Attributes:
        name: of the part, a dot, and of the mail: `accounts.login`.
        fields: what has to be given to it. Those that end in `link` are addresses; everything else is plain text,
            whoever wrote it.
        kind: what it is about, where people can turn that off; None for what they have asked for, or must know.
        of_workspaces: whether workspaces send it, and may say it in words of their own.
    """

    name: str
    fields: tuple[str, ...] = ()
    kind: Kind | None = None
    of_workspaces: bool = True


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
        account_id: whose address it is, where that is known: what somebody has turned off stays so under another
            address.
        thread: what the mail is about, such as `chat.conversation:<id>`: mail programs show mails of one thread
            together.
    """

    to: str
    template: Template
    language: str
    data: Mapping[str, Value] = field(default_factory=dict)
    time_zone: str = "UTC"
    expires_at: datetime | None = None
    account_id: UUID | None = None
    thread: str | None = None


class Words(msgspec.Struct, frozen=True):
    """How a workspace says a mail: a subject, and a text in Markdown, with fields in both."""

    subject: str
    text: str


class Content(msgspec.Struct, frozen=True):
    """What is in a mail, until it is delivered.

    Attributes:
        text: all of it as plain text.
        html: all of it as a page.
        thread: what it is about.
        unsubscribe: where a mail program tells that no more such mails are wanted (RFC 8058).
    """

    text: str
    html: str
    thread: str | None = None
    unsubscribe: str | None = None


class Rendered(msgspec.Struct, frozen=True):
    """A mail as a person will read it."""

    subject: str
    content: Content


MailState: TypeAlias = Literal["queued", "sent", "failed", "suppressed"]
TemplateName: TypeAlias = Annotated[str, Meta(min_length=3, max_length=100, pattern=r"^[a-z_]+\.[a-z0-9_]+$(?!\n)")]
KindName: TypeAlias = Annotated[str, Meta(min_length=3, max_length=100, pattern=r"^[a-z_]+\.[a-z0-9_]+$(?!\n)")]
Language: TypeAlias = Annotated[str, Meta(min_length=2, max_length=16, pattern=r"^[a-z]+$(?!\n)")]
Subject: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$(?!\n)")]
Body: TypeAlias = Annotated[str, Meta(min_length=1, max_length=10_000, pattern=r"^[^\x00]+$(?!\n)")]


class Mail(Output, frozen=True):
    """What became of a mail.

    Attributes:
        kind: what it was about, where that can be turned off.
        state: `suppressed` is not sent: the person wants none, or has had enough of this kind for an hour.
        attempts: how often it was tried.
        answer: the last word of the mail server, or why it is not sent.
        task_id: of what delivers it, and says when that is tried next; null where it is not sent.
        settled_at: when it was sent, or given up.
    """

    id: UUID
    template: str
    kind: str | None
    language: str
    recipient: str
    subject: str
    state: MailState
    attempts: int
    answer: str | None
    created_at: datetime
    task_id: UUID | None
    expires_at: datetime
    settled_at: datetime | None


class MailPreference(Output, frozen=True):
    """Whether somebody wants mails of a kind.

    Attributes:
        kind: what they are about.
        description: the same in words.
        wanted: whether they are sent.
    """

    kind: str
    description: str
    wanted: bool


class MailPreferencesPatch(Input, frozen=True):
    """Changes of what one wants to be written to about.

    Attributes:
        wanted: kind → whether such mails are sent.
    """

    wanted: Annotated[dict[KindName, bool], Meta(min_length=1, max_length=100)]


class MailPreferencePatch(Input, frozen=True):
    """Whether mails of the kind of a link are wanted."""

    wanted: bool


class MailTemplate(Output, frozen=True):
    """A mail that the workspace sends.

    Attributes:
        name: of the part, a dot, and of the mail.
        fields: what its text may name in double braces.
        kind: what it is about, where people can turn that off.
        own: the languages in which the workspace says it in words of its own.
    """

    name: str
    fields: list[str]
    kind: str | None
    own: list[str]


class OwnWords(Output, frozen=True):
    """How a workspace says a mail in a language.

    Attributes:
        subject: with fields in double braces.
        text: the same, in Markdown.
        version: counts the changes.
    """

    subject: str
    text: str
    version: int
    changed_at: datetime


class NewWords(Input, frozen=True):
    """How a workspace is to say a mail in a language.

    Attributes:
        subject: a line, with fields in double braces: `{{ inviter }} invites you`.
        text: in Markdown (CommonMark without HTML), with fields, `{% if field %}…{% endif %}` and the filters
            `date`, `datetime` and `number`.
    """

    subject: Subject
    text: Body


class MailPreview(Output, frozen=True):
    """A mail as somebody would read it, with made-up values."""

    subject: str
    text: str
    html: str


class MailTemplateDetail(Output, frozen=True):
    """A mail in a language: the words of the workspace, if it has any, and what a reader sees."""

    name: str
    language: str
    own: OwnWords | None
    preview: MailPreview


class OutboxMail(Output, frozen=True):
    """A mail in the outbox of a server that is being tried out."""

    name: str
    to: str
    subject: str
    template: str
    text: str
    html: str
