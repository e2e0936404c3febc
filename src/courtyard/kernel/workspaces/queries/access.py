"""What somebody may do in a workspace: one statement, whose answer is remembered for less than a second."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, String, Uuid, and_, bindparam, exists, or_, select, type_coerce

from courtyard.kernel.accounts import AccountRow, has_second_factor
from courtyard.kernel.context import EVERYBODY, Access, Principal, ReadContext, Scope, Withheld
from courtyard.kernel.database import AnyOf, Json, Prepared, ReadUnit, UtcDateTime
from courtyard.kernel.errors import MembershipSuspended, NotFound, SecondFactorRequired
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.workspaces.models import (
    EVERYWHERE,
    CustomRoleRow,
    MembershipRow,
    RoleGrantRow,
    WorkspaceRow,
    WorkspaceSlugRow,
)
from courtyard.kernel.workspaces.rules import (
    HeldRole,
    Meaning,
    Standing,
    add_up,
    built_in_role,
    custom_role,
    cut_down,
    requires_second_factor,
    second_factor_for,
)

_ID = bindparam("id", type_=Uuid(), required=True)
_ACCOUNT_ID = bindparam("account_id", type_=Uuid(), required=True)
_WORKSPACE = bindparam("workspace", type_=Uuid(), required=True)
COUNTS = or_(
    RoleGrantRow.expires_at.is_(None), RoleGrantRow.expires_at > bindparam("now", type_=UtcDateTime(), required=True)
)
_IS_CUSTOM = and_(CustomRoleRow.workspace_id == RoleGrantRow.workspace_id, CustomRoleRow.name == RoleGrantRow.role)
_NOBODY = UUID(int=0)


class _Place(msgspec.Struct, frozen=True):
    """A workspace, with one of the roles that an account has there; all the rest is None where there is none."""

    id: UUID
    slug: str
    settings: Any
    archived_at: datetime | None
    deletes_at: datetime | None
    member_id: UUID | None
    suspended_at: datetime | None
    role: str | None
    scope_type: str | None
    scope_id: UUID | None
    expires_at: datetime | None
    permissions: list[str] | None
    require_second_factor: bool | None


def _place(named: ColumnElement[bool]) -> Prepared[_Place]:
    member = and_(MembershipRow.workspace_id == WorkspaceRow.id, MembershipRow.account_id == _ACCOUNT_ID)
    grant = and_(
        RoleGrantRow.workspace_id == MembershipRow.workspace_id,
        RoleGrantRow.account_id == MembershipRow.account_id,
        COUNTS,
    )
    return Prepared(
        select(
            WorkspaceRow.id,
            WorkspaceRow.slug,
            type_coerce(WorkspaceRow.settings, Json(raw=True)).label("settings"),
            WorkspaceRow.archived_at,
            WorkspaceRow.deletes_at,
            MembershipRow.account_id.label("member_id"),
            MembershipRow.suspended_at,
            RoleGrantRow.role,
            RoleGrantRow.scope_type,
            RoleGrantRow.scope_id,
            RoleGrantRow.expires_at,
            CustomRoleRow.permissions,
            CustomRoleRow.require_second_factor,
        )
        .outerjoin(MembershipRow, member)
        .outerjoin(RoleGrantRow, grant)
        .outerjoin(CustomRoleRow, _IS_CUSTOM)
        .where(named),
        _Place,
    )


_PLACE_BY_SLUG = _place(WorkspaceRow.slug == bindparam("slug", type_=String(), required=True))
_PLACE_BY_ID = _place(WorkspaceRow.id == _ID)
# Whose slug it was until lately.
_PLACE_BY_FORMER_SLUG = _place(
    exists(
        select(WorkspaceSlugRow.slug).where(
            WorkspaceSlugRow.slug == bindparam("slug", type_=String(), required=True),
            WorkspaceSlugRow.workspace_id == WorkspaceRow.id,
            WorkspaceSlugRow.kept_until > bindparam("now", type_=UtcDateTime(), required=True),
        )
    )
)


class _Grant(msgspec.Struct, frozen=True):
    account_id: UUID
    role: str
    scope_type: str
    scope_id: UUID
    expires_at: datetime | None
    permissions: list[str] | None
    require_second_factor: bool | None


_GRANTS = (
    select(
        RoleGrantRow.account_id,
        RoleGrantRow.role,
        RoleGrantRow.scope_type,
        RoleGrantRow.scope_id,
        RoleGrantRow.expires_at,
        CustomRoleRow.permissions,
        CustomRoleRow.require_second_factor,
    )
    .outerjoin(CustomRoleRow, _IS_CUSTOM)
    .where(RoleGrantRow.workspace_id == _WORKSPACE, COUNTS)
)
_GRANTS_OF_SOME = Prepared(_GRANTS.where(AnyOf(RoleGrantRow.account_id.expression, "account_ids")), _Grant)
_SUSPENDED = Prepared(
    select(MembershipRow.account_id).where(
        MembershipRow.workspace_id == _WORKSPACE,
        MembershipRow.account_id == _ACCOUNT_ID,
        MembershipRow.suspended_at.is_not(None),
    ),
    UUID,
)


_ACTING = Prepared(
    select(MembershipRow.account_id)
    .join(AccountRow, AccountRow.id == MembershipRow.account_id)
    .where(
        MembershipRow.workspace_id == _WORKSPACE,
        MembershipRow.account_id == _ACCOUNT_ID,
        MembershipRow.suspended_at.is_(None),
        AccountRow.disabled_at.is_(None),
    ),
    UUID,
)


async def find_access(runtime: Runtime, principal: Principal | None, named: str) -> Access:
    """Return what somebody may do in a workspace.

    Args:
        runtime: the process.
        principal: who, None for nobody.
        named: the slug or the id of the workspace.

    Raises:
        NotFound: there is no such workspace.
    """
    unit, now = ReadUnit(runtime.placement), runtime.clock.now()
    # A visitor is a stranger everywhere, whatever rows there are.
    account_id = _NOBODY if principal is None or principal.kind == "visitor" else principal.account_id
    places = await unit.all(_PLACE_BY_SLUG, slug=named, account_id=account_id, now=now)
    if not places and (workspace_id := _parse_id(named)) is not None:
        places = await unit.all(_PLACE_BY_ID, id=workspace_id, account_id=account_id, now=now)
    if not places:
        places = await unit.all(_PLACE_BY_FORMER_SLUG, slug=named, account_id=account_id, now=now)
    if not places:
        raise NotFound
    first = places[0]
    access = _decide(runtime, principal, account_id, places)
    if first.archived_at is None and first.deletes_at is None:
        return access
    return msgspec.structs.replace(access, archived=first.archived_at is not None, deletes_at=first.deletes_at)


def _decide(runtime: Runtime, principal: Principal | None, account_id: UUID, places: Sequence[_Place]) -> Access:
    first = places[0]
    if principal is None:
        return Access(first.id, first.slug, frozenset(), frozenset())
    everybody = runtime.roles[EVERYBODY]
    if first.member_id is None:
        return Access(first.id, first.slug, frozenset({EVERYBODY}), everybody)
    held = [_held(runtime, place) for place in places if place.role is not None]
    return _access(first, add_up(account_id, held), held, principal, everybody)


def _access(
    place: _Place, standing: Standing, held: list[HeldRole], principal: Principal, everybody: frozenset[str]
) -> Access:
    problem: type[MembershipSuspended | SecondFactorRequired] | None = None
    if place.suspended_at is not None:
        problem = MembershipSuspended
    elif not has_second_factor(principal.methods):
        wanted = second_factor_for(msgspec.json.decode(place.settings))
        problem = SecondFactorRequired if requires_second_factor(wanted, held) else None
    until = min((role.expires_at for role in held if role.expires_at is not None), default=None)
    permissions, scoped = standing.permissions, standing.scoped
    if problem is not None:
        return Access(
            place.id,
            place.slug,
            frozenset({EVERYBODY}),
            everybody,
            is_member=True,
            withheld=Withheld(problem, permissions, scoped),
            until=until,
        )
    return Access(
        place.id,
        place.slug,
        standing.roles | {EVERYBODY},
        permissions | everybody,
        scoped=scoped,
        is_member=True,
        until=until,
    )


def _held(runtime: Runtime, row: Any) -> HeldRole:  # noqa: ANN401 - a `_Place` with a role, or a `Grant`
    meaning = meaning_of(runtime, row.role, row.permissions, second_factor=bool(row.require_second_factor))
    return HeldRole(meaning, scope_of(row.scope_type, row.scope_id), row.expires_at)


def meaning_of(runtime: Runtime, name: str, permissions: list[str] | None, *, second_factor: bool) -> Meaning:
    """Return what a role comes to; nothing, where it is one of an application that is gone.

    Args:
        runtime: the process.
        name: of the role.
        permissions: what the workspace has put into it; None where it is none of its own.
        second_factor: whether the workspace wants one for it.
    """
    if permissions is None:
        return built_in_role(runtime.built_in, name) or Meaning(name, frozenset())
    return custom_role(runtime.built_in, runtime.permissions.keys(), name, permissions, second_factor=second_factor)


def scope_of(scope_type: str, scope_id: UUID) -> Scope | None:
    """Return the scope that two columns hold."""
    return None if (scope_type, scope_id) == EVERYWHERE else (scope_type, scope_id)


async def load_standings(
    context: ReadContext, account_ids: Sequence[UUID], workspace_id: UUID | None = None
) -> dict[UUID, Standing]:
    """Return what accounts have in a workspace by their roles, whether or not they are suspended.

    Args:
        context: of whoever asks.
        account_ids: whose standing.
        workspace_id: where, if not in the workspace of the context.
    """
    workspace_id = workspace_id or context.workspace.workspace_id
    rows = await context.db.all(_GRANTS_OF_SOME, workspace=workspace_id, account_ids=list(account_ids), now=context.now)
    held: dict[UUID, list[HeldRole]] = {account_id: [] for account_id in account_ids}
    for row in rows:
        held[row.account_id].append(_held(context.runtime, row))
    return {account_id: add_up(account_id, roles) for account_id, roles in held.items()}


async def can_act(context: ReadContext, account_id: UUID, workspace_id: UUID) -> bool:
    """Return whether somebody is a member of a workspace who is neither suspended nor deactivated."""
    return await context.db.first(_ACTING, workspace=workspace_id, account_id=account_id) is not None


async def load_own_standing(context: ReadContext) -> Standing:
    """Return what the caller has at this moment, as far as this request may use it; nothing while suspended."""
    own_id = context.account_id
    workspace_id = context.workspace.workspace_id
    if await context.db.first(_SUSPENDED, workspace=workspace_id, account_id=own_id) is not None:
        return Standing(own_id)
    standings = await load_standings(context, [own_id])
    return cut_down(standings[own_id], context.workspace, context.runtime.roles[EVERYBODY])


def _parse_id(named: str) -> UUID | None:
    try:
        return UUID(named)
    except ValueError:
        return None
