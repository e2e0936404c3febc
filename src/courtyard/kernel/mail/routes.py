"""HTTP: what a workspace has sent and how it says it, and what people want to be sent."""

import asyncio
from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter
from msgspec import Meta

from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.errors import NotFound
from courtyard.kernel.http import PUBLIC, SIGNED_IN, StrictRequest, delete, get, patch, post, put
from courtyard.kernel.mail import queries
from courtyard.kernel.mail.errors import InvalidStopLink, UnknownMailKind
from courtyard.kernel.mail.permissions import EDIT, READ
from courtyard.kernel.mail.schemas import (
    Language,
    Mail,
    MailPreference,
    MailPreferencePatch,
    MailPreferencesPatch,
    MailPreview,
    MailState,
    MailTemplate,
    MailTemplateDetail,
    NewWords,
    OutboxMail,
    TemplateName,
)
from courtyard.kernel.mail.service import preferences, templates
from courtyard.kernel.mail.transports import newest_in, outbox_of
from courtyard.kernel.schema import Email

WORKSPACE = "/workspaces/{workspace:str}"
TEMPLATE = WORKSPACE + "/mail/templates/{name:str}/{language:str}"
OK, NOTHING = 200, 204
Token = Annotated[
    str,
    Meta(min_length=1, max_length=700, pattern="^[A-Za-z0-9_-]+$", description="What stands in the link."),
]
# The framework has a use for `state` itself.
State = Annotated[MailState | None, QueryParameter(name="state", description="Only mails in this state.")]


@get(f"{WORKSPACE}/mail/messages", permission=READ)
async def list_mails(
    context: ReadContext,
    recipient: Email | None = None,
    template: TemplateName | None = None,
    in_state: State = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor | None = None,
) -> Page[Mail]:
    """List the mails of a workspace and what became of them, newest first."""
    return await queries.list_mails(context, limit, cursor, recipient=recipient, template=template, state=in_state)


@get(WORKSPACE + "/mail/messages/{mail_id:uuid}", permission=READ)
async def get_mail(context: ReadContext, mail_id: UUID) -> Mail:
    """See what became of a mail: whether it was sent, and what the mail server said."""
    return await queries.get_mail(context, mail_id)


@get(f"{WORKSPACE}/mail/templates", permission=EDIT)
async def list_mail_templates(context: ReadContext) -> list[MailTemplate]:
    """List the mails that a workspace sends, and where it says them in words of its own."""
    return await queries.list_templates(context)


@get(TEMPLATE, permission=EDIT)
async def get_mail_template(context: ReadContext, name: TemplateName, language: Language) -> MailTemplateDetail:
    """See a mail in a language, with made-up values."""
    return await templates.get_template(context, name, language)


@put(TEMPLATE, permission=EDIT)
async def set_mail_template(
    context: Context, name: TemplateName, language: Language, data: NewWords, version: int | None
) -> MailTemplateDetail:
    """Say a mail in words of the workspace's own."""
    return await templates.set_words(context, name, language, data, version)


@delete(TEMPLATE, permission=EDIT)
async def drop_mail_template(context: Context, name: TemplateName, language: Language) -> None:
    """Say a mail as Courtyard does again."""
    await templates.drop_words(context, name, language)


@post(f"{TEMPLATE}/preview", permission=EDIT, status=OK, idempotent=False)
async def preview_mail_template(
    context: ReadContext, name: TemplateName, language: Language, data: NewWords
) -> MailPreview:
    """See how a mail would read in other words. Nothing is kept."""
    return templates.preview(context, name, language, data)


@get(f"{WORKSPACE}/mail/preferences", permission=SIGNED_IN)
async def list_mail_preferences(context: ReadContext) -> list[MailPreference]:
    """See what one is written to about by a workspace."""
    return await preferences.list_mine(context)


@patch(f"{WORKSPACE}/mail/preferences", permission=SIGNED_IN, problems=[UnknownMailKind])
async def change_mail_preferences(context: Context, data: MailPreferencesPatch) -> list[MailPreference]:
    """Choose what one is written to about by a workspace."""
    return await preferences.change_mine(context, data.wanted)


@get("/mail/preference", permission=PUBLIC, problems=[InvalidStopLink])
async def get_mail_preference(context: ReadContext, token: Token) -> MailPreference:
    """See what the link at the end of a mail turns off, and whether that is wanted."""
    return await preferences.find_by_link(context, token)


@patch("/mail/preference", permission=PUBLIC, problems=[InvalidStopLink])
async def change_mail_preference(context: Context, token: Token, data: MailPreferencePatch) -> MailPreference:
    """Turn it off, or on again. Whoever has the mail may."""
    return await preferences.say_by_link(context, token, wanted=data.wanted)


@post("/mail/unsubscribe", permission=PUBLIC, status=NOTHING, idempotent=False, problems=[InvalidStopLink])
async def unsubscribe(context: Context, token: Token) -> None:
    """Turn it off at once, as mail programs do for their users (RFC 8058)."""
    await preferences.say_by_link(context, token, wanted=False)


@get("/mail/outbox", permission=PUBLIC)
async def read_outbox(
    context: ReadContext, request: StrictRequest, recipient: Email | None = None, limit: Limit = DEFAULT_LIMIT
) -> list[OutboxMail]:
    """Read the mails in the outbox of a server that is being tried out, newest first.

    For development on this very machine: in production, or from elsewhere, there is nothing here.
    """
    settings = context.runtime.settings
    if settings.mode != "development" or settings.mail.transport != "outbox" or not request.is_from_this_machine:
        raise NotFound
    return await asyncio.to_thread(newest_in, outbox_of(settings), recipient, limit)


ROUTES = (
    read_outbox,
    list_mails,
    get_mail,
    list_mail_templates,
    get_mail_template,
    set_mail_template,
    drop_mail_template,
    preview_mail_template,
    list_mail_preferences,
    change_mail_preferences,
    get_mail_preference,
    change_mail_preference,
    unsubscribe,
)
