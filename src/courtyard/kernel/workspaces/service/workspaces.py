"""Every change of a workspace itself, from its beginning to its end."""

from datetime import timedelta
from uuid import UUID

from msgspec import UNSET
from sqlalchemy import String, Uuid, bindparam, or_, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_taken

from courtyard.kernel.accounts import get_account, has_second_factor, mailing, require_recent_proof, rights_changed
from courtyard.kernel.context import Access, Context
from courtyard.kernel.database import Json, Prepared, UniqueViolation, UtcDateTime
from courtyard.kernel.errors import LastOwner, NotFound, PreconditionFailed, SecondFactorRequired
from courtyard.kernel.ids import new_id
from courtyard.kernel.workspaces.errors import NotConfirmed, SlugTaken, VisitorsCannotOwn
from courtyard.kernel.workspaces.mails import WORKSPACE_WILL_BE_DELETED
from courtyard.kernel.workspaces.models import InvitationRow, WorkspaceRow, WorkspaceSlugRow
from courtyard.kernel.workspaces.permissions import OWNER
from courtyard.kernel.workspaces.queries import members
from courtyard.kernel.workspaces.queries import workspaces as queries
from courtyard.kernel.workspaces.rules import settings as rules
from courtyard.kernel.workspaces.schemas.workspaces import (
    GeneralSettings,
    NewWorkspace,
    SettingsOfWorkspace,
    SettingsPatch,
    Workspace,
    WorkspacePatch,
)
from courtyard.kernel.workspaces.service.members import join, remove_member_rows

