"""What comes in and goes out about members and the roles that they are given."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from courtyard.kernel.schema import Email, Input, Output, RoleName

Roles = Annotated[
    list[RoleName],
    Meta(max_length=20, description="Roles for the whole workspace; none for whoever only has some on single things."),
]
ScopeType = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=64,
        pattern=r"^[a-z_]+\.[a-z_]+$(?!\n)",
        description="A kind of thing on which roles can be given.",
        examples=["chat.conversation"],
    ),
]
Moment = Annotated[datetime, Meta(tz=True)]


class Grant(Output, frozen=True):
    """A role that a member has been given.

    Attributes:
        scope_type: the kind of thing on which it counts; null, as `scope_id`, for the whole workspace.
        granted_by: the account that gave it; null for whoever founded the workspace.
        expires_at: from when on it does not count; null for never.
    """

    id: UUID
    account_id: UUID
    role: str
    scope_type: str | None
    scope_id: UUID | None
    granted_by: UUID | None
    created_at: datetime
    expires_at: datetime | None


class NewGrant(Input, frozen=True):
    """A role to be given to a member, on one thing or for a time.

    Attributes:
        scope_type: the kind of thing on which it is to count, with `scope_id`; in the whole workspace without both.
        scope_id: the thing.
        expires_at: from when on it is not to count; never, unless given.
    """

    role: RoleName
    scope_type: ScopeType | UnsetType = UNSET
    scope_id: UUID | UnsetType = UNSET
    expires_at: Moment | UnsetType = UNSET


class Member(Output, frozen=True):
    """Somebody's place in a workspace.

    Attributes:
        roles: those that count in the whole workspace.
        grants: those that count on single things, at most 200.
        suspended_at: since when the member has nothing of all that; null for who has.
        version: counts the changes of roles too.
    """

    account_id: UUID
    name: str
    email: str | None
    roles: list[str]
    grants: list[Grant]
    suspended_at: datetime | None
    version: int
    created_at: datetime


class NewMember(Input, frozen=True):
    """An account to be made a member."""

    email: Email
    roles: Roles


class MemberPatch(Input, frozen=True):
    """Changes of a member (JSON merge patch, RFC 7396)."""

    roles: Roles | UnsetType = UNSET
