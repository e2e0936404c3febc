"""HTTP: quotas of a workspace."""

from courtyard.kernel.context import ReadContext
from courtyard.kernel.http import get
from courtyard.kernel.quotas import queries
from courtyard.kernel.quotas.schemas import QuotaUse


@get("/workspaces/{workspace:str}/quotas", permission="quotas.quota.read")
async def list_quotas(context: ReadContext) -> list[QuotaUse]:
    """List how much of what the workspace may have, and has."""
    return await queries.list_quotas(context)


ROUTES = (list_quotas,)
