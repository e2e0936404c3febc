"""Every change of what workspaces have of their quotas, in the transaction of what it is about."""

from sqlalchemy import BigInteger, String, bindparam, case, func, update
from sqlalchemy.dialects.postgresql import insert as insert_unless_there

from courtyard.kernel.context import Context
from courtyard.kernel.database import WORKSPACE, Prepared
from courtyard.kernel.quotas import queries, rules
from courtyard.kernel.quotas.errors import QuotaExceeded
from courtyard.kernel.quotas.models import QuotaRow
from courtyard.kernel.quotas.rules import UNLIMITED, Quota

_NAME = bindparam("name", type_=String(), required=True)
_AMOUNT = bindparam("amount", type_=BigInteger(), required=True)
_OF_QUOTA = (QuotaRow.workspace_id == WORKSPACE, QuotaRow.name == _NAME)

_BEGIN = Prepared(
    insert_unless_there(QuotaRow)
    .values(workspace_id=WORKSPACE, name=_NAME, used=_AMOUNT)
    .on_conflict_do_nothing(index_elements=[QuotaRow.workspace_id, QuotaRow.name])
)
_TAKE = Prepared(
    update(QuotaRow)
    .where(
        *_OF_QUOTA,
        QuotaRow.used + _AMOUNT
        <= func.coalesce(QuotaRow.most, bindparam("limit_for_all", type_=BigInteger(), required=True)),
    )
    .values(used=QuotaRow.used + _AMOUNT)
)
_CHARGE = Prepared(update(QuotaRow).where(*_OF_QUOTA).values(used=QuotaRow.used + _AMOUNT))
_GIVE_BACK = Prepared(
    update(QuotaRow).where(*_OF_QUOTA).values(used=case((QuotaRow.used > _AMOUNT, QuotaRow.used - _AMOUNT), else_=0))
)


async def take(context: Context, quota: Quota, amount: int = 1) -> None:
    """Take from a quota of the workspace, before that which is counted is written.

    The database holds the limit: of two who take the last one at once, one gets it.

    Args:
        context: of the change.
        quota: what is taken from; some part has to declare it.
        amount: how much, at least 0.

    Raises:
        QuotaExceeded: there is less left. Nothing was taken.
    """
    limit = rules.limit_for_all(quota, context.runtime.settings)
    values = {"name": quota.name, "amount": amount, "limit_for_all": limit}
    if await context.db.execute(_TAKE, **values):
        return
    if await queries.lock_use(context, quota) is None:
        await _begin(context, quota)
    # Again, in any case: somebody else may have begun the count between the first try and the look at it.
    if await context.db.execute(_TAKE, **values):
        return
    use = await queries.lock_use(context, quota)
    if use is None:
        raise RuntimeError(f"the use of {quota.name} is gone")
    raise QuotaExceeded(name=quota.name, limit=queries.limit_of(context, quota, use), used=use.used)


async def charge(context: Context, quota: Quota, amount: int) -> None:
    """Add to the use of a quota what is there whatever the limit, before it is written; what comes next is refused."""
    if not await context.db.execute(_CHARGE, name=quota.name, amount=amount):
        await _begin(context, quota)
        await context.db.execute(_CHARGE, name=quota.name, amount=amount)


async def give_back(context: Context, quota: Quota, amount: int = 1) -> None:
    """Give back to a quota of the workspace, after that which was counted is gone."""
    await context.db.execute(_GIVE_BACK, name=quota.name, amount=amount)


async def set_limit(context: Context, quota: Quota, limit: int | None) -> None:
    """Set how much the workspace may have; for the command line, which needs no permission.

    What it has already stays, even if it is more.

    Args:
        context: of the command.
        quota: which.
        limit: how much, `UNLIMITED` for any amount, None for what holds for all workspaces.
    """
    await _begin(context, quota)
    await context.db.update(QuotaRow, {"name": quota.name}, most=None if limit is None else min(limit, UNLIMITED))


async def recount(context: Context, quota: Quota) -> int:
    """Count anew what the workspace has, repair the use, and return it; for the command line."""
    await _begin(context, quota)
    # Whoever has taken and not yet committed holds this, so the count sees what was made of it.
    use = await queries.lock_use(context, quota)
    if quota.count is None:
        return 0 if use is None else use.used
    used = await quota.count(context)
    await context.db.update(QuotaRow, {"name": quota.name}, used=used)
    return used


async def _begin(context: Context, quota: Quota) -> None:
    await context.db.execute(_BEGIN, name=quota.name, amount=await queries.counted(context, quota))
