"""Problems: every error that a caller may see, in the shape of RFC 9457.

A problem is an exception class with a stable `code`, an HTTP status and a title. The web layer turns it into
`application/problem+json`, the realtime layer into the `problem` of an acknowledgement.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

__all__ = [
    "Conflict",
    "FieldError",
    "Forbidden",
    "InvalidInput",
    "LastOwner",
    "MembershipSuspended",
    "NotFound",
    "PasswordChangeNeeded",
    "PreconditionFailed",
    "Problem",
    "ProblemDocument",
    "SecondFactorRequired",
    "SessionNeeded",
    "Unauthenticated",
    "Unavailable",
    "WorkspaceArchived",
    "WorkspaceDeleted",
]


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault in the input: a JSON pointer (RFC 6901) into the body, or the name of a parameter."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class ProblemDocument(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The members of a problem on the wire (RFC 9457, section 3). A problem may add members of its own."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    errors: tuple[FieldError, ...] = ()
    request_id: str | None = None


class Problem(Exception):
    """Base of every error that is an answer and not a crash.

    Args:
        detail: what went wrong this time, for a person.
        errors: the faulty fields of the input.
        headers: extra response headers, such as `Retry-After`.
        extra: members added to the document; values must encode to JSON.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    # Whether what was changed before this was raised is kept: a refusal that must leave a trace.
    commits: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = extra

    def document(self, request_id: str | None = None) -> dict[str, Any]:
        """Return the members of the problem document, without those that are empty."""
        document = ProblemDocument(
            type=f"urn:courtyard:problem:{self.code}",
            title=self.title,
            status=self.status,
            code=self.code,
            detail=self.detail,
            errors=self.errors,
            request_id=request_id,
        )
        return {**msgspec.to_builtins(document), **msgspec.to_builtins(self.extra)}


class InvalidInput(Problem):
    """The input is malformed or breaks a bound of its schema."""

    code = "invalid_input"
    status = 400
    title = "The input is not valid"


class Unauthenticated(Problem):
    """No credential, or one that does not count (any more)."""

    code = "unauthenticated"
    status = 401
    title = "Authentication is needed"

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"}, **extra)


class Forbidden(Problem):
    """The caller is known and may not do this."""

    code = "forbidden"
    status = 403
    title = "This is not allowed"


class PasswordChangeNeeded(Forbidden):
    """The password has to be changed before anything else."""

    code = "password_change_needed"
    title = "Change the password first"


class SessionNeeded(Forbidden):
    """An API key may not do this: it wants a person who has logged in."""

    code = "session_needed"
    title = "An API key may not do this"


class SecondFactorRequired(Forbidden):
    """Who does this has to have logged in with a second factor; where there is none yet, it can be set up."""

    code = "second_factor_required"
    title = "Log in with a second factor first"


class MembershipSuspended(Forbidden):
    """The caller could do this, if the membership in the workspace were not suspended."""

    code = "membership_suspended"
    title = "The membership in this workspace is suspended"


class NotFound(Problem):
    """The thing does not exist, or the caller may not know that it does."""

    code = "not_found"
    status = 404
    title = "Not found"


class Conflict(Problem):
    """The state of the thing does not admit the change."""

    code = "conflict"
    status = 409
    title = "Conflict with the current state"


class LastOwner(Conflict):
    """A workspace always has an owner: hand it over, or delete it, first."""

    code = "last_owner"
    title = "The last owner cannot go"


class WorkspaceArchived(Conflict):
    """The workspace is read only until it is opened again."""

    code = "workspace_archived"
    title = "The workspace is archived"


class WorkspaceDeleted(Problem):
    """The workspace will be removed at `deletes_at`. Until then an owner can restore it, and nothing else."""

    code = "workspace_deleted"
    status = 410
    title = "The workspace has been deleted"


class PreconditionFailed(Problem):
    """`If-Match` names another version than the current one (RFC 9110, section 13.1.1)."""

    code = "precondition_failed"
    status = 412
    title = "The thing has changed since it was read"


class Unavailable(Problem):
    """Something that the server stands on does not answer; the same request may succeed soon."""

    code = "unavailable"
    status = 503
    title = "Temporarily unavailable"

    def __init__(self, detail: str = "", *, retry_after_seconds: int = 1, **extra: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)}, **extra)
