"""Every read of quotas."""

from sqlalchemy import String, bindparam, select

from courtyard.kernel.context import ReadContext
from courtyard.kernel.database import WORKSPACE, Prepared
from courtyard.kernel.quotas import rules
from courtyard.kernel.quotas.models import QuotaRow
from courtyard.kernel.quotas.rules import Quota
from courtyard.kernel.quotas.schemas import QuotaUse, StoredUse

_USES = select(QuotaRow.name, QuotaRow.used, QuotaRow.most).where(QuotaRow.workspace_id == WORKSPACE)
_ALL = Prepared(_USES, StoredUse)
_ONE = Prepared(
    _USES.where(QuotaRow.name == bindparam("name", type_=String(), required=True)).with_for_update(), StoredUse
)


async def list_quotas(context: ReadContext) -> list[QuotaUse]:
    """Return every quota with its use by the workspace."""
    context.require("quotas.quota.read")
    return await load_quotas(context)


async def load_quotas(context: ReadContext) -> list[QuotaUse]:
    """Return every quota with its use by the workspace, for a caller who may see it."""
    stored = {use.name: use for use in await context.db.all(_ALL)}
    uses = []
    for quota in (quota for part in context.runtime.parts for quota in part.quotas):
        use = stored.get(quota.name) or StoredUse(quota.name, await counted(context, quota), None)
        uses.append(
            QuotaUse(quota.name, quota.description, quota.unit, rules.shown(limit_of(context, quota, use)), use.used)
        )
    return uses


async def lock_use(context: ReadContext, quota: Quota) -> StoredUse | None:
    """Return the use of a quota, which nobody else changes until the commit; None where it was never asked for."""
    return await context.db.first(_ONE, name=quota.name)


async def counted(context: ReadContext, quota: Quota) -> int:
    """Return how much the workspace has by a count."""
    return 0 if quota.count is None else await quota.count(context)


def limit_of(context: ReadContext, quota: Quota, use: StoredUse) -> int:
    """Return how much the workspace may have; `UNLIMITED` for any amount."""
    return rules.limit_for_all(quota, context.runtime.settings) if use.most is None else use.most
