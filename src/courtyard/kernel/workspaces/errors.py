"""Problems of workspaces."""

from courtyard.kernel.errors import Conflict, Forbidden, InvalidInput


class SlugTaken(Conflict):
    """Another workspace has this slug."""

    code = "slug_taken"
    title = "There is a workspace with this slug already"


class AlreadyMember(Conflict):
    """The account is a member already: change its roles instead."""

    code = "already_member"
    title = "The account is a member already"


class UnknownAccount(InvalidInput):
    """Nobody has registered with this address."""

    code = "unknown_account"
    title = "There is no account with this address"


class UnknownRole(InvalidInput):
    """There is no role of this name that a member can have."""

    code = "unknown_role"
    title = "There is no such role"


class AboveOwnRights(Forbidden):
    """Nobody gives or takes what they do not have themselves."""

    code = "above_own_rights"
    title = "That is above your own rights"


class LastOwner(Conflict):
    """A workspace always has an owner."""

    code = "last_owner"
    title = "The last owner cannot go"


class VisitorsCannotOwn(Forbidden):
    """An anonymous visitor has no account that could be held to anything."""

    code = "visitors_cannot_own"
    title = "Register first"
