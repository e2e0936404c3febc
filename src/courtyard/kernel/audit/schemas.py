"""What goes out about the audit log."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from courtyard.kernel.schema import Output

Action = Literal["created", "updated", "deleted", "noted", "refused"]
ActorKind = Literal["person", "visitor", "service", "nobody", "cli", "task", "system"]
OriginName = Literal["http", "socket", "cli", "task", "system"]

ObjectType = Annotated[
    str, Meta(min_length=1, max_length=100, pattern=r"^[a-z][a-z0-9_]*$(?!\n)", description="Such as `membership`.")
]
ObjectId = Annotated[
    str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*$(?!\n)", description="With `object_type`.")
]
EntryName = Annotated[
    str,
    Meta(
        min_length=5,
        max_length=150,
        pattern=r"^[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*){2}$(?!\n)",
        description="`source:subject:action`",
        examples=["accounts:session:opened"],
    ),
]
# Databases compare in UTC, where the first and the last hours of time do not exist.
Moment = Annotated[datetime, Meta(tz=True, description="With its offset (RFC 3339).")]


class AuditEntry(Output, frozen=True):
    """One thing that was done or refused.

    Attributes:
        id: of the entry.
        created_at: when it was written, a moment before the commit.
        name: `source:subject:action`, see the reference of audit names.
        action: what became of a row; `noted` and `refused` have none.
        actor_kind: what acted.
        actor_id: the account that acted; null where it was none, or nobody knows.
        origin: how it came in.
        object_type: the table of the row, or what a note is about.
        object_id: the key of the row within the workspace.
        address: of the client.
        request_id: identifies the request in the logs.
    """

    id: UUID
    created_at: datetime
    name: str
    action: Action
    actor_kind: ActorKind
    actor_id: UUID | None
    origin: OriginName
    object_type: str | None
    object_id: str | None
    address: str | None
    request_id: str | None


class ColumnChange(Output, frozen=True):
    """A column whose value was set or has changed. Null before a creation and after a deletion."""

    column: str
    before: Any
    after: Any


class Seal(Output, frozen=True):
    """The place of an entry in the chain: within its database, counted from 1."""

    number: int
    digest: str


class AuditEntryDetail(Output, frozen=True):
    """An entry with all that is known of it.

    Attributes:
        entry: as in the list.
        changes: column by column. Where the state was too long to be kept whole, texts are cut and say so.
        details: of what has no row.
        request: method, URL, headers, arguments and body; what is secret is `[redacted]`.
        seal: null in the first seconds.
    """

    entry: AuditEntry
    changes: list[ColumnChange]
    details: msgspec.Raw | None
    request: msgspec.Raw | None
    seal: Seal | None
