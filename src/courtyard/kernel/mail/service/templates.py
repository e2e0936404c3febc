"""How a workspace says its mails, in words of its own."""

from datetime import timedelta

from sqlalchemy import BigInteger, String, Text, bindparam, delete, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_there

from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import WORKSPACE, Prepared, UtcDateTime
from courtyard.kernel.errors import FieldError, InvalidInput, NotFound, PreconditionFailed
from courtyard.kernel.languages import LANGUAGES
from courtyard.kernel.mail import authoring, queries
from courtyard.kernel.mail.models import MailTemplateRow
from courtyard.kernel.mail.permissions import EDIT
from courtyard.kernel.mail.rendering import render
from courtyard.kernel.mail.schemas import (
    MailPreview,
    MailTemplateDetail,
    Message,
    NewWords,
    Template,
    Value,
    Words,
)

_NAME = bindparam("name", type_=String(), required=True)
_LANGUAGE = bindparam("language", type_=String(), required=True)
_HERE = (
    MailTemplateRow.workspace_id == WORKSPACE,
    MailTemplateRow.name == bindparam("of_name", type_=String(), required=True),
    MailTemplateRow.language == bindparam("of_language", type_=String(), required=True),
)
_VALUES = {
    "subject": bindparam("subject", type_=String(), required=True),
    "text": bindparam("text", type_=Text(), required=True),
    "changed_at": bindparam("now", type_=UtcDateTime(), required=True),
}
_BEGIN = Prepared(
    insert_unless_there(MailTemplateRow)
    .values(workspace_id=WORKSPACE, name=_NAME, language=_LANGUAGE, version=1, **_VALUES)
    .on_conflict_do_nothing()
)
_CHANGE = Prepared(update(MailTemplateRow).where(*_HERE).values(version=MailTemplateRow.version + 1, **_VALUES))
_CHANGE_SEEN = Prepared(
    update(MailTemplateRow)
    .where(*_HERE, MailTemplateRow.version == bindparam("seen", type_=BigInteger(), required=True))
    .values(version=MailTemplateRow.version + 1, **_VALUES)
)
_DROP = Prepared(delete(MailTemplateRow).where(*_HERE))


async def get_template(context: ReadContext, name: str, language: str) -> MailTemplateDetail:
    """Return a mail in a language, as somebody would read it now.

    Raises:
        NotFound: there is no such mail, or no such language.
    """
    context.require(EDIT)
    template = _find(context, name, language)
    own = await queries.find_own_words(context, name, language)
    words = None if own is None else Words(own.subject, own.text)
    return MailTemplateDetail(name, language, own, _preview(context, template, language, words))


def preview(context: ReadContext, name: str, language: str, new: NewWords) -> MailPreview:
    """Return a mail in other words, as somebody would read it. Nothing is kept.

    Raises:
        NotFound: there is no such mail, or no such language.
        InvalidInput: the words cannot be used; with the line.
    """
    context.require(EDIT)
    template = _find(context, name, language)
    return _preview(context, template, language, _checked(template, new))


async def set_words(
    context: Context, name: str, language: str, new: NewWords, version: int | None
) -> MailTemplateDetail:
    """Say a mail in other words from now on.

    Raises:
        NotFound: there is no such mail, or no such language.
        InvalidInput: the words cannot be used; with the line.
        PreconditionFailed: they have been changed or dropped meanwhile.
    """
    context.require(EDIT)
    template = _find(context, name, language)
    # A text that fails only with its values fails here, not when somebody is to be written to.
    _preview(context, template, language, _checked(template, new))
    values = {"subject": new.subject, "text": new.text, "now": context.now}
    where = {"of_name": name, "of_language": language}
    if version is not None:
        kept = await context.db.execute(_CHANGE_SEEN, **where, seen=version, **values)
    else:
        kept = await context.db.execute(_BEGIN, name=name, language=language, **values)
        kept = kept or await context.db.execute(_CHANGE, **where, **values)
    if not kept:
        raise PreconditionFailed
    return await get_template(context, name, language)


async def drop_words(context: Context, name: str, language: str) -> None:
    """Leave it to Courtyard again how a mail is said.

    Raises:
        NotFound: the workspace has no words of its own for it.
    """
    context.require(EDIT)
    if not await context.db.execute(_DROP, of_name=name, of_language=language):
        raise NotFound


def _find(context: ReadContext, name: str, language: str) -> Template:
    if language not in LANGUAGES:
        raise NotFound
    return queries.find_template(context, name)


def _checked(template: Template, new: NewWords) -> Words:
    faults = []
    for field, source in (("subject", new.subject), ("text", new.text)):
        try:
            authoring.check(source, template.fields)
        except authoring.Unwritable as error:
            faults.append(FieldError(str(error), pointer=f"/{field}"))
    if faults:
        raise InvalidInput(errors=faults)
    return Words(new.subject, new.text)


def _preview(context: ReadContext, template: Template, language: str, words: Words | None) -> MailPreview:
    part = next(part for part in context.runtime.parts if template in part.mails)
    data = {field: _sample(context, field) for field in template.fields}
    message = Message(to="ada@example.org", template=template, language=language, data=data)
    try:
        rendered = render(context.runtime.settings, part, message, own=words)
    except (TypeError, ValueError, AttributeError) as error:
        if words is None:
            raise
        fault = FieldError("a filter does not fit the field that it is used on", pointer="/text")
        raise InvalidInput(errors=[fault]) from error
    return MailPreview(rendered.subject, rendered.content.text, rendered.content.html)


def _sample(context: ReadContext, field: str) -> Value:
    """Return a value as the field may have it: what it is tells its name."""
    if field.endswith("link"):
        return context.runtime.settings.public_url
    if field in {"days", "minutes", "left", "count"}:
        return 3
    if field == "time":
        return context.now
    return (context.now + timedelta(days=7)).date() if field == "date" else f"[{field}]"
