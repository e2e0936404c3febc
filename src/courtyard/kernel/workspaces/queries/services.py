"""Every read of service accounts."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, Uuid, bindparam, func, select

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import Page, Prepared, page, sort_key
from courtyard.kernel.errors import NotFound
from courtyard.kernel.workspaces.models import ServiceRow
from courtyard.kernel.workspaces.queries.access import load_standings
from courtyard.kernel.workspaces.schemas.services import Service

_FIRST = UUID(int=0)


class _Service(msgspec.Struct, frozen=True):
    id: UUID
    name: str
    description: str
    maker_id: UUID
    version: int
    created_at: datetime


_SERVICES = (
    select(
        AccountRow.id,
        AccountRow.name,
        ServiceRow.description,
        ServiceRow.maker_id,
        ServiceRow.version,
        ServiceRow.created_at,
    )
    .join(AccountRow, AccountRow.id == ServiceRow.account_id)
    .where(ServiceRow.workspace_id == bindparam("workspace", type_=Uuid(), required=True))
)
_PAGE = Prepared(
    _SERVICES.where(ServiceRow.account_id > bindparam("after", type_=Uuid(), required=True))
    .order_by(ServiceRow.account_id)
    .limit(bindparam("limit", type_=BigInteger(), required=True)),
    _Service,
)
_ONE = Prepared(_SERVICES.where(ServiceRow.account_id == bindparam("id", type_=Uuid(), required=True)), _Service)
_COUNT = Prepared(
    select(func.count())
    .select_from(ServiceRow)
    .where(ServiceRow.workspace_id == bindparam("workspace", type_=Uuid(), required=True)),
    int,
)


async def list_services(context: ReadContext, limit: int, cursor: str | None) -> Page[Service]:
    """Return the service accounts of the workspace, oldest first."""
    context.require("workspaces.service.edit")
    (after,) = (_FIRST,) if cursor is None else sort_key(cursor, tuple[UUID])
    rows = await context.db.all(_PAGE, workspace=context.workspace.workspace_id, after=after, limit=limit + 1)
    found = page(rows, limit, lambda row: (row.id,))
    return Page(await _with_roles(context, found.items), found.next)


async def get_service(context: ReadContext, service_id: UUID) -> Service:
    """Return a service account of the workspace.

    Raises:
        NotFound: there is none of this id.
    """
    context.require("workspaces.service.edit")
    row = await context.db.first(_ONE, workspace=context.workspace.workspace_id, id=service_id)
    if row is None:
        raise NotFound
    return (await _with_roles(context, [row]))[0]


async def count_services(context: ReadContext) -> int:
    """Return how many service accounts the workspace has."""
    return await context.db.one(_COUNT, workspace=context.workspace.workspace_id)


async def _with_roles(context: ReadContext, rows: Sequence[_Service]) -> list[Service]:
    standings = await load_standings(context, [row.id for row in rows])
    return [
        Service(
            row.id,
            row.name,
            row.description,
            sorted(standings[row.id].roles),
            row.maker_id,
            row.version,
            row.created_at,
        )
        for row in rows
    ]
