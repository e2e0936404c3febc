"""Mails about accounts: in the language of the account, with links that open the page of this installation."""

from typing import Any
from urllib.parse import quote
from uuid import UUID

from courtyard.kernel import languages
from courtyard.kernel.accounts.schemas import Account
from courtyard.kernel.context import Context
from courtyard.kernel.mail import Message, Template, send


async def mail(context: Context, template: Template, account: Account, **data: Any) -> None:
    """Write to the owner of an account, who has an address."""
    await write(context, template, account.email or "", account.name, account.language, account_id=account.id, **data)


async def write(
    context: Context,
    template: Template,
    to: str,
    name: str,
    language: str | None,
    *,
    account_id: UUID | None = None,
    **data: Any,
) -> None:
    """Write to an address.

    Args:
        context: the transaction.
        template: what to write.
        to: the address.
        name: of whom it is written to; empty where that is not known.
        language: that they want; None for the default.
        account_id: whose address it is, where it is known to be somebody's.
        data: the other fields of the template. `link` is that to the account unless another is given.
    """
    known = {
        "name": name,
        "link": link(context, "account"),
        "reset_link": link(context, "password-reset"),
        "code": None,
        **data,
    }
    fields = {field: known[field] for field in template.fields}
    chosen = languages.choose(None, language)
    await send(context, Message(to=to, template=template, language=chosen, data=fields, account_id=account_id))


def link(context: Context, purpose: str, token: str = "") -> str:
    """Return the address of the page for a purpose, behind which a token is redeemed."""
    return context.runtime.settings.link_url.format(purpose=quote(purpose), token=quote(token))
