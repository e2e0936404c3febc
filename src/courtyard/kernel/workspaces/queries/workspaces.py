"""Every read of workspaces."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import BigInteger, String, Uuid, bindparam, select

from courtyard.kernel.accounts import AccountRow
from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import Page, Prepared, page, sort_key
from courtyard.kernel.errors import NotFound
from courtyard.kernel.schema import WorkspaceSection
from courtyard.kernel.workspaces.models import MembershipRow, WorkspaceRow
from courtyard.kernel.workspaces.rules import settings as rules
from courtyard.kernel.workspaces.schemas.workspaces import SettingsOfWorkspace, Workspace

S = TypeVar("S", bound=WorkspaceSection)

_FIRST = UUID(int=0)
_ID = bindparam("id", type_=Uuid(), required=True)

_WORKSPACE = tuple(getattr(WorkspaceRow, name) for name in Workspace.__struct_fields__)
_BY_ID = Prepared(select(*_WORKSPACE).where(WorkspaceRow.id == _ID), Workspace)
_OF_ACCOUNT = Prepared(
    select(*_WORKSPACE)
    .join(MembershipRow, MembershipRow.workspace_id == WorkspaceRow.id)
    .where(
        MembershipRow.account_id == bindparam("account_id", type_=Uuid(), required=True),
        WorkspaceRow.id > bindparam("after", type_=Uuid(), required=True),
    )
    .order_by(WorkspaceRow.id)
    .limit(bindparam("limit", type_=BigInteger(), required=True)),
    Workspace,
)


_BY_SLUG = Prepared(
    select(*_WORKSPACE).where(WorkspaceRow.slug == bindparam("slug", type_=String(), required=True)), Workspace
)
_ALL = Prepared(
    select(*_WORKSPACE)
    .where(WorkspaceRow.id > bindparam("after", type_=Uuid(), required=True))
    .order_by(WorkspaceRow.id)
    .limit(200),
    Workspace,
)


class Held(msgspec.Struct, frozen=True):
    """A workspace that is locked until the commit."""

    id: UUID
    slug: str
    name: str
    settings: dict[str, Any]
    version: int
    archived_at: datetime | None
    deletes_at: datetime | None


_MEMBER_IDS = Prepared(select(MembershipRow.account_id).where(MembershipRow.workspace_id == _ID), UUID)
_OTHER_PEOPLE = Prepared(
    select(MembershipRow.account_id)
    .join(AccountRow, AccountRow.id == MembershipRow.account_id)
    .where(
        MembershipRow.workspace_id == _ID,
        MembershipRow.account_id != bindparam("account_id", type_=Uuid(), required=True),
        AccountRow.kind == "person",
    )
    .limit(1),
    UUID,
)
_WORKSPACES_OF = Prepared(
    select(MembershipRow.workspace_id).where(MembershipRow.account_id == _ID).order_by(MembershipRow.workspace_id), UUID
)
_HELD = select(*(getattr(WorkspaceRow, name) for name in Held.__struct_fields__)).where(WorkspaceRow.id == _ID)
# Not stronger: other rows that name the workspace may be written meanwhile.
_LOCK = Prepared(_HELD.with_for_update(key_share=True), Held)
_READ = Prepared(_HELD, Held)


async def get_workspace(context: ReadContext) -> Workspace:
    """Return the workspace of the context."""
    context.require("workspaces.workspace.read")
    return await load_workspace(context, context.workspace.workspace_id)


async def load_workspace(context: ReadContext, workspace_id: UUID) -> Workspace:
    """Return a workspace that is known to exist, for a caller who may see it."""
    return await context.db.one(_BY_ID, id=workspace_id)


async def list_my_workspaces(context: ReadContext, limit: int, cursor: str | None) -> Page[Workspace]:
    """Return the workspaces that the caller is a member of, oldest first."""
    (after,) = (_FIRST,) if cursor is None else sort_key(cursor, tuple[UUID])
    rows = await context.db.all(_OF_ACCOUNT, account_id=context.account_id, after=after, limit=limit + 1)
    return page(rows, limit, lambda row: (row.id,))


async def list_workspaces(context: ReadContext, after: UUID) -> list[Workspace]:
    """Return the next workspaces of the installation behind an id, oldest first. Asks for no permission."""
    return await context.db.all(_ALL, after=after)


async def find_workspace(context: ReadContext, named: str) -> Workspace | None:
    """Return the workspace of this slug or id. Asks for no permission."""
    found = await context.db.first(_BY_SLUG, slug=named)
    if found is None:
        try:
            return await context.db.first(_BY_ID, id=UUID(named))
        except ValueError:
            return None
    return found


async def hold_workspace(context: ReadContext, workspace_id: UUID) -> Held:
    """Return a workspace, and hold everybody else off it until the commit.

    Raises:
        NotFound: it is no longer there.
    """
    held = await context.db.first(_LOCK, id=workspace_id)
    if held is None:
        raise NotFound
    return held


async def list_member_ids(context: ReadContext, workspace_id: UUID) -> list[UUID]:
    """Return everybody who belongs to a workspace."""
    return await context.db.all(_MEMBER_IDS, id=workspace_id)


async def has_other_people(context: ReadContext, workspace_id: UUID, account_id: UUID) -> bool:
    """Return whether a person belongs to a workspace beside an account."""
    return await context.db.first(_OTHER_PEOPLE, id=workspace_id, account_id=account_id) is not None


async def list_workspaces_of(context: ReadContext, account_id: UUID) -> list[UUID]:
    """Return the workspaces that an account belongs to."""
    return await context.db.all(_WORKSPACES_OF, id=account_id)


async def get_settings(context: ReadContext) -> SettingsOfWorkspace:
    """Return the settings of the workspace of the context."""
    context.require("workspaces.workspace.read")
    held = await context.db.one(_READ, id=context.workspace.workspace_id)
    sections = sections_of(context)
    values = {name: rules.read_settings(kind, held.settings.get(name, {})) for name, kind in sections.items()}
    return SettingsOfWorkspace(held.version, {name: msgspec.to_builtins(each) for name, each in values.items()})


async def read_settings(context: ReadContext, kind: type[S], workspace_id: UUID | None = None) -> S:
    """Return the settings that a part has declared, in the workspace of the context or another one."""
    held = await context.db.one(_READ, id=workspace_id or context.workspace.workspace_id)
    return settings_in(context, held.settings, kind)


def settings_in(context: ReadContext, settings: Mapping[str, Any], kind: type[S]) -> S:
    """Return the settings that a part has declared, out of all that have been set in a workspace."""
    name = next(name for name, each in sections_of(context).items() if each is kind)
    return rules.read_settings(kind, settings.get(name, {}))


def sections_of(context: ReadContext) -> dict[str, type[WorkspaceSection]]:
    """Return what can be set in a workspace, by part."""
    return {part.name: part.workspace_settings for part in context.runtime.parts if part.workspace_settings is not None}