_WORKSPACE = bindparam("workspace", type_=Uuid(), required=True)
_SLUG = bindparam("slug", type_=String(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)

_INSERT_WORKSPACE = Prepared(
    insert_unless_taken(WorkspaceRow)
    .values(
        {
            column.name: bindparam(column.name, type_=column.type, required=True)
            for column in WorkspaceRow.__table__.columns
        }
    )
    .on_conflict_do_nothing(index_elements=[WorkspaceRow.slug])
)
# One row says whose a slug is, so of two who want it one gets it.
_TAKE_SLUG = Prepared(
    insert_unless_taken(WorkspaceSlugRow)
    .values(slug=_SLUG, workspace_id=_WORKSPACE, kept_until=None)
    .on_conflict_do_update(
        index_elements=[WorkspaceSlugRow.slug],
        set_={"workspace_id": _WORKSPACE, "kept_until": None},
        where=or_(WorkspaceSlugRow.kept_until <= _NOW, WorkspaceSlugRow.workspace_id == _WORKSPACE),
    )
)
_KEEP_SLUG = Prepared(
    update(WorkspaceSlugRow)
    .where(WorkspaceSlugRow.slug == _SLUG, WorkspaceSlugRow.workspace_id == _WORKSPACE)
    .values(kept_until=bindparam("kept_until", type_=UtcDateTime(), required=True))
)
_CHANGE = Prepared(
    update(WorkspaceRow)
    .where(WorkspaceRow.id == _WORKSPACE)
    .values(
        name=bindparam("name", type_=String(), required=True),
        slug=_SLUG,
        settings=bindparam("settings", type_=Json(), required=True),
        archived_at=bindparam("archived_at", type_=UtcDateTime(), required=True),
        deletes_at=bindparam("deletes_at", type_=UtcDateTime(), required=True),
        version=WorkspaceRow.version + 1,
    )
)
_DECLINE_ALL = Prepared(
    update(InvitationRow)
    .where(InvitationRow.email == bindparam("email", type_=String(), required=True), InvitationRow.state == "pending")
    .values(state="declined", settled_at=_NOW)
)


async def create_workspace(context: Context, new: NewWorkspace) -> Workspace:
    """Make a workspace that the caller owns.

    Raises:
        VisitorsCannotOwn: the caller is an anonymous visitor.
        SlugTaken: the slug is in use.
    """
    owner_id = context.account_id
    if context.principal is not None and context.principal.kind == "visitor":
        raise VisitorsCannotOwn
    return await found_workspace(context, new, owner_id)


async def found_workspace(context: Context, new: NewWorkspace, owner_id: UUID) -> Workspace:
    """Make a workspace for an owner; for the edge that needs no permission, the command line.

    Raises:
        SlugTaken: the slug is in use.
    """
    workspace_id = new_id()
    inserted = await context.db.execute(
        _INSERT_WORKSPACE,
        id=workspace_id,
        slug=new.slug,
        name=new.name,
        settings={},
        version=1,
        created_at=context.now,
        archived_at=None,
        deletes_at=None,
    )
    if not inserted:
        raise SlugTaken
    await _take_slug(context, workspace_id, new.slug)
    await join(context, owner_id, [OWNER], granted_by=None, workspace_id=workspace_id)
    return await queries.load_workspace(context, workspace_id)


async def change_workspace(context: Context, patch: WorkspacePatch, version: int | None) -> Workspace:
    """Change name or slug of the workspace of the context. The old slug leads to it for a while.

    Raises:
        PreconditionFailed: it is no longer the version that the caller has seen.
        SlugTaken: the slug is another workspace's, or was until lately.
    """
    context.require("workspaces.workspace.edit")
    held = await _hold(context, version)
    name = held.name if patch.name is UNSET else patch.name
    slug = held.slug if patch.slug is UNSET else patch.slug
    if (name, slug) == (held.name, held.slug):
        return await queries.get_workspace(context)
    try:
        # The workspace before its slug, as where one is founded, so that two who want a slug never wait for each other.
        await _change(context, held, name=name, slug=slug)
    except UniqueViolation:
        raise SlugTaken from None
    if slug != held.slug:
        await _take_slug(context, held.id, slug)
        days = context.runtime.settings.workspaces.slug_kept_days
        kept_until = context.now + timedelta(days=days)
        await context.db.execute(_KEEP_SLUG, slug=held.slug, workspace=held.id, kept_until=kept_until)
    return await queries.get_workspace(context)


async def change_settings(context: Context, patch: SettingsPatch, version: int | None) -> SettingsOfWorkspace:
    """Change settings of the workspace of the context.

    Raises:
        InvalidSettings: a section or value is unknown or out of its bounds.
        PreconditionFailed: it is no longer the version that the caller has seen.
        SecondFactorRequired: the caller asks others for a second factor without having one.
    """
    context.require("workspaces.workspace.edit")
    held = await _hold(context, version)
    settings = rules.change_settings(queries.sections_of(context), held.settings, patch.sections)
    general = queries.settings_in(context, settings, GeneralSettings)
    before = queries.settings_in(context, held.settings, GeneralSettings)
    if general.require_second_factor not in {"nobody", before.require_second_factor}:
        _require_second_factor(context)
    if settings != held.settings:
        await _change(context, held, settings=settings)
    return await queries.get_settings(context)


async def archive_workspace(context: Context) -> Workspace:
    """Let the workspace be read only.

    Raises:
        WorkspaceDeleted: it has been deleted.
    """
    context.require("workspaces.workspace.archive")
    return await _set_archived(context, archived=True)


async def unarchive_workspace(context: Context) -> Workspace:
    """Open an archived workspace again.

    Raises:
        WorkspaceDeleted: it has been deleted.
    """
    context.require("workspaces.workspace.archive")
    return await _set_archived(context, archived=False)


async def delete_workspace(context: Context, confirm: str) -> None:
    """Close the workspace at once, and remove it when the time is over in which an owner can have it back.

    Raises:
        StepUpNeeded: the last proof of the caller is too old.
        NotConfirmed: what was typed is not its slug.
    """
    context.workspace.require_open(changes=False)
    context.require("workspaces.workspace.delete")
    require_recent_proof(context)
    held = await _hold(context, None)
    if confirm != held.slug:
        raise NotConfirmed
    if held.deletes_at is None:
        await close_workspace(context, held.id)


async def restore_workspace(context: Context) -> Workspace:
    """Have a deleted workspace back.

    Raises:
        NotFound: it is there, or no longer there.
        Forbidden: the caller is no owner.
    """
    if context.workspace.deletes_at is None:
        raise NotFound
    context.require("workspaces.workspace.delete")
    await reopen_workspace(context, context.workspace.workspace_id)
    return await queries.get_workspace(context)


async def close_workspace(context: Context, workspace_id: UUID, *, at_once: bool = False) -> None:
    """Have a workspace removed after the time of grace, or now; the owners are told. Asks for no permission.

    Raises:
        NotFound: it is not there.
    """
    held = await queries.hold_workspace(context, workspace_id)
    grace = timedelta(0) if at_once else timedelta(days=context.runtime.settings.workspaces.deletion_grace_days)
    context.name_changes("workspaces:workspace:closed")
    await _change(context, held, deletes_at=context.now + grace)
    context.name_changes(None)
    for owner_id in await members.list_owners(context, workspace_id):
        owner, date = await get_account(context, owner_id), (context.now + grace).date()
        await mailing.mail(context, WORKSPACE_WILL_BE_DELETED, owner, workspace=held.name, date=date)
    await _tell_members(context, workspace_id)


async def reopen_workspace(context: Context, workspace_id: UUID) -> None:
    """Have a deleted workspace back. Asks for no permission.

    Raises:
        NotFound: it is not there, was not deleted, or is being removed already.
    """
    held = await queries.hold_workspace(context, workspace_id)
    if held.deletes_at is None or held.deletes_at <= context.now:
        raise NotFound
    context.name_changes("workspaces:workspace:restored")
    await _change(context, held, deletes_at=None)
    context.name_changes(None)
    await _tell_members(context, workspace_id)


async def archive(context: Context, workspace_id: UUID, *, archived: bool) -> None:
    """Let a workspace be read only, or not. Asks for no permission.

    Raises:
        NotFound: it is not there.
    """
    held = await queries.hold_workspace(context, workspace_id)
    if (held.archived_at is not None) != archived:
        if archived:
            context.name_changes("workspaces:workspace:archived")
        else:
            context.name_changes("workspaces:workspace:opened")
        await _change(context, held, archived_at=context.now if archived else None)


async def forget_account(context: Context, account_id: UUID) -> None:
    """Let an account that is deleted leave every workspace; one that nobody else belongs to is deleted with it.

    Raises:
        LastOwner: a workspace of others would be left without an owner.
    """
    account = await get_account(context, account_id)
    if account.email is not None:
        await context.db.execute(_DECLINE_ALL, email=account.email, now=context.now)
    # Always in the same order, so that two of them never wait for each other.
    for workspace_id in await queries.list_workspaces_of(context, account_id):
        held = await queries.hold_workspace(context, workspace_id)
        member = await members.find_member(context, account_id, workspace_id)
        if member is None:
            continue
        owners = await members.list_owners(context, workspace_id)
        if OWNER in member.roles and set(owners) <= {account_id}:
            if await queries.has_other_people(context, workspace_id, account_id):
                raise LastOwner
            await close_workspace(context, workspace_id)
        if context.access is not None:
            await remove_member_rows(context, account_id, workspace_id)
            continue
        with context.within(Access(held.id, held.slug, frozenset(), frozenset())):
            await remove_member_rows(context, account_id)


async def _tell_members(context: Context, workspace_id: UUID) -> None:
    await rights_changed(context, await queries.list_member_ids(context, workspace_id))


async def _take_slug(context: Context, workspace_id: UUID, slug: str) -> None:
    if not await context.db.execute(_TAKE_SLUG, slug=slug, workspace=workspace_id, now=context.now):
        raise SlugTaken


async def _hold(context: Context, version: int | None) -> queries.Held:
    held = await queries.hold_workspace(context, context.workspace.workspace_id)
    if version is not None and version != held.version:
        raise PreconditionFailed
    return held


async def _set_archived(context: Context, *, archived: bool) -> Workspace:
    context.workspace.require_open(changes=False)
    await archive(context, context.workspace.workspace_id, archived=archived)
    return await queries.get_workspace(context)


async def _change(context: Context, held: queries.Held, **changes: object) -> None:
    """Write a workspace that is held."""
    names = ("name", "slug", "settings", "archived_at", "deletes_at")
    values = {name: getattr(held, name) for name in names} | changes
    await context.db.execute(_CHANGE, workspace=held.id, **values)
    context.after_commit(context.runtime.identity.forget)


def _require_second_factor(context: Context) -> None:
    """Whoever asks others for a second factor has one, or would be locked out with them."""
    principal = context.principal
    if principal is None or not has_second_factor(principal.methods):
        raise SecondFactorRequired
