"""What comes in and goes out about workspaces and members."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from courtyard.kernel.schema import Email, Input, Name, Output, RoleName, Slug

Roles = Annotated[list[RoleName], Meta(min_length=1, max_length=20)]


class Workspace(Output, frozen=True):
    """A tenant, as its members see it."""

    id: UUID
    slug: str
    name: str
    version: int
    created_at: datetime


class NewWorkspace(Input, frozen=True):
    """A workspace to be made; whoever makes it owns it."""

    slug: Slug
    name: Name


class WorkspacePatch(Input, frozen=True):
    """Changes of a workspace (JSON merge patch, RFC 7396)."""

    name: Name | UnsetType = UNSET


class Member(Output, frozen=True):
    """Somebody's place in a workspace."""

    account_id: UUID
    name: str
    email: str | None
    roles: list[str]
    version: int
    created_at: datetime


class NewMember(Input, frozen=True):
    """An account to be made a member."""

    email: Email
    roles: Roles


class MemberPatch(Input, frozen=True):
    """Changes of a member (JSON merge patch, RFC 7396)."""

    roles: Roles | UnsetType = UNSET


class RoleDescription(Output, frozen=True):
    """A role that a member can have."""

    name: str
    description: str
    permissions: list[str]
