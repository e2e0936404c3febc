"""The page of rate limits and quotas in the reference, from the declarations of all parts."""

from collections.abc import Sequence

from courtyard.kernel.application import Application
from courtyard.kernel.http import PUBLIC
from courtyard.kernel.limits import Policy, declared_policies
from courtyard.site.openapi import template
from courtyard.site.permission_table import table

INTRODUCTION = """\
# Limits

Made from the code by `courtyard limits --write`; do not edit it by hand. What the words mean, and how to change an
amount, is in [Limit requests](../howto/limit-requests.md).

## Rate limits
"""
QUOTAS = """\
## Quotas

How much of something each workspace may have. `courtyard quotas` shows and sets it.
"""


def limits_page(parts: Sequence[Application]) -> str:
    """Return the page as Markdown."""
    used = _used(parts)
    policies = [
        (
            f"`{policy.name}`",
            policy.description,
            policy.limit,
            policy.strategy.replace("_", " "),
            f"`{policy.by}`",
            policy.when_unavailable,
            ", ".join(used.get(policy.name, ())) or "within",
        )
        for policy in declared_policies(parts).values()
    ]
    quotas = [
        (
            f"`{quota.name}`",
            quota.description,
            "unlimited" if quota.default is None else f"{quota.default:,}",
            quota.unit,
        )
        for part in parts
        for quota in part.quotas
    ]
    head = ("policy", "what it limits", "limit", "window", "counted by", "while Redis is away", "where")
    return "\n".join(
        (INTRODUCTION, table(head, policies), QUOTAS, table(("quota", "what is counted", "default", "unit"), quotas))
    )


def _used(parts: Sequence[Application]) -> dict[str, list[str]]:
    """Return the routes and socket events that each policy is declared at."""
    used: dict[str, list[str]] = {}
    for part in parts:
        for handler in part.routes:
            general, *own = handler.opt["limits"]
            used[general.name] = [
                "every `public` route" if handler.opt["permission"] == PUBLIC else "every other route"
            ]
            for path in handler.paths:
                for method in handler.http_methods:
                    _add(used, own, f"`{method} {template(path)}`")
        for socket in part.sockets:
            _add(used, socket.limits, f"`{socket.event}`")
    return used


def _add(used: dict[str, list[str]], policies: Sequence[Policy], where: str) -> None:
    for policy in policies:
        used.setdefault(policy.name, []).append(where)
