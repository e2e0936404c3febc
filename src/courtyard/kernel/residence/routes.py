"""HTTP: where a workspace lives."""

from courtyard.kernel.context import ReadContext
from courtyard.kernel.http import get
from courtyard.kernel.residence import queries
from courtyard.kernel.residence.permissions import READ
from courtyard.kernel.residence.schemas import WorkspacePlaces


@get("/workspaces/{workspace:str}/places", permission=READ)
async def get_workspace_places(context: ReadContext) -> WorkspacePlaces:
    """See in which database and storage the workspace lives, and how its move is going. Passwords are never shown."""
    return await queries.get_places(context)


ROUTES = (get_workspace_places,)
