"""Letting people in: invitations to an address, and links for whoever has them.

Whoever invites answers for it: what they can give no more when it is accepted is not given.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET
from sqlalchemy import LargeBinary, String, Uuid, bindparam, update

from courtyard.kernel.accounts import (
    EmailTaken,
    NewAccount,
    create_person,
    find_account_by_email,
    get_account,
    mailing,
)
from courtyard.kernel.context import Access, Context, Scope
from courtyard.kernel.crypto import digest_token, new_token
from courtyard.kernel.database import Prepared, UtcDateTime
from courtyard.kernel.errors import FieldError, NotFound, Unauthenticated
from courtyard.kernel.ids import new_id
from courtyard.kernel.schema import normalise_email
from courtyard.kernel.workspaces.errors import (
    AlreadyMember,
    EmailNotAllowed,
    InvalidInvitation,
    InvitationForAnotherAddress,
    InvitationSettled,
    InvitationsSlowed,
    RoleNotByLink,
    TooManyInvitations,
    VisitorsCannotJoin,
)
from courtyard.kernel.workspaces.mails import INVITATION
from courtyard.kernel.workspaces.models import InvitationLinkRow, InvitationRow
from courtyard.kernel.workspaces.queries import invitations as queries
from courtyard.kernel.workspaces.queries import workspaces
from courtyard.kernel.workspaces.queries.members import find_member
from courtyard.kernel.workspaces.queries.workspaces import Held
from courtyard.kernel.workspaces.rules import Meaning, ensure_limits_fit
from courtyard.kernel.workspaces.rules import invitations as rules
from courtyard.kernel.workspaces.schemas.invitations import (
    Invitation,
    InvitedAccount,
    MadeInvitationLink,
    NewInvitation,
    NewInvitationLink,
    NewInvitedAccount,
)
from courtyard.kernel.workspaces.schemas.workspaces import GeneralSettings, Workspace
from courtyard.kernel.workspaces.service.giving import fits_link, giveable
from courtyard.kernel.workspaces.service.grants import ensure_there, named_scope
from courtyard.kernel.workspaces.service.members import join, known_roles, require_assignable

_ID = bindparam("id", type_=Uuid(), required=True)
_WORKSPACE = bindparam("workspace", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)


def _settling(state: str) -> Prepared[None]:
    """Return the statement that ends an invitation which is open: of two at once, one does."""
    return Prepared(
        update(InvitationRow).where(InvitationRow.id == _ID, queries.OPEN).values(state=state, settled_at=_NOW)
    )


_ACCEPT, _DECLINE, _WITHDRAW = _settling("accepted"), _settling("declined"), _settling("withdrawn")
_DECLINE_BY_TOKEN = Prepared(
    update(InvitationRow)
    .where(InvitationRow.token_digest == bindparam("digest", type_=LargeBinary(), required=True), queries.OPEN)
    .values(state="declined", settled_at=_NOW)
)
# What has expired is another invitation than the one that is made now.
_LAPSE = Prepared(
    update(InvitationRow)
    .where(
        InvitationRow.workspace_id == _WORKSPACE,
        InvitationRow.email == bindparam("email", type_=String(), required=True),
        InvitationRow.state == "pending",
        InvitationRow.expires_at <= _NOW,
    )
    .values(state="expired", settled_at=_NOW)
)
# The count itself says whether there was room: of many at once, no more join than may.
_USE_LINK = Prepared(
    update(InvitationLinkRow)
    .where(InvitationLinkRow.id == _ID, *queries.LINK_OPEN)
    .values(uses=InvitationLinkRow.uses + 1)
)
_WITHDRAW_LINK = Prepared(
    update(InvitationLinkRow)
    .where(
        InvitationLinkRow.id == _ID,
        InvitationLinkRow.workspace_id == _WORKSPACE,
        InvitationLinkRow.withdrawn_at.is_(None),
    )
    .values(withdrawn_at=_NOW)
)


async def invite(context: Context, new: NewInvitation) -> Invitation:
    """Invite whoever reads the mails of an address.

    Where an invitation to it is open, that one is changed, and mailed again unless the last mail is too fresh: then
    the link in it stays good.

    Raises:
        UnknownRole: a role does not exist.
        AboveOwnRights: a role has permissions that the caller has not.
        EmailNotAllowed: the workspace takes addresses of other domains only.
        AlreadyMember: it is the address of a member.
        TooManyInvitations: too many are open.
        InvitationsSlowed: the address has been written to often enough.
    """
    context.require("workspaces.member.edit")
    scope = named_scope(new.scope_type, new.scope_id)
    for role in new.roles:
        ensure_limits_fit(role, scope, None)
    await ensure_there(context, scope)
    await require_assignable(context, new.roles, scope)
    held = await workspaces.hold_workspace(context, context.workspace.workspace_id)
    email = normalise_email(new.email)
    general = workspaces.settings_in(context, held.settings, GeneralSettings)
    if not rules.is_let_in(email, general.invitation_domains):
        raise EmailNotAllowed(errors=[FieldError("addresses of this domain are not let in", pointer="/email")])
    if await queries.is_member(context, email):
        raise AlreadyMember
    await context.db.execute(_LAPSE, workspace=held.id, email=email, now=context.now)
    invitation_id = await queries.find_pending(context, email)
    mailed = await _count_mail(context, email)
    if invitation_id is None:
        if await queries.count_open(context) >= context.runtime.settings.workspaces.open_invitations:
            raise TooManyInvitations
        invitation_id = await _insert(context, new, email, _require_mail(mailed))
    else:
        await context.db.update(InvitationRow, {"id": invitation_id}, **_offer(context, new))
    invitation = await queries.get_invitation(context, invitation_id)
    if isinstance(mailed, timedelta):
        return invitation
    return await _mail(context, held, invitation, mailed)


async def resend(context: Context, invitation_id: UUID) -> Invitation:
    """Mail an invitation once more, with another link; the old one is worthless.

    Raises:
        NotFound: there is no such invitation here.
        InvitationSettled: it is no longer open.
        AboveOwnRights: a role has permissions that the caller has not.
        InvitationsSlowed: the address has been written to often enough.
    """
    context.require("workspaces.member.edit")
    held = await workspaces.hold_workspace(context, context.workspace.workspace_id)
    invitation = await queries.get_invitation(context, invitation_id)
    if invitation.state != "pending":
        raise InvitationSettled
    await require_assignable(context, invitation.roles, invitation.scope)
    return await _mail(context, held, invitation, _require_mail(await _count_mail(context, invitation.email)))


async def withdraw(context: Context, invitation_id: UUID) -> None:
    """Take an invitation back.

    Raises:
        NotFound: there is no such invitation here.
        InvitationSettled: it is no longer open.
    """
    context.require("workspaces.member.edit")
    await queries.get_invitation(context, invitation_id)
    if not await context.db.execute(_WITHDRAW, id=invitation_id, now=context.now):
        raise InvitationSettled


async def accept(context: Context, token: str) -> Workspace:
    """Join with the link of an invitation, as the account that has the address which it was mailed to.

    Raises:
        InvalidInvitation: it is not open (any more).
        InvitationForAnotherAddress: the caller has another address.
    """
    account = await get_account(context, context.account_id)
    found = await queries.find_by_token(context, token)
    if found is None:
        raise InvalidInvitation
    if account.email != found.email:
        raise InvitationForAnotherAddress
    return await _accept(context, found, account.id, token)


async def accept_mine(context: Context, invitation_id: UUID) -> Workspace:
    """Join by an invitation to the address of the caller.

    Raises:
        NotFound: there is none of this id to the caller.
        InvalidInvitation: it can no longer be accepted.
    """
    account = await get_account(context, context.account_id)
    found = await queries.find_by_id(context, invitation_id, account.email)
    if found is None:
        raise NotFound
    return await _accept(context, found, account.id)


async def register(context: Context, new: NewInvitedAccount) -> InvitedAccount:
    """Make an account for the address that an invitation was mailed to, and join.

    Raises:
        InvalidInvitation: it is not open (any more).
        Unauthenticated: the address has an account: log in, and accept.
        WeakPassword: the password would be guessed.
    """
    # Before the transaction begins, in which nobody may wait for the hash of a password.
    found = await queries.find_by_token(context.outside(), new.token)
    if found is None:
        raise InvalidInvitation
    try:
        account = await create_person(
            context, NewAccount(email=found.email, password=new.password, name=new.name, language=new.language)
        )
    except EmailTaken:
        raise Unauthenticated("There is an account with this address: log in, and accept the invitation.") from None
    return InvitedAccount(account, await _accept(context, found, account.id, new.token))


async def decline(context: Context, token: str) -> None:
    """Refuse an invitation, with its link.

    Raises:
        InvalidInvitation: it is not open (any more).
    """
    if not await context.db.execute(_DECLINE_BY_TOKEN, digest=digest_token(token), now=context.now):
        raise InvalidInvitation


async def decline_mine(context: Context, invitation_id: UUID) -> None:
    """Refuse an invitation to the address of the caller.

    Raises:
        NotFound: there is none of this id to the caller.
    """
    account = await get_account(context, context.account_id)
    found = await queries.find_by_id(context, invitation_id, account.email)
    if found is None or not await context.db.execute(_DECLINE, id=found.id, now=context.now):
        raise NotFound


async def make_link(context: Context, new: NewInvitationLink) -> MadeInvitationLink:
    """Make a link by which whoever has it can join.

    Raises:
        UnknownRole: a role does not exist.
        AboveOwnRights: a role has permissions that the caller has not.
        RoleNotByLink: a role shapes the workspace.
        TooManyInvitations: too many links are open.
    """
    context.require("workspaces.member.edit")
    await require_assignable(context, new.roles)
    await workspaces.hold_workspace(context, context.workspace.workspace_id)
    mighty = [name for name, role in (await known_roles(context, new.roles)).items() if not fits_link(role)]
    if mighty:
        raise RoleNotByLink(errors=[FieldError(f"{name} is not given by a link", pointer="/roles") for name in mighty])
    if await queries.count_links(context) >= context.runtime.settings.workspaces.open_invitations:
        raise TooManyInvitations
    link_id, token = new_id(), new_token()
    await context.db.insert(
        InvitationLinkRow,
        id=link_id,
        workspace_id=context.workspace.workspace_id,
        roles=sorted(set(new.roles)),
        token_digest=digest_token(token),
        maker_id=context.account_id,
        uses=0,
        max_uses=new.max_uses,
        created_at=context.now,
        expires_at=context.now + timedelta(days=new.expires_in_days),
    )
    return MadeInvitationLink(await queries.get_link(context, link_id), mailing.link(context, "join", token), token)


async def withdraw_link(context: Context, link_id: UUID) -> None:
    """Take a link back. Who has joined by it stays.

    Raises:
        NotFound: there is no such link here, or it was taken back before.
    """
    context.require("workspaces.member.edit")
    workspace_id = context.workspace.workspace_id
    if not await context.db.execute(_WITHDRAW_LINK, id=link_id, workspace=workspace_id, now=context.now):
        raise NotFound


async def join_by_link(context: Context, token: str) -> Workspace:
    """Join with a link.

    Raises:
        VisitorsCannotJoin: the caller has not registered.
        InvalidInvitation: the link is not good (any more).
        AlreadyMember: the caller is one; the link keeps its use.
        EmailNotAllowed: the workspace takes addresses of other domains only.
    """
    account = await get_account(context, context.account_id)
    if account.kind != "person":
        raise VisitorsCannotJoin
    found = await queries.find_link(context, token)
    held = None if found is None else await _hold_open(context, found.workspace_id)
    if found is None or held is None:
        raise InvalidInvitation
    if await find_member(context, account.id, held.id) is not None:
        raise AlreadyMember
    if not await context.db.execute(_USE_LINK, id=found.id, now=context.now):
        raise InvalidInvitation
    general = workspaces.settings_in(context, held.settings, GeneralSettings)
    if not rules.is_let_in(account.email, general.invitation_domains):
        raise EmailNotAllowed
    given = await giveable(context, held.id, found.maker_id, found.roles)
    await _let_in(context, held, account.id, [role for role in given if fits_link(role)], found.maker_id)
    return await workspaces.load_workspace(context, held.id)


async def _accept(context: Context, found: queries.Found, account_id: UUID, token: str | None = None) -> Workspace:
    held = await _hold_open(context, found.workspace_id)
    if held is None:
        raise InvalidInvitation
    # Looked at again now that nobody can change it: it may have been withdrawn, mailed anew, or given other roles.
    again = (
        await queries.find_by_id(context, found.id, found.email)
        if token is None
        else await queries.find_by_token(context, token)
    )
    if again is None or not await context.db.execute(_ACCEPT, id=again.id, now=context.now):
        raise InvalidInvitation
    given = await giveable(context, held.id, again.inviter_id, again.roles, again.scope)
    await _let_in(context, held, account_id, given, again.inviter_id, again.scope)
    return await workspaces.load_workspace(context, held.id)


async def _let_in(
    context: Context, held: Held, account_id: UUID, roles: list[Meaning], by: UUID, scope: Scope | None = None
) -> None:
    """Make somebody a member with roles that can still be given.

    Raises:
        InvalidInvitation: none can.
    """
    if not roles:
        raise InvalidInvitation
    with context.within(Access(held.id, held.slug, frozenset(), frozenset())):
        await join(context, account_id, [role.name for role in roles], scope=scope, granted_by=by)


async def _hold_open(context: Context, workspace_id: UUID) -> Held | None:
    """Return a workspace and hold everybody else off it; None where nobody can join it now."""
    try:
        held = await workspaces.hold_workspace(context, workspace_id)
    except NotFound:
        return None
    return held if held.archived_at is None and held.deletes_at is None else None


async def _count_mail(context: Context, email: str) -> rules.Mailed | timedelta:
    per_day = context.runtime.settings.workspaces.invitation_mails_per_day
    return rules.mail_once_more(await queries.find_mailed(context, email), context.now, per_day)


def _require_mail(mailed: rules.Mailed | timedelta) -> rules.Mailed:
    """Go on only where an address can be written to.

    Raises:
        InvitationsSlowed: it has been written to often enough.
    """
    if isinstance(mailed, timedelta):
        raise InvitationsSlowed(headers={"Retry-After": str(int(mailed.total_seconds()) + 1)})
    return mailed


def _offer(context: Context, new: NewInvitation) -> dict[str, Any]:
    return {
        "roles": sorted(set(new.roles)),
        "scope_type": None if new.scope_type is UNSET else new.scope_type,
        "scope_id": None if new.scope_id is UNSET else new.scope_id,
        "message": new.message,
        "inviter_id": context.account_id,
        "expires_at": context.now + timedelta(days=new.expires_in_days),
    }


async def _insert(context: Context, new: NewInvitation, email: str, mailed: rules.Mailed) -> UUID:
    invitation_id = new_id()
    await context.db.insert(
        InvitationRow,
        id=invitation_id,
        workspace_id=context.workspace.workspace_id,
        email=email,
        state="pending",
        # Nobody's, until the mail is written.
        token_digest=digest_token(new_token()),
        created_at=context.now,
        **_offer(context, new),
        **msgspec.structs.asdict(mailed),
    )
    return invitation_id


async def _mail(context: Context, held: Held, invitation: Invitation, mailed: rules.Mailed) -> Invitation:
    """Write to the address with a new link, in the language of who has it; the link before is worthless."""
    token = new_token()
    await context.db.update(
        InvitationRow,
        {"id": invitation.id},
        token_digest=digest_token(token),
        **msgspec.structs.asdict(mailed),
    )
    inviter = await get_account(context, invitation.inviter_id)
    known = await find_account_by_email(context, invitation.email)
    general = workspaces.settings_in(context, held.settings, GeneralSettings)
    await mailing.write(
        context,
        INVITATION,
        invitation.email,
        "" if known is None else known.name,
        (None if known is None else known.language) or general.language,
        workspace=held.name,
        inviter=inviter.name,
        role=", ".join(invitation.roles),
        message=invitation.message,
        link=mailing.link(context, "invitation", token),
        days=rules.days_left(invitation.expires_at, context.now),
        account_id=None if known is None else known.id,
    )
    return await queries.get_invitation(context, invitation.id)
