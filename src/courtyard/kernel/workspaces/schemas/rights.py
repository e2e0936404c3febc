"""What goes out about who may do what, and why."""

from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from courtyard.kernel.schema import Output

ReasonCode: TypeAlias = Literal[
    "granted",
    "everybody",
    "relation",
    "expired",
    "suspended",
    "second_factor_required",
    "second_factor_missing",
    "disabled",
    "not_a_member",
    "no_role",
    "unknown_permission",
    "unknown_thing",
]


class Reason(Output, frozen=True):
    """Why somebody may do something, or may not.

    Attributes:
        code: `granted`: by a role that was given; `everybody`: whoever is signed in may; `relation`: by what the
            account is to the thing, such as its owner; `expired`: the role was given for a time that is over;
            `suspended`: the membership is; `second_factor_required`: it counts after a login with a second factor;
            `second_factor_missing`: this login was without; `disabled`: the account is; `not_a_member`; `no_role`: none
            of the roles has it; `unknown_permission`; `unknown_thing`.
        role: by which role.
        scope_type: on what kind of thing the role was given; null for the whole workspace.
        scope_id: on which.
        grant_id: which grant of the member it is.
        granted_by: the account that gave the role; null for whoever founded the workspace.
        granted_by_name: its name.
        since: when it was given, or when the membership was suspended.
        expires_at: when it ends, or ended.
    """

    code: ReasonCode
    role: str | None = None
    scope_type: str | None = None
    scope_id: UUID | None = None
    grant_id: UUID | None = None
    granted_by: UUID | None = None
    granted_by_name: str | None = None
    since: datetime | None = None
    expires_at: datetime | None = None


class Explanation(Output, frozen=True):
    """Whether somebody may do something, and all that speaks for and against it."""

    account_id: UUID
    permission: str
    scope_type: str | None
    scope_id: UUID | None
    allowed: bool
    reasons: list[Reason]


class EffectivePermission(Output, frozen=True):
    """Something that a member may do, and by what."""

    permission: str
    through: list[Reason]


class EffectivePermissions(Output, frozen=True):
    """All that a member may do.

    Attributes:
        suspended_at: since when it is no more than what everybody may; null for a member who is not suspended.
        requires_second_factor: whether it counts only after a login with a second factor.
    """

    account_id: UUID
    suspended_at: datetime | None
    requires_second_factor: bool
    permissions: list[EffectivePermission]


class PermissionsOnThing(Output, frozen=True):
    """What somebody may do on one thing, beside what counts everywhere."""

    scope_type: str
    scope_id: UUID
    permissions: list[str]


class OwnPermissions(Output, frozen=True):
    """What the caller may do in a workspace with this very login.

    Attributes:
        roles: those that count in the whole workspace.
        permissions: those in the whole workspace.
        scoped: what is added on single things. Relations to things, such as having made them, add more there.
        withheld: the code of the problem for which the member has no more than a stranger now:
            `membership_suspended` or `second_factor_required`.
    """

    account_id: UUID
    is_member: bool
    roles: list[str]
    permissions: list[str]
    scoped: list[PermissionsOnThing]
    withheld: str | None
