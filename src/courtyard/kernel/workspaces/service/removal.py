"""The end of what is over: deleted workspaces with all their rows, invitations that have expired, slugs given up.

Each step is a bounded transaction of its own that can be lost and done again. A workspace goes last, behind everything
that belonged to it, so after a crash the next step goes on where the last one ended.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from uuid import UUID

from sqlalchemy import BigInteger, Table, Uuid, bindparam, delete, select, tuple_, update

from courtyard.kernel.accounts import remove_account
from courtyard.kernel.application import Application
from courtyard.kernel.context import Access, Context
from courtyard.kernel.database import WORKSPACE, Prepared, UtcDateTime, WorkspaceBase
from courtyard.kernel.workspaces.models import (
    CustomRoleRow,
    InvitationLinkRow,
    InvitationRow,
    MembershipRow,
    OwnershipOfferRow,
    ServiceRow,
    WorkspaceRow,
    WorkspaceSlugRow,
)
from courtyard.kernel.workspaces.rules.invitations import KEEP_SETTLED
from courtyard.kernel.workspaces.service.members import remove_member_rows

_ID = bindparam("id", type_=Uuid(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_LIMIT = bindparam("limit", type_=BigInteger(), required=True)

_DUE = Prepared(
    select(WorkspaceRow.id).where(WorkspaceRow.deletes_at <= _NOW).order_by(WorkspaceRow.deletes_at).limit(1), UUID
)
# Whoever removes something of a workspace has it to themselves: what is not found then is not there.
_HOLD = Prepared(
    select(WorkspaceRow.id)
    .where(WorkspaceRow.id == _ID, WorkspaceRow.deletes_at <= _NOW)
    .with_for_update(key_share=True),
    UUID,
)
_SERVICES = Prepared(select(ServiceRow.account_id).where(ServiceRow.workspace_id == _ID).limit(_LIMIT), UUID)
_MEMBERS = Prepared(select(MembershipRow.account_id).where(MembershipRow.workspace_id == _ID).limit(_LIMIT), UUID)
# The database would remove them with the workspace, but tell nobody.
_BELONGINGS = tuple(
    Prepared(delete(key.class_).where(here, key.in_(select(key).where(here).limit(_LIMIT))))
    for key, here in (
        (CustomRoleRow.name, CustomRoleRow.workspace_id == _ID),
        (InvitationLinkRow.id, InvitationLinkRow.workspace_id == _ID),
        (InvitationRow.id, InvitationRow.workspace_id == _ID),
    )
)
_DELETE = Prepared(delete(WorkspaceRow).where(WorkspaceRow.id == _ID))
_DELETE_SERVICE = Prepared(delete(ServiceRow).where(ServiceRow.account_id == _ID))

_LAPSED = (InvitationRow.state == "pending", InvitationRow.expires_at <= _NOW)
_OLD = InvitationRow.settled_at <= bindparam("before", type_=UtcDateTime(), required=True)
_FREE = WorkspaceSlugRow.kept_until <= _NOW
_STALE = OwnershipOfferRow.expires_at <= _NOW
# The condition stands outside again: what somebody has changed meanwhile is left alone.
_UPKEEP = (
    Prepared(
        update(InvitationRow)
        .where(*_LAPSED, InvitationRow.id.in_(select(InvitationRow.id).where(*_LAPSED).limit(_LIMIT)))
        .values(state="expired", settled_at=_NOW)
    ),
    Prepared(delete(InvitationRow).where(InvitationRow.id.in_(select(InvitationRow.id).where(_OLD).limit(_LIMIT)))),
    Prepared(
        delete(WorkspaceSlugRow).where(
            _FREE, WorkspaceSlugRow.slug.in_(select(WorkspaceSlugRow.slug).where(_FREE).limit(_LIMIT))
        )
    ),
    Prepared(
        delete(OwnershipOfferRow).where(
            _STALE,
            OwnershipOfferRow.workspace_id.in_(select(OwnershipOfferRow.workspace_id).where(_STALE).limit(_LIMIT)),
        )
    ),
)


async def clean_up(context: Context) -> bool:
    """Take one step: remove a bounded number of rows that are over; return whether there may be more.

    Args:
        context: outside of any workspace. The edge commits, and calls again while there is more.
    """
    workspace_id = await context.outside().db.first(_DUE, now=context.now)
    if workspace_id is not None:
        await remove_some(context, workspace_id)
        return True
    limit = context.runtime.settings.workspaces.removal_batch
    before = context.now - KEEP_SETTLED
    changed = [await context.db.execute(each, now=context.now, before=before, limit=limit) for each in _UPKEEP]
    return max(changed) >= limit


async def remove_some(context: Context, workspace_id: UUID) -> bool:
    """Remove a bounded number of rows of a workspace whose time is over; return whether there is more of it."""
    if await context.db.first(_HOLD, id=workspace_id, now=context.now) is None:
        return False
    limit = context.runtime.settings.workspaces.removal_batch
    with context.within(Access(workspace_id, "", frozenset(), frozenset())):
        return await _remove_some(context, workspace_id, limit)


async def _remove_some(context: Context, workspace_id: UUID, limit: int) -> bool:
    for table in _tables(context.runtime.parts):
        if await context.db.execute(_removal(table), limit=limit):
            return True
    services = await context.db.all(_SERVICES, id=workspace_id, limit=limit)
    for account_id in services:
        await context.db.execute(_DELETE_SERVICE, id=account_id)
        await remove_account(context, account_id)
    if services:
        return True
    members = await context.db.all(_MEMBERS, id=workspace_id, limit=limit)
    for account_id in members:
        await remove_member_rows(context, account_id, workspace_id)
    if members:
        return True
    for statement in _BELONGINGS:
        if await context.db.execute(statement, id=workspace_id, limit=limit):
            return True
    await context.db.execute(_DELETE, id=workspace_id)
    context.after_commit(context.runtime.identity.forget)
    return False


def _tables(parts: Sequence[Application]) -> Iterator[Table]:
    """Return the tables of the workspace's side, what refers to others first."""
    declared = {
        model.__table__
        for part in parts
        if part.side == "workspace" and not part.outlives_workspaces
        for model in part.models
    }
    return (table for table in reversed(WorkspaceBase.metadata.sorted_tables) if table in declared)


@lru_cache(maxsize=1_024)
def _removal(table: Table) -> Prepared[None]:
    key = tuple(table.primary_key.columns)
    some = select(*key).where(table.c.workspace_id == WORKSPACE).limit(_LIMIT)
    statement = Prepared(delete(table).where(table.c.workspace_id == WORKSPACE, tuple_(*key).in_(some)))
    # Not told of row by row: the audit log would keep all that goes.
    statement.audited = None
    return statement
