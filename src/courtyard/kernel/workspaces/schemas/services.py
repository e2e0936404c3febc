"""What comes in and goes out about service accounts."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from courtyard.kernel.schema import Input, Name, Output
from courtyard.kernel.workspaces.schemas.invitations import GivenRoles

Description = Annotated[
    str,
    Meta(max_length=1_000, pattern=r"^[^\x00]*$(?!\n)", description="What it is for; at most 1,000 characters."),
]


class Service(Output, frozen=True):
    """A program with an account of its own, which belongs to this workspace and to no other.

    Attributes:
        id: of its account.
        roles: those that count in the whole workspace; others are among its grants as a member.
        maker_id: who made it.
    """

    id: UUID
    name: str
    description: str
    roles: list[str]
    maker_id: UUID
    version: int
    created_at: datetime


class NewService(Input, frozen=True):
    """A service account to be made."""

    name: Name
    roles: GivenRoles
    description: Description = ""


class ServicePatch(Input, frozen=True):
    """Changes of a service account (JSON merge patch, RFC 7396)."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    roles: GivenRoles | UnsetType = UNSET
