"""`courtyard keys`: which keys there are, and how a new one takes over."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer

from courtyard.kernel.rings import current_key
from courtyard.kernel.settings import Key, Settings, complete, read_settings
from courtyard.kernel.settings_sources import (
    ENV_PREFIX,
    SettingsError,
    holds,
    key_table,
    moment,
    new_key,
    read_all,
    rotate_secrets,
)

# A running server looks at the secrets file every second.
STORED_LEAD = timedelta(seconds=10)
# Servers whose keys are configured have to be started anew, one after the other.
CONFIGURED_LEAD = timedelta(hours=1)
OVERLAP = timedelta(hours=1)
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
NEVER = "-"

commands = typer.Typer(help="List and rotate keys.", no_args_is_help=True, add_completion=False, rich_markup_mode=None)
RingName = Literal["signing", "encryption"]


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise typer.BadParameter("write 90s, 30m, 1h or 2d")
    return timedelta(seconds=int(found[1]) * UNITS[found[2]])


@commands.command("list")
def list_keys() -> None:
    """List the keys with their dates, and say which of them is in use. Never shows a secret."""
    settings, now = _settings(), _now()
    for ring in ("signing", "encryption"):
        name = f"{ring}_keys"
        typer.echo(f"{ring}: {_source(settings, name)}")
        if name in settings.security.stored or _origin(name):
            for line in _lines(settings, ring, now):
                typer.echo(f"  {line}")


@commands.command("rotate")
def rotate(
    *,
    ring: Annotated[RingName, typer.Option(help="Which keys: those that sign, or those that encrypt.")] = "signing",
    overlap: Annotated[
        timedelta | None,
        typer.Option(parser=_duration, metavar="DURATION", help="How long the old key counts beside the new one: 1h."),
    ] = None,
    lead: Annotated[
        timedelta | None,
        typer.Option(
            parser=_duration, metavar="DURATION", help="How long before the new key is used: every server must know it."
        ),
    ] = None,
    leaked: Annotated[
        bool, typer.Option("--leaked", help="The old key is in wrong hands: it counts no more from now on.")
    ] = False,
) -> None:
    """Let a new key take over from the present one, without anybody noticing.

    Keys in the secrets file of the data directory are changed there; running servers take them over by themselves. For
    keys that are configured it prints what to change.
    """
    settings, now = _settings(), _now()
    if leaked and (overlap is not None or ring == "encryption"):
        raise typer.BadParameter("--leaked is for signing keys, and leaves no overlap")
    name = f"{ring}_keys"
    is_stored = name in settings.security.stored
    starts = now if leaked else now + (lead or (STORED_LEAD if is_stored else CONFIGURED_LEAD))
    ends = None if ring == "encryption" else now if leaked else starts + _overlap(settings, overlap)
    key = {**new_key(generated=is_stored), "not_before": starts}
    if not is_stored:
        for line in _instructions(settings, name, key, ends):
            typer.echo(line)
        return
    rotate_secrets(settings.data_path, name, key, ends, now)
    for line in _lines(_settings(), ring, now):
        typer.echo(line)


def _settings() -> Settings:
    return complete(read_settings(), make_secrets=False)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _overlap(settings: Settings, chosen: timedelta | None) -> timedelta:
    """Return how long the old key goes on: at least as long as the longest life of what it signs.

    That is an access token, or a code in a mail. Refresh tokens do not depend on signing keys, and a page gets a new
    CSRF token with each new access token.
    """
    seconds = max(settings.security.access_token_seconds, settings.accounts.proof_seconds)
    least = timedelta(seconds=seconds + 1)
    if chosen is None:
        return max(OVERLAP, least)
    if chosen < least:
        raise typer.BadParameter(
            f"what the old key has signed lives for up to {seconds} s (security.access_token_seconds, "
            f"accounts.proof_seconds), so --overlap is at least {seconds + 1}s; --leaked ends it at once"
        )
    return chosen


def _source(settings: Settings, name: str) -> str:
    if name in settings.security.stored:
        return f"in the secrets file of {settings.data_path}"
    return f"set in {_origin(name)}" if _origin(name) else "made at the first start"


def _origin(name: str) -> str:
    return next((origin for origin, tree in read_all() if holds(tree, ("security", name))), "")


def _lines(settings: Settings, ring: str, now: datetime) -> Iterator[str]:
    security = settings.security
    rings = {"signing": security.signing_ring, "encryption": security.encryption_ring}
    current = current_key(rings[ring], now)
    for key in rings[ring]:
        state = "in use"
        if key.is_retired(now):
            state = "retired"
        elif key.id != current.id:
            state = "believed" if ring == "signing" else "decrypts"
        dates = [moment(date) if date else NEVER for date in (key.not_before, key.retire_at)]
        yield f"{key.id:<32}  {state:<8}  not before {dates[0]:<20}  retired at {dates[1]}"


def _instructions(settings: Settings, name: str, key: dict[str, Any], ends: datetime | None) -> Iterator[str]:
    """Say what to write where, with the secret of the new key and of no other."""
    present: tuple[Key, ...] = getattr(settings.security, name)
    origin = _origin(name)
    if not present or not origin:
        raise SettingsError(f"there are no {name} yet: start a server first")
    starts, old = moment(key["not_before"]), [each for each in present if each.retire_at is None]
    if origin.endswith(".toml"):
        yield f"In {origin}, before the other tables [[security.{name}]]:"
        yield ""
        yield key_table(f"security.{name}", key)
        if ends is not None:
            for each in old:
                yield f'and in the table with id = "{each.id}":'
                yield ""
                yield f"retire_at = {moment(ends)}"
                yield ""
    else:
        dated = {} if ends is None else {"retire_at": moment(ends)}
        kept = [
            {"id": each.id, "secret": "(as it is now)", **(dated if each in old else _dates(each))} for each in present
        ]
        value = [{**key, "not_before": starts}, *kept]
        yield f"In {origin}, with the present secrets in their places:"
        yield ""
        yield f"{ENV_PREFIX}SECURITY__{name.upper()}='{json.dumps(value)}'"
        yield ""
    yield f"Then start every server anew, before {starts}: from then on the new key is used."
    if ends is not None:
        yield f"After {moment(ends)} the old key can be taken out."
    else:
        yield "Leave the old key where it is: what it encrypted can be read with it alone."


def _dates(key: Key) -> dict[str, str]:
    dates = {"not_before": key.not_before, "retire_at": key.retire_at}
    return {name: moment(date) for name, date in dates.items() if date is not None}
