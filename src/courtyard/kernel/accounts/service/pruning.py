"""Removing what nobody needs any more: links that were never used, sessions that are long over, old counters."""

from datetime import timedelta

from courtyard.kernel.accounts.service import challenges, passwords
from courtyard.kernel.accounts.store import sessions_of
from courtyard.kernel.context import Context

# Rows of one table that go in one transaction: locks are held for a moment only.
LIMIT = 1_000
CHALLENGES_KEPT = timedelta(days=1)
SESSIONS_KEPT = timedelta(days=30)


async def prune(context: Context) -> bool:
    """Remove what is old; return whether there may be more of it."""
    removed = (
        await challenges.prune(context, context.now - CHALLENGES_KEPT, LIMIT),
        await sessions_of(context.runtime).prune(context, context.now - SESSIONS_KEPT, LIMIT),
        await passwords.prune(context, LIMIT),
    )
    return max(removed) >= LIMIT
