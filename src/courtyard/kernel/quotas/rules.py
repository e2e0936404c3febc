"""What a quota is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from courtyard.kernel.context import ReadContext
from courtyard.kernel.settings import MOST, Settings

# What stands in the database for no limit: more than can ever be used.
UNLIMITED = 2 * MOST


@dataclass(frozen=True, kw_only=True)
class Quota:
    """How much of something a workspace may have, unless the operator says otherwise.

    Attributes:
        name: the module and what is counted: `workspaces.members`.
        description: what is counted, in a sentence.
        unit: what one is: `members`, `bytes`.
        default: how much, None for any amount.
        count: counts what the workspace of a context has. The use begins with it, and is repaired by it; without it
            the use begins with 0.
    """

    name: str
    description: str
    unit: str
    default: int | None = None
    count: Callable[[ReadContext], Awaitable[int]] | None = None


def limit_for_all(quota: Quota, settings: Settings) -> int:
    """Return how much a workspace may have for which nothing else is set; `UNLIMITED` for any amount."""
    limit = settings.limits.quotas.get(quota.name, quota.default)
    return UNLIMITED if limit is None or limit == "unlimited" else limit


def shown(limit: int) -> int | None:
    """Return a limit as it is told: None for any amount."""
    return None if limit >= UNLIMITED else limit
