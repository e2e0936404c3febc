"""HTTP: the audit log of a workspace."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from litestar.params import QueryParameter
from msgspec import Meta

from courtyard.kernel.audit import queries, service
from courtyard.kernel.audit.permissions import EXPORT, READ
from courtyard.kernel.audit.queries import Filters
from courtyard.kernel.audit.schemas import (
    Action,
    AuditEntry,
    AuditEntryDetail,
    EntryName,
    Moment,
    ObjectId,
    ObjectType,
)
from courtyard.kernel.audit.service import MEDIA_TYPES, ExportForm
from courtyard.kernel.context import Context, ReadContext
from courtyard.kernel.database import DEFAULT_LIMIT, Cursor, Limit, Page
from courtyard.kernel.http import Stream, get

AUDIT = "/workspaces/{workspace:str}/audit"
Actor = Annotated[UUID, Meta(description="The account that acted.")]
Form = Annotated[ExportForm, QueryParameter(name="format", description="A line of JSON for each entry, or CSV.")]

EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


@get(AUDIT, permission=READ)
async def list_audit_entries(
    context: ReadContext,
    object_type: ObjectType | None = None,
    object_id: ObjectId | None = None,
    actor: Actor | None = None,
    name: EntryName | None = None,
    action: Action | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor | None = None,
) -> Page[AuditEntry]:
    """Read the audit log, newest first.

    Without an offset, `since` and `until` are in UTC.
    """
    filters = Filters(
        object_type=object_type,
        object_id=object_id,
        actor_id=actor,
        name=name,
        action=action,
        since=_in_time(since),
        until=_in_time(until),
    )
    return await queries.list_entries(context, filters, limit, cursor)


@get(f"{AUDIT}/export", permission=EXPORT, media_types=tuple(MEDIA_TYPES.values()))
async def export_audit_log(
    context: Context,
    object_type: ObjectType | None = None,
    object_id: ObjectId | None = None,
    actor: Actor | None = None,
    name: EntryName | None = None,
    action: Action | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    form: Form = "ndjson",
) -> Stream:
    """Export the audit log, newest first, as far as it is written when this is asked for.

    The export is noted in the log.
    """
    filters = Filters(
        object_type=object_type,
        object_id=object_id,
        actor_id=actor,
        name=name,
        action=action,
        since=_in_time(since),
        until=_in_time(until),
    )
    return service.export(context, await queries.begin_export(context, filters), form, filters)


@get(AUDIT + "/{entry_id:uuid}", permission=READ)
async def get_audit_entry(context: ReadContext, entry_id: UUID) -> AuditEntryDetail:
    """See an entry: what has changed, column by column, and the request."""
    return await queries.get_entry(context, entry_id)


def _in_time(moment: datetime | None) -> datetime | None:
    """Return a time that databases can compare: in UTC, where the first and the last hours of time do not exist."""
    if moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(EARLIEST, min(LATEST, aware))


ROUTES = (list_audit_entries, export_audit_log, get_audit_entry)
