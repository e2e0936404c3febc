"""What somebody wants to be written to about."""

from collections.abc import Mapping
from contextlib import nullcontext

from sqlalchemy import Boolean, String, bindparam
from sqlalchemy.dialects.postgresql import insert as upsert

from courtyard.kernel.context import Access, Context, ReadContext
from courtyard.kernel.database import INSTALLATION, WORKSPACE, Prepared, UtcDateTime
from courtyard.kernel.errors import FieldError
from courtyard.kernel.mail import queries, rules
from courtyard.kernel.mail.errors import InvalidStopLink, UnknownMailKind
from courtyard.kernel.mail.models import MailPreferenceRow
from courtyard.kernel.mail.rules import Stop
from courtyard.kernel.mail.schemas import MailPreference

_WANTED = bindparam("wanted", type_=Boolean(), required=True)
_NOW = bindparam("now", type_=UtcDateTime(), required=True)
_SAY = Prepared(
    upsert(MailPreferenceRow)
    .values(
        workspace_id=WORKSPACE,
        subject=bindparam("subject", type_=String(), required=True),
        kind=bindparam("kind", type_=String(), required=True),
        wanted=_WANTED,
        changed_at=_NOW,
    )
    .on_conflict_do_update(
        index_elements=[MailPreferenceRow.workspace_id, MailPreferenceRow.subject, MailPreferenceRow.kind],
        set_={"wanted": _WANTED, "changed_at": _NOW},
    )
)


async def list_mine(context: ReadContext) -> list[MailPreference]:
    """Return what the caller wants to be written to about from this workspace."""
    return await queries.list_preferences(context, str(context.account_id))


async def change_mine(context: Context, wanted: Mapping[str, bool]) -> list[MailPreference]:
    """Change what the caller wants to be written to about from this workspace.

    Raises:
        UnknownMailKind: there is no such kind.
    """
    known = {kind.name for kind in queries.kinds_of(context)}
    if unknown := sorted(wanted.keys() - known):
        raise UnknownMailKind(errors=[FieldError("is no kind of mail", pointer=f"/wanted/{name}") for name in unknown])
    for kind, is_wanted in wanted.items():
        await _say(context, str(context.account_id), kind, wanted=is_wanted)
    return await list_mine(context)


async def find_by_link(context: ReadContext, token: str) -> MailPreference:
    """Return what the link of a mail is about, and whether it is wanted.

    Raises:
        InvalidStopLink: it is no link of ours.
    """
    stop = _stop_of(context, token)
    # What has been said is in the database of the workspace that has written.
    there = ReadContext(context.runtime, None, _within(stop), context.request_id)
    return _of_kind(await queries.list_preferences(there, stop.subject), stop)


async def say_by_link(context: Context, token: str, *, wanted: bool) -> MailPreference:
    """Turn off, or on again, what the link of a mail is about. Whoever has the mail may.

    Raises:
        InvalidStopLink: it is no link of ours.
    """
    stop = _stop_of(context, token)
    access = _within(stop)
    with nullcontext() if access is None else context.within(access):
        await _say(context, stop.subject, stop.kind, wanted=wanted)
        return _of_kind(await queries.list_preferences(context, stop.subject), stop)


async def _say(context: Context, subject: str, kind: str, *, wanted: bool) -> None:
    await context.db.execute(_SAY, subject=subject, kind=kind, wanted=wanted, now=context.now)


def _stop_of(context: ReadContext, token: str) -> Stop:
    stop = rules.read_stop_token(context.runtime.digests, token)
    if stop is None or stop.kind not in {kind.name for kind in queries.kinds_of(context)}:
        raise InvalidStopLink
    return stop


def _within(stop: Stop) -> Access | None:
    if stop.workspace_id == INSTALLATION:
        return None
    return Access(stop.workspace_id, "", frozenset(), frozenset())


def _of_kind(preferences: list[MailPreference], stop: Stop) -> MailPreference:
    (found,) = (each for each in preferences if each.kind == stop.kind)
    return found
