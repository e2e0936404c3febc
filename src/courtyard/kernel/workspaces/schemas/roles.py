"""What comes in and goes out about roles."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from courtyard.kernel.schema import Input, Name, Output, Permission

CustomRoleName = Annotated[
    str,
    Meta(
        min_length=8,
        max_length=64,
        pattern=r"^custom\.[a-z0-9]+(_[a-z0-9]+)*$(?!\n)",
        description="Begins with `custom.`, so that it is never the name of a built-in role.",
        examples=["custom.night_shift"],
    ),
]
Permissions = Annotated[list[Permission], Meta(max_length=200)]


class Role(Output, frozen=True):
    """A role that a member can have.

    Attributes:
        built_in: whether it comes with Courtyard or an application, and cannot be changed.
        require_second_factor: whether whoever has it has to log in with a second factor to have anything here. What
            the workspace wants of all is among its settings.
        version: of a role of the workspace's own; null for a built-in one.
    """

    name: str
    description: str
    permissions: list[str]
    built_in: bool
    require_second_factor: bool
    version: int | None


class NewRole(Input, frozen=True):
    """A role to be made."""

    name: CustomRoleName
    description: Name
    permissions: Permissions
    require_second_factor: bool = False


class RolePatch(Input, frozen=True):
    """Changes of a role (JSON merge patch, RFC 7396)."""

    description: Name | UnsetType = UNSET
    permissions: Permissions | UnsetType = UNSET
    require_second_factor: bool | UnsetType = UNSET
