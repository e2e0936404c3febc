"""What somebody who has invited others can still give them."""

from collections.abc import Sequence
from uuid import UUID

from courtyard.kernel.context import Context, Scope
from courtyard.kernel.workspaces import rules
from courtyard.kernel.workspaces.errors import AboveOwnRights
from courtyard.kernel.workspaces.permissions import NOT_BY_LINK
from courtyard.kernel.workspaces.queries.access import can_act, load_standings
from courtyard.kernel.workspaces.queries.roles import find_meanings
from courtyard.kernel.workspaces.rules import Meaning, Standing
from courtyard.kernel.workspaces.service.members import EDIT


async def giveable(
    context: Context, workspace_id: UUID, giver_id: UUID, roles: Sequence[str], scope: Scope | None = None
) -> list[Meaning]:
    """Return those of some roles that somebody can give at this moment; none while suspended, deactivated or gone.

    Args:
        context: of whoever is to get them; the members of the workspace are held.
        workspace_id: where.
        giver_id: who gives.
        roles: their names.
        scope: on which thing they are to count, None for all of the workspace.
    """
    if not await can_act(context, giver_id, workspace_id):
        return []
    standing = (await load_standings(context, [giver_id], workspace_id))[giver_id]
    if EDIT not in standing.on(scope):
        return []
    meanings = await find_meanings(context, roles, workspace_id)
    return [meaning for meaning in meanings.values() if _may_give(standing, meaning, scope)]


def fits_link(role: Meaning) -> bool:
    """Return whether a role can be given to whoever has a link: it shapes nothing in the workspace."""
    return NOT_BY_LINK.isdisjoint(role.permissions)


def _may_give(standing: Standing, role: Meaning, scope: Scope | None) -> bool:
    try:
        rules.ensure_may_give(standing, role, scope)
    except AboveOwnRights:
        return False
    return True
