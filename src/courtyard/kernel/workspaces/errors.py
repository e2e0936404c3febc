"""Problems of workspaces."""

from courtyard.kernel.errors import Conflict, Forbidden, InvalidInput, Problem


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


class RoleNotForAccount(Forbidden):
    """Visitors have no roles of members, and only people own a workspace."""

    code = "role_not_for_account"
    title = "This account cannot have this role"


class OwnershipIsWhole(InvalidInput):
    """A workspace is owned in all its parts and for good: ownership is one of the `roles` of a member."""

    code = "ownership_is_whole"
    title = "Ownership is neither for one thing nor for a time"


class UnknownScope(InvalidInput):
    """There is no such thing in the workspace on which a role could be given."""

    code = "unknown_scope"
    title = "There is no such thing"


class ExpiryOutOfRange(InvalidInput):
    """A role is given until a moment that is to come, within ten years."""

    code = "expiry_out_of_range"
    title = "The role would end too early or too late"


class AlreadyGranted(Conflict):
    """The member has this role there already."""

    code = "already_granted"
    title = "The member has this role there already"


class TooManyGrants(Conflict):
    """A member has as many roles as a member can have; a role for the whole workspace stands for many."""

    code = "too_many_grants"
    title = "The member has too many roles"


class RoleExists(Conflict):
    """The workspace has a role of this name."""

    code = "role_exists"
    title = "There is a role with this name already"


class RoleInUse(Conflict):
    """Somebody has the role; `members` says how many do. It has to be taken from them first."""

    code = "role_in_use"
    title = "The role is in use"


class TooManyRoles(Conflict):
    """A workspace has as many roles of its own as it can have."""

    code = "too_many_roles"
    title = "There are too many roles"


class BuiltInRole(Conflict):
    """The role comes with Courtyard or an application; make one of your own instead."""

    code = "built_in_role"
    title = "Built-in roles cannot be changed"


class VisitorsCannotOwn(Forbidden):
    """An anonymous visitor has no account that could be held to anything."""

    code = "visitors_cannot_own"
    title = "Register first"


class InvalidSettings(InvalidInput):
    """A setting is unknown or out of its bounds: see the pointers."""

    code = "invalid_settings"
    title = "The settings are not valid"


class NotConfirmed(InvalidInput):
    """`confirm` is not the slug of the workspace that is to be deleted."""

    code = "not_confirmed"
    title = "Type the slug of the workspace"


class InvalidInvitation(InvalidInput):
    """The link is wrong, used, withdrawn or expired, or its workspace is closed; which of these is not said."""

    code = "invalid_invitation"
    title = "The invitation is not valid"


class InvitationForAnotherAddress(Forbidden):
    """The account has another address than the one that was invited."""

    code = "invitation_for_another_address"
    title = "The invitation is for another address"


class EmailNotAllowed(InvalidInput):
    """The workspace takes addresses of certain domains only."""

    code = "email_not_allowed"
    title = "Addresses of this domain are not let in"


class InvitationsSlowed(Problem):
    """The address has been written to a moment ago, or often enough today."""

    code = "invitations_slowed"
    status = 429
    title = "Too many mails to this address"


class InvitationSettled(Conflict):
    """The invitation has been answered or withdrawn, or it has expired: invite anew."""

    code = "invitation_settled"
    title = "The invitation is no longer open"


class RoleNotByLink(InvalidInput):
    """A role that shapes the workspace is given to somebody by name, not to whoever has a link."""

    code = "role_not_by_link"
    title = "The role cannot be given by a link"


class TooManyInvitations(Conflict):
    """So many invitations or links are open that another one is a mistake."""

    code = "too_many_invitations"
    title = "Too many invitations are open"


class VisitorsCannotJoin(Forbidden):
    """An anonymous visitor has no account that could belong to a workspace, and a service belongs to one already."""

    code = "visitors_cannot_join"
    title = "Register first"


class OfferOpen(Conflict):
    """One offer of the ownership is open already: withdraw it first."""

    code = "offer_open"
    title = "The ownership has been offered already"


class CannotOwn(InvalidInput):
    """Only a person who is an active member, and no owner yet, can be offered the ownership."""

    code = "cannot_own"
    title = "This account cannot own the workspace"


class TooManyServices(Conflict):
    """The workspace has as many service accounts as it can have."""

    code = "too_many_services"
    title = "Too many service accounts"
