"""What a request has left in the audit log."""

from typing import Any

import httpx2
import msgspec
from sqlalchemy import select

from courtyard.kernel.database import Prepared
from courtyard.kernel.trail import AuditEntryRow, Entry
from tests.factories import Factory


async def entries(make: Factory, answer: httpx2.Response) -> dict[str, Entry]:
    """Return what a request has left, by name."""
    request_id = answer.headers["x-request-id"]
    statement = Prepared(
        select(*AuditEntryRow.__table__.columns).where(AuditEntryRow.request_id == request_id),
        Entry,
        across_workspaces=True,
    )
    databases = make.server.runtime.placement.databases()
    return {entry.name: entry for database in databases for entry in await database.fetch(statement, {})}


def details(entry: Entry) -> dict[str, Any]:
    """Return what an entry says beside its columns."""
    found: dict[str, Any] = msgspec.json.decode(entry.details or "{}")
    return found
