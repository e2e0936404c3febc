"""Who may give what to whom, without I/O.

Rights are compared as sets of permissions, never as ranks of roles: a role that a workspace has made itself has its
place among the others by what is in it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args
from uuid import UUID

import msgspec

from courtyard.kernel.application import Role
from courtyard.kernel.context import Access, Scope, permissions_on
from courtyard.kernel.errors import Forbidden, LastOwner
from courtyard.kernel.workspaces.errors import AboveOwnRights, OwnershipIsWhole, RoleNotForAccount
from courtyard.kernel.workspaces.permissions import MEMBER, OWNER

SecondFactorFor: TypeAlias = Literal["nobody", "staff", "everybody"]


class Meaning(msgspec.Struct, frozen=True):
    """What a role comes to in a workspace.

    Attributes:
        name: of the role.
        permissions: what is in it.
        is_staff: whether it is for those who run something.
        requires_second_factor: whether it says so itself.
    """

    name: str
    permissions: frozenset[str]
    is_staff: bool = False
    requires_second_factor: bool = False


class HeldRole(msgspec.Struct, frozen=True):
    """A role that somebody has.

    Attributes:
        role: which.
        scope: the thing on which it counts, None for the whole workspace.
        expires_at: from when on it does not count, None for never.
    """

    role: Meaning
    scope: Scope | None = None
    expires_at: datetime | None = None


def built_in_role(built_in: Mapping[str, Role], name: str) -> Meaning | None:
    """Return what a role of Courtyard or of an application comes to; None where there is none that members have."""
    role = built_in.get(name)
    if role is None or not role.assignable:
        return None
    return Meaning(name, role.permissions, is_staff=role.staff)


def custom_role(
    built_in: Mapping[str, Role], known: Collection[str], name: str, permissions: Iterable[str], *, second_factor: bool
) -> Meaning:
    """Return what a role of the workspace's own comes to.

    Args:
        built_in: the roles that there are everywhere.
        known: the permissions that the parts of this installation declare; others count for nothing.
        name: of the role.
        permissions: what the workspace has put into it.
        second_factor: whether it requires one.
    """
    those = frozenset(permissions).intersection(known)
    return Meaning(
        name, those, is_staff=not those <= built_in[MEMBER].permissions, requires_second_factor=second_factor
    )


class Standing(msgspec.Struct, frozen=True):
    """What an account has in a workspace by its roles.

    Attributes:
        account_id: whose it is.
        roles: names of those in the whole workspace.
        permissions: those in the whole workspace.
        scoped: those that are added on single things.
    """

    account_id: UUID
    roles: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()
    scoped: Mapping[Scope, frozenset[str]] = {}

    def on(self, scope: Scope | None) -> frozenset[str]:
        """Return the permissions on a thing; None for those in the whole workspace."""
        return permissions_on(self.permissions, self.scoped, scope)


def add_up(account_id: UUID, held: Iterable[HeldRole]) -> Standing:
    """Return what roles come to."""
    roles: set[str] = set()
    permissions: set[str] = set()
    scoped: dict[Scope, frozenset[str]] = {}
    for each in held:
        if each.scope is None:
            roles.add(each.role.name)
            permissions |= each.role.permissions
        else:
            scoped[each.scope] = scoped.get(each.scope, frozenset()) | each.role.permissions
    return Standing(account_id, frozenset(roles), frozenset(permissions), scoped)


def cut_down(standing: Standing, access: Access, everybody: frozenset[str]) -> Standing:
    """Return what is left of somebody's own rights for a request that may use less of them.

    Args:
        standing: what the account has at this moment.
        access: what the request may use, by a key or without a second factor; up to a second old.
        everybody: what everybody has who is signed in.
    """
    return Standing(
        standing.account_id,
        standing.roles & access.roles,
        (standing.permissions | everybody) & access.permissions,
        {scope: permissions & access.on(scope) for scope, permissions in standing.scoped.items()},
    )


def ensure_has(own: Standing, permission: str, scope: Scope | None = None) -> None:
    """Go on only with a permission, on a thing or in the whole workspace.

    Raises:
        Forbidden: it is not among one's rights (any more).
    """
    if permission not in own.on(scope):
        raise Forbidden(permission=permission)


def ensure_other(own: Standing, account_id: UUID) -> None:
    """Go on only with somebody else.

    Raises:
        AboveOwnRights: it is oneself.
    """
    if own.account_id == account_id:
        raise AboveOwnRights("Nobody changes their own roles.")


def is_above(own: Standing, other: Standing) -> bool:
    """Return whether somebody has anything that one has not."""
    if OWNER in other.roles and OWNER not in own.roles:
        return True
    return any(not other.on(scope) <= own.on(scope) for scope in (None, *other.scoped))


def ensure_not_above(own: Standing, other: Standing) -> None:
    """Go on only with somebody who has nothing that one has not, neither in the workspace nor on any thing.

    Raises:
        AboveOwnRights: they have.
    """
    if is_above(own, other):
        raise AboveOwnRights


def ensure_not_above_on(own: Standing, other: Standing, scope: Scope | None) -> None:
    """Go on only with somebody who has nothing on one thing that one has not.

    Raises:
        AboveOwnRights: they have.
    """
    if scope is None:
        ensure_not_above(own, other)
    elif not other.on(scope) <= own.on(scope):
        raise AboveOwnRights


def ensure_may_give(own: Standing, role: Meaning, scope: Scope | None = None) -> None:
    """Go on only with a role that has nothing that one has not where it is to count.

    Raises:
        AboveOwnRights: it has. Ownership is for owners to give.
    """
    if not role.permissions <= own.on(scope) or (role.name == OWNER and OWNER not in own.roles):
        raise AboveOwnRights


def ensure_may_have(kind: str, roles: Collection[str]) -> None:
    """Go on only where an account of this kind can have roles of members.

    A visitor is whoever sits at a browser: there is no address to ask, and nobody to hold to anything. In the systems
    that came before, a token of a visitor opened what was the staff's.

    Args:
        kind: of the account.
        roles: to be given.

    Raises:
        RoleNotForAccount: a visitor, or a program that would own a workspace.
    """
    if kind == "visitor":
        raise RoleNotForAccount("A visitor has to register first.")
    if kind != "person" and OWNER in roles:
        raise RoleNotForAccount("Only people own a workspace.")


def ensure_limits_fit(role: str, scope: Scope | None, expires_at: datetime | None) -> None:
    """Go on only where a role can be given for one thing, or for a time.

    Raises:
        OwnershipIsWhole: ownership cannot.
    """
    if role == OWNER and (scope is not None or expires_at is not None):
        raise OwnershipIsWhole


def ensure_owner_remains(owners: Collection[UUID], going: UUID) -> None:
    """Go on only where an owner is left who can act.

    Args:
        owners: those who can: neither suspended nor deactivated.
        going: who is to be one no longer.

    Raises:
        LastOwner: there is nobody else.
    """
    if set(owners) <= {going}:
        raise LastOwner


def ensure_may_define(
    own: Standing, before: frozenset[str], after: frozenset[str], holders: Sequence[Standing] = ()
) -> None:
    """Go on only where one may make a role, or change what is in it.

    Args:
        own: of who does it.
        before: what is in it; nothing for a new one.
        after: what is to be in it.
        holders: who has it.

    Raises:
        AboveOwnRights: before or after, it has what one has not; or one has it oneself, or somebody above does.
    """
    if not before | after <= own.permissions:
        raise AboveOwnRights
    for holder in holders:
        ensure_other(own, holder.account_id)
        ensure_not_above(own, holder)


def second_factor_for(settings: Mapping[str, Any]) -> SecondFactorFor:
    """Return of whom a workspace wants a second factor, by its settings."""
    said: SecondFactorFor = settings.get("workspaces", {}).get("require_second_factor", "nobody")
    return said if said in get_args(SecondFactorFor) else "nobody"


def requires_second_factor(wanted: SecondFactorFor, held: Iterable[HeldRole]) -> bool:
    """Return whether a member has to log in with a second factor.

    Args:
        wanted: of whom the workspace wants one.
        held: the roles of the member.
    """
    if wanted == "everybody":
        return True
    return any(each.role.requires_second_factor or (wanted == "staff" and each.role.is_staff) for each in held)
