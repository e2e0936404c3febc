"""Telling every process that somebody may do more or less than before."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import update

from courtyard.kernel.accounts.models import AccountRow
from courtyard.kernel.context import Context
from courtyard.kernel.database import AnyOf, Prepared
from courtyard.kernel.events import Signal

# Where processes hear of sessions that have ended, and of accounts whose rights have changed.
SESSIONS_CHANNEL = "sessions"

_RAISE = Prepared(
    update(AccountRow).where(AnyOf(AccountRow.id.expression, "ids")).values(rights_epoch=AccountRow.rights_epoch + 1)
)


async def rights_changed(context: Context, account_ids: Sequence[UUID]) -> None:
    """Let every process look anew at what accounts may do; their sockets are cut, and connect again.

    The signal makes it immediate. Where it is lost, the raised epoch is found within a second.
    """
    if not account_ids:
        return
    await context.db.execute(_RAISE, ids=list(account_ids))
    runtime = context.runtime

    def tell() -> None:
        runtime.identity.forget()
        for account_id in account_ids:
            runtime.bus.publish(Signal(SESSIONS_CHANNEL, "rights_changed", body=account_id.bytes))

    context.after_commit(tell)
