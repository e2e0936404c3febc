"""Every read of mail for people: what became of it, what is wanted, in whose words it is said."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, String, Uuid, bindparam, func, select

from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import WORKSPACE, Page, Prepared, UtcDateTime, page, sort_key
from courtyard.kernel.errors import NotFound
from courtyard.kernel.mail.models import MailPreferenceRow, MailRow, MailTemplateRow
from courtyard.kernel.mail.permissions import EDIT, READ
from courtyard.kernel.mail.schemas import Kind, Mail, MailPreference, MailTemplate, OwnWords, Template, Words
from courtyard.kernel.schema import normalise_email

_ID = bindparam("id", type_=Uuid(), required=True)
_NAME = bindparam("name", type_=String(), required=True)
_LANGUAGE = bindparam("language", type_=String(), required=True)
_SUBJECT = bindparam("subject", type_=String(), required=True)
_KIND = bindparam("kind", type_=String(), required=True)
_HERE = MailRow.workspace_id == WORKSPACE
_MAIL = select(*(getattr(MailRow, name) for name in Mail.__struct_fields__))
_FILTERS: dict[str, Any] = {
    "recipient": MailRow.recipient == bindparam("recipient", type_=String(), required=True),
    "template": MailRow.template == bindparam("template", type_=String(), required=True),
    "state": MailRow.state == bindparam("state", type_=String(), required=True),
    # Newest first.
    "before": MailRow.id < bindparam("before", type_=Uuid(), required=True),
}
_ONE = Prepared(_MAIL.where(_HERE, MailRow.id == _ID), Mail)
_COUNT_SENT = Prepared(
    select(func.count()).where(
        _HERE,
        MailRow.recipient == bindparam("recipient", type_=String(), required=True),
        MailRow.created_at > bindparam("since", type_=UtcDateTime(), required=True),
        MailRow.kind == _KIND,
        MailRow.state != "suppressed",
    ),
    int,
)
_WORDS_HERE = (MailTemplateRow.workspace_id == WORKSPACE, MailTemplateRow.name == _NAME)
_WORDS = Prepared(
    select(MailTemplateRow.subject, MailTemplateRow.text).where(*_WORDS_HERE, MailTemplateRow.language == _LANGUAGE),
    Words,
)
_OWN_WORDS = Prepared(
    select(*(getattr(MailTemplateRow, name) for name in OwnWords.__struct_fields__)).where(
        *_WORDS_HERE, MailTemplateRow.language == _LANGUAGE
    ),
    OwnWords,
)
_OWN = Prepared(
    select(MailTemplateRow.name, MailTemplateRow.language)
    .where(MailTemplateRow.workspace_id == WORKSPACE)
    .order_by(MailTemplateRow.name, MailTemplateRow.language),
    tuple,
)
_MINE = (MailPreferenceRow.workspace_id == WORKSPACE, MailPreferenceRow.subject == _SUBJECT)
_WANTED = Prepared(select(MailPreferenceRow.wanted).where(*_MINE, MailPreferenceRow.kind == _KIND), bool)


class _Said(msgspec.Struct, frozen=True):
    kind: str
    wanted: bool


_ALL_SAID = Prepared(select(MailPreferenceRow.kind, MailPreferenceRow.wanted).where(*_MINE), _Said)


@lru_cache(maxsize=64)
def _newest(filters: frozenset[str]) -> Prepared[Mail]:
    # Each set of filters has a statement of its own, so that each has a plan of its own.
    return Prepared(
        _MAIL.where(_HERE, *(_FILTERS[name] for name in sorted(filters)))
        .order_by(MailRow.id.desc())
        .limit(bindparam("limit", type_=BigInteger(), required=True)),
        Mail,
    )


async def list_mails(
    context: ReadContext,
    limit: int,
    cursor: str | None,
    *,
    recipient: str | None = None,
    template: str | None = None,
    state: str | None = None,
) -> Page[Mail]:
    """Return the mails of the workspace, newest first."""
    context.require(READ)
    recipient = None if recipient is None else normalise_email(recipient)
    before = None if cursor is None else sort_key(cursor, tuple[UUID])[0]
    given = {"recipient": recipient, "template": template, "state": state, "before": before}
    given = {name: value for name, value in given.items() if value is not None}
    found = await context.db.all(_newest(frozenset(given)), limit=limit + 1, **given)
    return page(found, limit, lambda mail: (mail.id,))


async def get_mail(context: ReadContext, mail_id: UUID) -> Mail:
    """Return what became of a mail of the workspace.

    Raises:
        NotFound: it has sent no such mail.
    """
    context.require(READ)
    found = await context.db.first(_ONE, id=mail_id)
    if found is None:
        raise NotFound
    return found


async def count_sent(context: ReadContext, recipient: str, kind: str, since: datetime) -> int:
    """Return how many mails of a kind an address was sent since a time."""
    return await context.db.one(_COUNT_SENT, recipient=recipient, kind=kind, since=since)


async def is_wanted(context: ReadContext, subject: str, kind: str) -> bool:
    """Return whether somebody wants mails of a kind from the workspace of the context. Who has said nothing does."""
    return await context.db.first(_WANTED, subject=subject, kind=kind) is not False


async def list_preferences(context: ReadContext, subject: str) -> list[MailPreference]:
    """Return every kind of mail, and whether somebody wants it from this workspace."""
    said = {each.kind: each.wanted for each in await context.db.all(_ALL_SAID, subject=subject)}
    return [MailPreference(kind.name, kind.description, said.get(kind.name, True)) for kind in kinds_of(context)]


def kinds_of(context: ReadContext) -> Sequence[Kind]:
    """Return every kind of mail that can be turned off, in the order in which parts declare them."""
    declared = (template.kind for part in context.runtime.parts for template in part.mails)
    return [*{kind.name: kind for kind in declared if kind is not None}.values()]


def find_template(context: ReadContext, name: str) -> Template:
    """Return a mail that workspaces send.

    Raises:
        NotFound: there is none of this name.
    """
    for template in _templates(context):
        if template.name == name:
            return template
    raise NotFound


async def list_templates(context: ReadContext) -> list[MailTemplate]:
    """Return the mails that the workspace sends."""
    context.require(EDIT)
    own: dict[str, list[str]] = {}
    for name, language in await context.db.all(_OWN):
        own.setdefault(name, []).append(language)
    return [
        MailTemplate(
            each.name, list(each.fields), None if each.kind is None else each.kind.name, own.get(each.name, [])
        )
        for each in _templates(context)
    ]


async def find_words(context: ReadContext, name: str, language: str) -> Words | None:
    """Return how the workspace says a mail in a language; None where it leaves that to us."""
    return await context.db.first(_WORDS, name=name, language=language)


async def find_own_words(context: ReadContext, name: str, language: str) -> OwnWords | None:
    """Return the same with its version."""
    return await context.db.first(_OWN_WORDS, name=name, language=language)


def _templates(context: ReadContext) -> list[Template]:
    return [template for part in context.runtime.parts for template in part.mails if template.of_workspaces]
