"""Policies: how much of what one may do in which time, and whom it is counted for. Declarations, without I/O."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec
from limits import RateLimitItem, parse_many

from courtyard.kernel.proxies import subscriber_of
from courtyard.kernel.schema import normalise_email

if TYPE_CHECKING:
    from courtyard.kernel.application import Application

Strategy = Literal["fixed_window", "moving_window", "sliding_window"]

OFF = "off"
_NAME = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)+")
_BY = re.compile(r"address|account|api_key|workspace|installation|(address_and_)?body:[a-z][a-z_]*")
EMAIL = "email"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One limit, under the name by which operators, headers and metrics know it.

    Attributes:
        name: the module and what is limited: `accounts.login_by_address`.
        limit: in the notation of the `limits` library: `10/minute`, `100 per 2 hours`.
        strategy: `moving_window` never admits more than the limit within any window, and remembers each hit;
            `sliding_window` counts the window before in part, so it remembers two numbers; `fixed_window` begins
            anew at the end of each window.
        by: whom it is counted for: `address` (an IPv6 network of /64 counts as one), `account`, `api_key` (the
            session of whoever has none), `workspace`, `installation` (everybody together), `body:<field>` (a text
            field of the body, such as the e-mail address of a login) or `address_and_body:<field>`. Whoever has no
            account, and a body without such a field, is counted by address.
        when_unavailable: what holds while the store that processes share is away: `pass` lets everything through,
            `local` counts in each process.
        description: what it is for, in a sentence.
        batch: for a generous limit on a hot path: how many hits a process takes from the shared store at once, and
            gives out by itself for a tenth of the window; at the most a twentieth of the limit. A quarter as many it
            gives out before it asks at all, and pays for when it does. So each process may admit, or lose, an eighth
            of the limit in a window.

    Raises:
        ValueError: one of them is not possible.
    """

    name: str
    limit: str
    description: str
    by: str = "address"
    strategy: Strategy = "moving_window"
    when_unavailable: Literal["pass", "local"] = "pass"
    batch: int = 1

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a policy")
        if not _BY.fullmatch(self.by):
            raise ValueError(f"{self.name}: nothing is counted by {self.by!r}")
        if not 1 <= self.batch <= parse(self.limit).amount:
            raise ValueError(f"{self.name}: a batch is between 1 and the limit")

    @cached_property
    def field(self) -> str | None:
        """The field of the body that it is counted by, None without one."""
        return self.by.partition(":")[2] or None


class Subject(msgspec.Struct, frozen=True, gc=False):
    """Who does something, as far as it can be counted.

    Attributes:
        address: of the client.
        account_id: None for nobody.
        credential_id: the session or API key by which the account asks.
        workspace_id: where it is done, None outside of any workspace.
    """

    address: str
    account_id: UUID | None = None
    credential_id: UUID | None = None
    workspace_id: UUID | None = None


def parse(limit: str) -> RateLimitItem:
    """Return what a limit says.

    Raises:
        ValueError: it is not one limit in the notation of the library, or allows nothing.
    """
    try:
        (item,) = parse_many(limit)
    except ValueError:
        raise ValueError(f"{limit!r} is not a limit such as 10/minute or 100 per 2 hours") from None
    if item.amount < 1:
        raise ValueError(f"{limit!r} allows nothing")
    return item


def key_of(policy: Policy, subject: Subject, value: object = None) -> str:
    """Return what a hit is counted under.

    Args:
        policy: the policy.
        subject: who does it.
        value: of the field of the body that the policy is counted by; anything but a text counts as missing.
    """
    match policy.by:
        case "account" if subject.account_id is not None:
            return f"account {subject.account_id}"
        case "api_key" if subject.credential_id is not None:
            return f"credential {subject.credential_id}"
        case "workspace" if subject.workspace_id is not None:
            return f"workspace {subject.workspace_id}"
        case "installation":
            return "installation"
    address = subscriber_of(subject.address)
    if policy.field is None or not isinstance(value, str):
        return f"address {address}"
    text = normalise_email(value) if policy.field == EMAIL else value
    return f"body {text}" if policy.by.startswith("body") else f"address {address} body {text}"


def declared_policies(parts: "Iterable[Application]") -> dict[str, Policy]:
    """Return every policy that a part declares, or a route or socket event of it, by name.

    Raises:
        ValueError: two policies have the same name.
    """
    declared: dict[str, Policy] = {}
    for part in parts:
        handlers: Iterator[Any] = (one for kind in (part.routes, part.sockets) for one in kind)
        for policy in (*part.limits, *(policy for handler in handlers for policy in _limits_of(handler))):
            if declared.setdefault(policy.name, policy) != policy:
                raise ValueError(f"two policies are called {policy.name}")
    return dict(sorted(declared.items()))


def _limits_of(handler: Any) -> Iterable[Policy]:  # noqa: ANN401 - a route keeps them among its options
    limits: Iterable[Policy] = getattr(handler, "opt", {}).get("limits", ()) or getattr(handler, "limits", ())
    return limits


def faults_of(overrides: Mapping[str, str], declared: Mapping[str, Policy]) -> Iterator[str]:
    """Return what is wrong with the settings of policies, one line each."""
    for name, text in overrides.items():
        if name not in declared:
            yield f"limits.policies: there is no policy {name} (docs/reference/limits.md has them all)"
        elif text != OFF:
            try:
                parse(text)
            except ValueError as error:
                yield f"limits.policies.{name}: {error}, nor {OFF!r}"
