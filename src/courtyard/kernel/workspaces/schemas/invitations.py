"""What comes in and goes out about invitations, by mail and by link."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from courtyard.kernel.accounts import Account, Language, Token
from courtyard.kernel.context import Scope
from courtyard.kernel.schema import Email, Input, Name, Output, Password, RoleName
from courtyard.kernel.workspaces.schemas.members import ScopeType
from courtyard.kernel.workspaces.schemas.workspaces import Workspace

InvitationState = Literal["pending", "accepted", "declined", "withdrawn", "expired"]
Line = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        pattern=r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$(?!\n)",
        description="One line, 1 to 100 characters.",
    ),
]
GivenRoles = Annotated[list[RoleName], Meta(min_length=1, max_length=20)]
Days = Annotated[int, Meta(ge=1, le=30)]
LinkDays = Annotated[int, Meta(ge=1, le=365)]
Uses = Annotated[int, Meta(ge=1, le=1_000)]


class NewInvitation(Input, frozen=True):
    """Somebody to be invited by mail.

    Attributes:
        roles: what they will have; nothing that the inviter does not have.
        scope_type: the kind of thing on which the roles are to count; with `scope_id`, and without both for the whole
            workspace.
        scope_id: the thing.
        message: a line that the mail says to them.
        expires_in_days: how long the invitation is good.
    """

    email: Email
    roles: GivenRoles
    scope_type: ScopeType | UnsetType = UNSET
    scope_id: UUID | UnsetType = UNSET
    message: Line | None = None
    expires_in_days: Days = 7


class Invitation(Output, frozen=True):
    """An invitation, as those see it who look after the members.

    Attributes:
        inviter_id: who answers for it: what they can give no more when it is accepted is not given.
        mailed_at: when the last mail with its link was written.
        settled_at: when it was accepted, declined or withdrawn, or found to have expired.
    """

    id: UUID
    email: str
    roles: list[str]
    scope_type: str | None
    scope_id: UUID | None
    message: str | None
    state: InvitationState
    inviter_id: UUID
    created_at: datetime
    mailed_at: datetime
    expires_at: datetime
    settled_at: datetime | None

    @property
    def scope(self) -> Scope | None:
        """The thing on which the roles are to count."""
        return None if self.scope_type is None or self.scope_id is None else (self.scope_type, self.scope_id)


class MyInvitation(Output, frozen=True):
    """An invitation to one's own address.

    Attributes:
        workspace: the name of the workspace.
        inviter: the name of who invites.
    """

    id: UUID
    workspace_id: UUID
    workspace: str
    inviter: str
    roles: list[str]
    message: str | None
    created_at: datetime
    expires_at: datetime


class InvitationPreview(Output, frozen=True):
    """What an invitation says to whoever has its link.

    Attributes:
        workspace: the name of the workspace.
        inviter: the name of who invites.
    """

    workspace: str
    inviter: str
    roles: list[str]
    message: str | None
    expires_at: datetime


class InvitationToken(Input, frozen=True):
    """The link of an invitation was opened."""

    token: Token


class NewInvitedAccount(Input, frozen=True):
    """A person who registers with the link of an invitation, under the address that it was mailed to."""

    token: Token
    name: Name
    password: Password
    language: Language | None = None


class InvitedAccount(Output, frozen=True):
    """The account that was made, and the workspace that it belongs to. To log in is the next step."""

    account: Account
    workspace: Workspace


class NewInvitationLink(Input, frozen=True):
    """A link to be made, by which whoever has it can join.

    Attributes:
        roles: what they will have; nothing that shapes the workspace.
        max_uses: how many can join by it.
        expires_in_days: how long it is good.
    """

    roles: GivenRoles
    max_uses: Uses = 1
    expires_in_days: LinkDays = 7


class InvitationLink(Output, frozen=True):
    """A link by which people join.

    Attributes:
        maker_id: who answers for it: what they can give no more when somebody joins is not given.
        uses: how many have joined by it.
    """

    id: UUID
    roles: list[str]
    maker_id: UUID
    uses: int
    max_uses: int
    created_at: datetime
    expires_at: datetime
    withdrawn_at: datetime | None


class MadeInvitationLink(Output, frozen=True):
    """A link that was just made. Its token is told this once.

    Attributes:
        url: the address to hand on.
        token: the secret in it.
    """

    link: InvitationLink
    url: str
    token: str


class LinkPreview(Output, frozen=True):
    """What a link says to whoever has it."""

    workspace: str
    roles: list[str]
    expires_at: datetime
