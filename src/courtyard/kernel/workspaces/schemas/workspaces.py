"""What comes in and goes out about workspaces and their settings."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType, field

from courtyard.kernel.calendar import TimeZone, is_time_zone
from courtyard.kernel.schema import Input, Name, Output, Slug, WorkspaceSection

Confirmation = Annotated[
    str,
    Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9-]+$(?!\n)", description="The slug of the workspace, typed."),
]
SectionName = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[a-z][a-z0-9_]*$(?!\n)")]
SettingName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*$(?!\n)")]
Domain = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$(?!\n)",
        description="What stands behind the @, in lower case.",
        examples=["example.org"],
    ),
]


class Workspace(Output, frozen=True):
    """A tenant, as its members see it.

    Attributes:
        archived_at: since when it is read only, null where it is not.
        deletes_at: when it will be removed, null where it will not. Until then an owner can restore it.
    """

    id: UUID
    slug: str
    name: str
    version: int
    created_at: datetime
    archived_at: datetime | None
    deletes_at: datetime | None


class NewWorkspace(Input, frozen=True):
    """A workspace to be made; whoever makes it owns it."""

    slug: Slug
    name: Name


class WorkspacePatch(Input, frozen=True):
    """Changes of a workspace (JSON merge patch, RFC 7396)."""

    name: Name | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET


class GeneralSettings(WorkspaceSection, frozen=True):
    """What every workspace can set.

    Attributes:
        language: in which those are written to who have not chosen one.
        time_zone: in which times are told to those who have not chosen one.
        require_second_factor: who has to log in with two factors: nobody, the staff (members who may do more than
            the role `member`), or every member.
        invitation_domains: whose addresses alone can be invited, or join by a link; empty for all.
    """

    language: Literal["en", "fi"] = "en"
    time_zone: TimeZone = "UTC"
    require_second_factor: Literal["nobody", "staff", "everybody"] = "nobody"
    invitation_domains: Annotated[list[Domain], Meta(max_length=100)] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse a time zone that there is not.

        Raises:
            ValueError: the computer does not know it.
        """
        if not is_time_zone(self.time_zone):
            raise ValueError("time_zone: there is no such time zone")


class SettingsOfWorkspace(Output, frozen=True):
    """The settings of a workspace, with defaults for what nobody has set.

    Attributes:
        version: of the workspace.
        sections: `workspaces` for what every workspace can set, and one for each application that has settings.
    """

    version: int
    sections: dict[str, dict[str, Any]]


class SettingsPatch(Input, frozen=True):
    """Changes of settings (JSON merge patch, RFC 7396): null takes a value, or a section, back to its default."""

    sections: Annotated[
        dict[SectionName, Annotated[dict[SettingName, Any], Meta(max_length=200)] | None], Meta(max_length=64)
    ]
