"""Every change of who belongs to a workspace, and with which roles in all of it."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import UNSET
from sqlalchemy import Uuid, bindparam, delete, or_, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_taken

from courtyard.kernel.accounts import find_account_id, rights_changed
from courtyard.kernel.context import Context, Scope
from courtyard.kernel.database import AnyOf, Prepared, UtcDateTime
from courtyard.kernel.errors import FieldError, NotFound, PreconditionFailed
from courtyard.kernel.ids import new_id
from courtyard.kernel.quotas import give_back, take
from courtyard.kernel.schema import normalise_email
from courtyard.kernel.workspaces import rules
from courtyard.kernel.workspaces.errors import (
    AlreadyMember,
    RoleNotForAccount,
    TooManyGrants,
    UnknownAccount,
    UnknownRole,
)
from courtyard.kernel.workspaces.models import EVERYWHERE, MembershipRow, OwnershipOfferRow, RoleGrantRow
from courtyard.kernel.workspaces.permissions import OWNER
from courtyard.kernel.workspaces.queries import members as queries
from courtyard.kernel.workspaces.queries.access import load_own_standing, load_standings
from courtyard.kernel.workspaces.queries.roles import find_meanings
from courtyard.kernel.workspaces.quotas import MEMBERS
from courtyard.kernel.workspaces.rules import Meaning, Standing
from courtyard.kernel.workspaces.schemas.members import Member, MemberPatch, NewMember

EDIT = "workspaces.member.edit"
# All of them are read where a request of the member is not remembered.
MAX_GRANTS = 200

_WORKSPACE = bindparam("workspace", type_=Uuid(), required=True)
_ACCOUNT_ID = bindparam("account_id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)

_INSERT_MEMBER = Prepared(
    insert_unless_taken(MembershipRow)
    .values(
        workspace_id=_WORKSPACE,
        account_id=_ACCOUNT_ID,
        version=1,
        created_at=_NOW,
        suspended_at=None,
    )
    .on_conflict_do_nothing(index_elements=[MembershipRow.workspace_id, MembershipRow.account_id])
)
_THIS_MEMBER = (MembershipRow.workspace_id == _WORKSPACE, MembershipRow.account_id == _ACCOUNT_ID)
_COUNT_UP = Prepared(update(MembershipRow).where(*_THIS_MEMBER).values(version=MembershipRow.version + 1))
_SUSPEND = Prepared(
    update(MembershipRow)
    .where(*_THIS_MEMBER)
    .values(
        suspended_at=bindparam("moment", type_=UtcDateTime(), required=True),
        version=MembershipRow.version + 1,
    )
)
_DELETE_MEMBER = Prepared(delete(MembershipRow).where(*_THIS_MEMBER))

_OF_MEMBER = (RoleGrantRow.workspace_id == _WORKSPACE, RoleGrantRow.account_id == _ACCOUNT_ID)
_INSERT_GRANT = Prepared(
    insert_unless_taken(RoleGrantRow)
    .values(
        {
            column.name: bindparam(column.name, type_=column.type, required=True)
            for column in RoleGrantRow.__table__.columns
        }
    )
    .on_conflict_do_nothing()
)
_TAKE = Prepared(
    delete(RoleGrantRow).where(
        *_OF_MEMBER, RoleGrantRow.scope_type == EVERYWHERE[0], AnyOf(RoleGrantRow.role.expression, "roles")
    )
)
_TAKE_ALL = Prepared(delete(RoleGrantRow).where(*_OF_MEMBER))
_DROP_OFFERS = Prepared(
    delete(OwnershipOfferRow).where(
        OwnershipOfferRow.workspace_id == _WORKSPACE,
        or_(OwnershipOfferRow.from_id == _ACCOUNT_ID, OwnershipOfferRow.to_id == _ACCOUNT_ID),
    )
)
_DELETE_EXPIRED = Prepared(delete(RoleGrantRow).where(*_OF_MEMBER, RoleGrantRow.expires_at <= _NOW))


async def take_authority(context: Context, permission: str = EDIT, scope: Scope | None = None) -> Standing:
    """Hold everybody else off the members, and return what the caller has at this moment.

    What the edge knew of the caller may be a second old, and somebody may have changed it while this waited.

    Raises:
        Forbidden: the caller does not have the permission any more.
    """
    await queries.lock_members(context, context.workspace.workspace_id)
    own = await load_own_standing(context)
    rules.ensure_has(own, permission, scope)
    return own


async def add_member(context: Context, new: NewMember) -> Member:
    """Make an account a member of the workspace.

    Raises:
        UnknownAccount: nobody has registered with the address.
        UnknownRole: a role does not exist.
        AboveOwnRights: a role has permissions that the caller has not.
        AlreadyMember: it is one.
        QuotaExceeded: the workspace has as many members as it may have.
    """
    context.require(EDIT)
    await require_assignable(context, new.roles)
    account_id = await find_account_id(context, normalise_email(new.email))
    if account_id is None:
        raise UnknownAccount(errors=[FieldError("nobody has registered with this address", pointer="/email")])
    if await queries.find_member(context, account_id) is not None:
        raise AlreadyMember
    await join(context, account_id, new.roles, granted_by=context.account_id)
    return await queries.load_member(context, account_id)


async def join(
    context: Context,
    account_id: UUID,
    roles: Sequence[str],
    *,
    scope: Scope | None = None,
    granted_by: UUID | None,
    workspace_id: UUID | None = None,
) -> bool:
    """Make an account a member, or give a member more roles. Asks for no permission: that is up to the caller.

    Args:
        context: of whoever does it.
        account_id: who joins.
        roles: the names of roles that there are.
        scope: on which thing of the workspace the roles count, None for all of it.
        granted_by: who has given the roles, None for whoever founds a workspace.
        workspace_id: where, if not in the workspace of the context.

    Returns:
        Whether the account was no member before.

    Raises:
        NotFound: there is no such account.
        UnknownRole: a role does not exist (any more).
        RoleNotForAccount: a visitor, a program that would own the workspace, or one that belongs to another.
        OwnershipIsWhole: ownership of one thing.
        TooManyGrants: the member has too many roles.
        QuotaExceeded: the workspace, where it is that of the context, has as many members as it may have.
    """
    workspace_id = workspace_id or context.workspace.workspace_id
    await queries.lock_members(context, workspace_id)
    await known_roles(context, roles, workspace_id)
    kind = await queries.find_kind(context, account_id)
    if kind is None:
        raise NotFound
    rules.ensure_may_have(kind, roles)
    if kind == "service" and await queries.find_home(context, account_id) != workspace_id:
        raise RoleNotForAccount("A program belongs to one workspace.")
    for role in roles:
        rules.ensure_limits_fit(role, scope, None)
    if _is_here(context, workspace_id) and await queries.find_member(context, account_id) is None:
        await take(context, MEMBERS)
    joined = await context.db.execute(_INSERT_MEMBER, workspace=workspace_id, account_id=account_id, now=context.now)
    given = await give(context, account_id, roles, scope=scope, granted_by=granted_by, workspace_id=workspace_id)
    if given and not joined:
        await context.db.execute(_COUNT_UP, workspace=workspace_id, account_id=account_id)
    if granted_by is None:
        # Nobody has asked for anything in a workspace that there was not.
        context.after_commit(context.runtime.identity.forget)
    elif joined or given:
        await rights_changed(context, [account_id])
    return bool(joined)


async def change_member(context: Context, account_id: UUID, patch: MemberPatch, version: int | None) -> Member:
    """Change the roles of a member in the whole workspace. Nobody changes their own.

    Raises:
        NotFound: the account is not a member.
        UnknownRole: a role does not exist.
        AboveOwnRights: the member or the new roles have permissions that the caller has not, or it is the caller.
        RoleNotForAccount: a program would own the workspace.
        LastOwner: no owner would be left.
        PreconditionFailed: it is no longer the version that the caller has seen.
    """
    context.require(EDIT)
    own = await take_authority(context)
    member = await _seen(context, account_id, version)
    if patch.roles is UNSET:
        return member
    await ensure_below(context, own, account_id)
    for role in (await known_roles(context, patch.roles)).values():
        rules.ensure_may_give(own, role)
    rules.ensure_may_have(await queries.find_kind(context, account_id) or "", patch.roles)
    taken, added = set(member.roles) - set(patch.roles), set(patch.roles) - set(member.roles)
    if OWNER in taken:
        rules.ensure_owner_remains(await _owners(context), account_id)
    if taken:
        await context.db.execute(_TAKE, **_of(context, account_id), roles=sorted(taken))
    await give(context, account_id, added, granted_by=context.account_id)
    if taken or added:
        context.note(
            "workspaces:role:changed",
            object_type="membership",
            object_id=str(account_id),
            before=member.roles,
            after=sorted(set(patch.roles)),
        )
        await changed(context, account_id)
    return await queries.load_member(context, account_id)


async def suspend_member(context: Context, account_id: UUID, version: int | None) -> Member:
    """Take everything from a member for now; the roles come back when the member is resumed.

    Raises:
        NotFound: the account is not a member.
        AboveOwnRights: the member has permissions that the caller has not, or it is the caller.
        LastOwner: no owner would be left.
        PreconditionFailed: it is no longer the version that the caller has seen.
    """
    context.require(EDIT)
    own = await take_authority(context)
    member = await _seen(context, account_id, version)
    await ensure_below(context, own, account_id)
    if OWNER in member.roles:
        rules.ensure_owner_remains(await _owners(context), account_id)
    context.name_changes("workspaces:member:suspended")
    return await _set_suspended(context, member, context.now)


async def resume_member(context: Context, account_id: UUID, version: int | None) -> Member:
    """Let a suspended member go on.

    Raises:
        NotFound: the account is not a member.
        AboveOwnRights: the member has permissions that the caller has not.
        PreconditionFailed: it is no longer the version that the caller has seen.
    """
    context.require(EDIT)
    own = await take_authority(context)
    member = await _seen(context, account_id, version)
    await ensure_below(context, own, account_id)
    context.name_changes("workspaces:member:resumed")
    return await _set_suspended(context, member, None)


async def _set_suspended(context: Context, member: Member, moment: datetime | None) -> Member:
    if (member.suspended_at is None) == (moment is None):
        return member
    await context.db.execute(_SUSPEND, **_of(context, member.account_id), moment=moment)
    await rights_changed(context, [member.account_id])
    return await queries.load_member(context, member.account_id)


async def remove_member(context: Context, account_id: UUID) -> None:
    """Remove a member; everybody may remove themselves, unless suspended.

    Raises:
        NotFound: the account is not a member.
        AboveOwnRights: the member has permissions that the caller has not.
        LastOwner: no owner would be left.
    """
    own: Standing | None = None
    if account_id != context.account_id:
        context.require(EDIT)
        own = await take_authority(context)
    elif context.workspace.withheld is not None:
        raise context.workspace.withheld.problem
    else:
        await queries.lock_members(context, context.workspace.workspace_id)
    member = await queries.load_member(context, account_id)
    if own is not None:
        await ensure_below(context, own, account_id)
    if OWNER in member.roles:
        rules.ensure_owner_remains(await _owners(context), account_id)
    await remove_member_rows(context, account_id)


async def remove_member_rows(context: Context, account_id: UUID, workspace_id: UUID | None = None) -> bool:
    """Take an account's place in a workspace away; return whether it had one. Asks for no permission.

    Args:
        context: of whoever does it.
        account_id: whose place.
        workspace_id: where, if not in the workspace of the context.
    """
    where = {"workspace": workspace_id or context.workspace.workspace_id, "account_id": account_id}
    await context.db.execute(_TAKE_ALL, **where)
    await context.db.execute(_DROP_OFFERS, **where)
    removed = await context.db.execute(_DELETE_MEMBER, **where)
    if removed:
        if _is_here(context, where["workspace"]):
            await give_back(context, MEMBERS)
        await rights_changed(context, [account_id])
    return bool(removed)


def _is_here(context: Context, workspace_id: UUID) -> bool:
    return context.access is not None and context.access.workspace_id == workspace_id


async def lock_members(context: Context, workspace_id: UUID | None = None) -> int:
    """Hold everybody else off the members of a workspace until the commit.

    Returns:
        How many owners there are who can act: neither suspended nor deactivated.
    """
    workspace_id = workspace_id or context.workspace.workspace_id
    await queries.lock_members(context, workspace_id)
    return len(await queries.list_owners(context, workspace_id))


async def require_assignable(context: Context, roles: Collection[str], scope: Scope | None = None) -> None:
    """Go on only where every role can be given, and by the caller.

    Raises:
        UnknownRole: a role does not exist.
        AboveOwnRights: a role has permissions that the caller has not.
    """
    await queries.lock_members(context, context.workspace.workspace_id)
    own = await load_own_standing(context)
    for role in (await known_roles(context, roles)).values():
        rules.ensure_may_give(own, role, scope)


async def known_roles(context: Context, names: Collection[str], workspace_id: UUID | None = None) -> dict[str, Meaning]:
    """Return what roles come to.

    Raises:
        UnknownRole: one does not exist.
    """
    found = await find_meanings(context, names, workspace_id or context.workspace.workspace_id)
    unknown = sorted(set(names) - found.keys())
    if unknown:
        raise UnknownRole(errors=[FieldError(f"there is no role {name}", pointer="/roles") for name in unknown])
    return found


async def ensure_below(context: Context, own: Standing, account_id: UUID) -> None:
    """Go on only with a member who is somebody else, and has nothing that the caller has not.

    Raises:
        AboveOwnRights: it is not so.
    """
    rules.ensure_other(own, account_id)
    rules.ensure_not_above(own, (await load_standings(context, [account_id]))[account_id])


async def give(
    context: Context,
    account_id: UUID,
    roles: Collection[str],
    *,
    scope: Scope | None = None,
    granted_by: UUID | None,
    expires_at: datetime | None = None,
    workspace_id: UUID | None = None,
) -> list[UUID]:
    """Write down that a member is given roles; return the ids of those that the member did not have there.

    Raises:
        TooManyGrants: the member has too many.
    """
    if not roles:
        return []
    workspace_id = workspace_id or context.workspace.workspace_id
    scope_type, scope_id = scope or EVERYWHERE
    # One that has run out would be in the way of the new one.
    await context.db.execute(_DELETE_EXPIRED, workspace=workspace_id, account_id=account_id, now=context.now)
    given = []
    for role in sorted(set(roles)):
        grant_id = new_id()
        if await context.db.execute(
            _INSERT_GRANT,
            id=grant_id,
            workspace_id=workspace_id,
            account_id=account_id,
            role=role,
            scope_type=scope_type,
            scope_id=scope_id,
            granted_by=granted_by,
            created_at=context.now,
            expires_at=expires_at,
        ):
            given.append(grant_id)
    if await queries.count_grants(context, account_id, workspace_id) > MAX_GRANTS:
        raise TooManyGrants
    return given


async def changed(context: Context, account_id: UUID) -> None:
    """Count a change of a member's roles, and let every process know."""
    await context.db.execute(_COUNT_UP, **_of(context, account_id))
    await rights_changed(context, [account_id])


async def _seen(context: Context, account_id: UUID, version: int | None) -> Member:
    member = await queries.load_member(context, account_id)
    if version is not None and version != member.version:
        raise PreconditionFailed
    return member


async def _owners(context: Context) -> list[UUID]:
    return await queries.list_owners(context, context.workspace.workspace_id)


def _of(context: Context, account_id: UUID) -> dict[str, UUID]:
    return {"workspace": context.workspace.workspace_id, "account_id": account_id}
