"""Every read of roles."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import String, Uuid, bindparam, func, select

from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import AnyOf, Page, Prepared, page, sort_key
from courtyard.kernel.errors import NotFound
from courtyard.kernel.workspaces.models import CustomRoleRow
from courtyard.kernel.workspaces.queries.access import meaning_of
from courtyard.kernel.workspaces.rules import Meaning
from courtyard.kernel.workspaces.schemas.roles import Role

_WORKSPACE = bindparam("workspace", type_=Uuid(), required=True)


class _Custom(msgspec.Struct, frozen=True):
    name: str
    description: str
    permissions: Any
    require_second_factor: bool
    version: int


_CUSTOM = (
    select(*(getattr(CustomRoleRow, name) for name in _Custom.__struct_fields__))
    .where(CustomRoleRow.workspace_id == _WORKSPACE)
    .order_by(CustomRoleRow.name)
)
_ALL = Prepared(_CUSTOM, _Custom)
_ONE = Prepared(_CUSTOM.where(CustomRoleRow.name == bindparam("name", type_=String(), required=True)), _Custom)
_SOME = Prepared(_CUSTOM.where(AnyOf(CustomRoleRow.name.expression, "names")), _Custom)
_COUNT = Prepared(select(func.count()).select_from(CustomRoleRow).where(CustomRoleRow.workspace_id == _WORKSPACE), int)


async def list_roles(context: ReadContext, limit: int, cursor: str | None) -> Page[Role]:
    """Return the roles that a member can have, the built-in ones among those of the workspace, by name."""
    context.require("workspaces.member.read")
    (after,) = ("",) if cursor is None else sort_key(cursor, tuple[str])
    own = await context.db.all(_ALL, workspace=context.workspace.workspace_id)
    names = [name for name, role in context.runtime.built_in.items() if role.assignable]
    roles = sorted([*(_built_in(context, name) for name in names), *map(_custom, own)], key=lambda role: role.name)
    return page([role for role in roles if role.name > after][: limit + 1], limit, lambda role: (role.name,))


async def get_role(context: ReadContext, name: str) -> Role:
    """Return a role that a member can have.

    Raises:
        NotFound: there is none of this name.
    """
    context.require("workspaces.member.read")
    return await load_role(context, name)


async def load_role(context: ReadContext, name: str) -> Role:
    """Return a role that a member can have, for a caller who may see it.

    Raises:
        NotFound: there is none of this name.
    """
    built_in = context.runtime.built_in.get(name)
    if built_in is not None and built_in.assignable:
        return _built_in(context, name)
    row = await context.db.first(_ONE, workspace=context.workspace.workspace_id, name=name)
    if row is None:
        raise NotFound
    return _custom(row)


def _built_in(context: ReadContext, name: str) -> Role:
    role = context.runtime.built_in[name]
    return Role(
        name, role.description, sorted(role.permissions), built_in=True, require_second_factor=False, version=None
    )


def _custom(row: _Custom) -> Role:
    return Role(
        row.name,
        row.description,
        sorted(row.permissions),
        built_in=False,
        require_second_factor=row.require_second_factor,
        version=row.version,
    )


async def find_meanings(context: ReadContext, names: Collection[str], workspace_id: UUID) -> dict[str, Meaning]:
    """Return what roles that members can have come to; a name that is missing is none of them."""
    runtime = context.runtime
    found: dict[str, Meaning] = {
        name: meaning_of(runtime, name, None, second_factor=False)
        for name in names
        if name in runtime.built_in and runtime.built_in[name].assignable
    }
    rest = [name for name in names if name not in found]
    for row in await context.db.all(_SOME, workspace=workspace_id, names=rest) if rest else ():
        found[row.name] = meaning_of(runtime, row.name, row.permissions, second_factor=row.require_second_factor)
    return found


async def count_roles(context: ReadContext) -> int:
    """Return how many roles of its own the workspace has."""
    return await context.db.one(_COUNT, workspace=context.workspace.workspace_id)
