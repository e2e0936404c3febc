"""Why somebody may do something, or may not."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Uuid, and_, bindparam, select

from courtyard.kernel.accounts import AccountRow, has_second_factor
from courtyard.kernel.context import EVERYBODY, Owned, ReadContext, Scope, scopes_of
from courtyard.kernel.database import Prepared
from courtyard.kernel.errors import NotFound
from courtyard.kernel.workspaces.models import CustomRoleRow, MembershipRow, RoleGrantRow, WorkspaceRow
from courtyard.kernel.workspaces.queries.access import meaning_of, scope_of
from courtyard.kernel.workspaces.rules import HeldRole, requires_second_factor, second_factor_for
from courtyard.kernel.workspaces.schemas.rights import (
    EffectivePermission,
    EffectivePermissions,
    Explanation,
    OwnPermissions,
    PermissionsOnThing,
    Reason,
)

_WORKSPACE = bindparam("workspace", type_=Uuid(), required=True)
_ACCOUNT_ID = bindparam("account_id", type_=Uuid(), required=True)


class _Place(msgspec.Struct, frozen=True):
    settings: Any
    member_id: UUID | None
    suspended_at: datetime | None
    disabled_at: datetime | None


class _Grant(msgspec.Struct, frozen=True):
    id: UUID
    role: str
    scope_type: str
    scope_id: UUID
    granted_by: UUID | None
    granted_by_name: str | None
    created_at: datetime
    expires_at: datetime | None
    permissions: list[str] | None
    require_second_factor: bool | None


_PLACE = Prepared(
    select(
        WorkspaceRow.settings,
        MembershipRow.account_id.label("member_id"),
        MembershipRow.suspended_at,
        AccountRow.disabled_at,
    )
    .outerjoin(
        MembershipRow,
        and_(MembershipRow.workspace_id == WorkspaceRow.id, MembershipRow.account_id == _ACCOUNT_ID),
    )
    .outerjoin(AccountRow, AccountRow.id == MembershipRow.account_id)
    .where(WorkspaceRow.id == _WORKSPACE),
    _Place,
)
# Those that have run out too: that is an explanation.
_GRANTS = Prepared(
    select(
        RoleGrantRow.id,
        RoleGrantRow.role,
        RoleGrantRow.scope_type,
        RoleGrantRow.scope_id,
        RoleGrantRow.granted_by,
        AccountRow.name.label("granted_by_name"),
        RoleGrantRow.created_at,
        RoleGrantRow.expires_at,
        CustomRoleRow.permissions,
        CustomRoleRow.require_second_factor,
    )
    .outerjoin(
        CustomRoleRow,
        and_(CustomRoleRow.workspace_id == RoleGrantRow.workspace_id, CustomRoleRow.name == RoleGrantRow.role),
    )
    .outerjoin(AccountRow, AccountRow.id == RoleGrantRow.granted_by)
    .where(RoleGrantRow.workspace_id == _WORKSPACE, RoleGrantRow.account_id == _ACCOUNT_ID)
    .order_by(RoleGrantRow.id),
    _Grant,
)


class _Known(msgspec.Struct, frozen=True):
    """Everything about an account in a workspace that a decision is made of.

    Attributes:
        place: its membership.
        held: what it has been given, with the row of it.
        now: the time.
        second_factor: whether the workspace wants one of it.
    """

    place: _Place
    held: list[tuple[_Grant, HeldRole]]
    now: datetime
    second_factor: bool

    def counts(self, grant: _Grant) -> bool:
        return grant.expires_at is None or grant.expires_at > self.now


async def _know(context: ReadContext, account_id: UUID) -> _Known:
    where = {"workspace": context.workspace.workspace_id, "account_id": account_id}
    place = await context.db.one(_PLACE, **where)
    held = []
    for grant in await context.db.all(_GRANTS, **where):
        role = meaning_of(
            context.runtime, grant.role, grant.permissions, second_factor=bool(grant.require_second_factor)
        )
        held.append((grant, HeldRole(role, scope_of(grant.scope_type, grant.scope_id), grant.expires_at)))
    current = [each for grant, each in held if grant.expires_at is None or grant.expires_at > context.now]
    wants = requires_second_factor(second_factor_for(place.settings), current)
    return _Known(place, held, context.now, place.member_id is not None and wants)


def _reason(code: Any, grant: _Grant) -> Reason:  # noqa: ANN401 - one of the literals
    scope_type, scope_id = scope_of(grant.scope_type, grant.scope_id) or (None, None)
    return Reason(
        code,
        role=grant.role,
        scope_type=scope_type,
        scope_id=scope_id,
        grant_id=grant.id,
        granted_by=grant.granted_by,
        granted_by_name=grant.granted_by_name,
        since=grant.created_at,
        expires_at=grant.expires_at,
    )


async def list_permissions(context: ReadContext, account_id: UUID) -> EffectivePermissions:
    """Return all that a member may do, and by which role and grant.

    Raises:
        NotFound: the account is not a member.
    """
    context.require("workspaces.member.read")
    known = await _know(context, account_id)
    if known.place.member_id is None:
        raise NotFound
    through: dict[str, list[Reason]] = {}
    for permission in context.runtime.roles[EVERYBODY]:
        through.setdefault(permission, []).append(Reason("everybody", role=EVERYBODY))
    for grant, each in known.held if known.place.suspended_at is None else ():
        for permission in each.role.permissions if known.counts(grant) else ():
            through.setdefault(permission, []).append(_reason("granted", grant))
    return EffectivePermissions(
        account_id,
        known.place.suspended_at,
        known.second_factor,
        [EffectivePermission(permission, through[permission]) for permission in sorted(through)],
    )


def own_permissions(context: ReadContext) -> OwnPermissions:
    """Return what the caller may do in the workspace with this login, as every request is measured by it."""
    account_id, access = context.account_id, context.workspace
    return OwnPermissions(
        account_id,
        is_member=access.is_member,
        roles=sorted(access.roles),
        permissions=sorted(access.permissions),
        scoped=[
            PermissionsOnThing(scope_type, scope_id, sorted(permissions))
            for (scope_type, scope_id), permissions in access.scoped.items()
        ],
        withheld=None if access.withheld is None else access.withheld.problem.code,
    )


async def why(context: ReadContext, account_id: UUID, permission: str, scope: Scope | None) -> Explanation:
    """Return whether somebody may do something in the workspace, or on one thing in it, and why.

    Of an account that is no member nothing is said but that: not even whether there is such an account.
    """
    context.require("workspaces.member.read")
    return await explain(context, account_id, permission, scope)


async def explain(context: ReadContext, account_id: UUID, permission: str, scope: Scope | None) -> Explanation:
    """Return the same as `why`, for a caller who may know it."""
    allowed, reasons = await _weigh(context, account_id, permission, scope)
    scope_type, scope_id = scope or (None, None)
    return Explanation(account_id, permission, scope_type, scope_id, allowed, reasons)


async def _weigh(
    context: ReadContext, account_id: UUID, permission: str, scope: Scope | None
) -> tuple[bool, list[Reason]]:
    runtime = context.runtime
    if permission not in runtime.permissions:
        return False, [Reason("unknown_permission")]
    thing: Owned | None = None
    if scope is not None:
        kind = runtime.scopes.get(scope[0])
        thing = None if kind is None else await kind.find(context, scope[1])
        if thing is None:
            return False, [Reason("unknown_thing", scope_type=scope[0], scope_id=scope[1])]
    known = await _know(context, account_id)
    if known.place.disabled_at is not None:
        return False, [Reason("disabled", since=known.place.disabled_at)]
    without_role = _without_role(context, account_id, permission, thing)
    scopes: set[Scope | None] = {None} if thing is None else {None, *scopes_of(thing)}
    by_role = _by_role(known, permission, scopes)
    allowed_by_role = any(reason.code == "granted" for reason in by_role)
    against = list(_against(context, account_id, known)) if allowed_by_role else []
    withheld = any(reason.code != "second_factor_required" for reason in against)
    allowed = bool(without_role) or (allowed_by_role and not withheld)
    reasons = [*without_role, *by_role, *against]
    if known.place.member_id is None and not allowed:
        reasons.append(Reason("not_a_member"))
    return allowed, reasons or [Reason("no_role")]


def _without_role(context: ReadContext, account_id: UUID, permission: str, thing: Owned | None) -> list[Reason]:
    roles = context.runtime.roles
    reasons = [Reason("everybody", role=EVERYBODY)] if permission in roles[EVERYBODY] else []
    if thing is not None:
        related = sorted(role for role in thing.relations_of(account_id) if permission in roles[role])
        reasons += [Reason("relation", role=role) for role in related]
    return reasons


def _by_role(known: _Known, permission: str, scopes: set[Scope | None]) -> list[Reason]:
    return [
        _reason("granted" if known.counts(grant) else "expired", grant)
        for grant, each in known.held
        if each.scope in scopes and permission in each.role.permissions
    ]


def _against(context: ReadContext, account_id: UUID, known: _Known) -> Iterable[Reason]:
    """Yield what keeps a member from using a role; of the logins of others nothing is known."""
    if known.place.suspended_at is not None:
        yield Reason("suspended", since=known.place.suspended_at)
    if known.second_factor:
        principal = context.principal
        is_own = principal is not None and principal.account_id == account_id
        if principal is None or not is_own:
            yield Reason("second_factor_required")
        elif not has_second_factor(principal.methods):
            yield Reason("second_factor_missing")
