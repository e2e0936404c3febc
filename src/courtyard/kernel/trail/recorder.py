"""Makes entries of what a context changes and notes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog
from typing_extensions import override

from courtyard.kernel.database import Auditor, Prepared, RowChange
from courtyard.kernel.ids import id_at
from courtyard.kernel.redaction import REDACTED, redacted, redacted_text
from courtyard.kernel.telemetry import AUDIT_ENTRIES
from courtyard.kernel.trail import rules
from courtyard.kernel.trail.models import AuditEntryRow
from courtyard.kernel.trail.names import AuditNames
from courtyard.kernel.trail.origin import Described, Origin
from courtyard.kernel.trail.store import Entry, write

log = structlog.get_logger()

MAX_OBJECT_ID = 200
MAX_ADDRESS = 64


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened and has no row.

    Attributes:
        name: as declared.
        action: `noted`, or `refused` where it is kept although the request was refused.
        object_type: what kind of thing it is about.
        object_id: which one.
        actor_kind: what did it, where the request did not know yet,
        actor_id: and who.
        details: whatever else there is to say.
        keep_body: whether the body of the request is kept. Not where it holds what somebody typed who is not known:
            people type passwords into the wrong field.
    """

    name: str
    action: str = "noted"
    object_type: str | None = None
    object_id: str | None = None
    actor_kind: str = "person"
    actor_id: UUID | None = None
    details: Mapping[str, Any] = {}
    keep_body: bool = True


class _Kept(msgspec.Struct, frozen=True):
    """What is kept of a change or a note until it is written."""

    workspace_id: UUID
    name: str
    action: str
    object_type: str | None
    object_id: str | None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    details: Mapping[str, Any] | None = None
    actor: tuple[str, UUID] | None = None
    keep_body: bool = True


class Recorder(Auditor):
    """The auditor of one context.

    Args:
        names: of entries.
        clock: tells the time at which an entry is written.
        workspace_id: of the context, `INSTALLATION` outside of any.
        actor: kind and id of the account that acts; None for nobody.
        origin: who brought it in.
        request_id: identifies the request.

    Attributes:
        name: what changes are called from now on; None for the names of their tables.
    """

    __slots__ = ("_actor", "_clock", "_names", "_origin", "_request_id", "_workspace_id", "name")

    def __init__(
        self,
        names: AuditNames,
        clock: Callable[[], datetime],
        workspace_id: UUID,
        actor: tuple[str, UUID] | None,
        origin: Origin | None,
        request_id: str,
    ) -> None:
        self._names = names
        self._clock = clock
        self._workspace_id = workspace_id
        self._actor = actor
        self._origin = origin
        self._request_id = request_id
        self.name: str | None = None

    @override
    def entry(self, change: RowChange) -> _Kept | None:
        audited, action, before, after = change
        row = after or before or {}
        if before is not None and after is not None:
            changed = [name for name, value in after.items() if value != before[name]]
            if audited.ignore.issuperset(changed):
                return None
            before, after = ({name: row[name] for name in changed} for row in (before, after))
        about = self._workspace_id if audited.workspace is None else row[audited.workspace]
        return _Kept(
            workspace_id=about if isinstance(about, UUID) else self._workspace_id,
            name=self.name or self._names.of_change(audited.table, action),
            action=action,
            object_type=audited.table.name,
            object_id=",".join(str(row[name]) for name in audited.object_key),
            before=_without(before, audited.secret),
            after=_without(after, audited.secret),
        )

    @override
    def insertions(self, entries: Sequence[_Kept]) -> Iterable[tuple[Prepared[None], Mapping[str, Any]]]:
        return write(AuditEntryRow, self._entries(entries))

    def notes(self, notes: Sequence[Note]) -> Iterable[tuple[Prepared[None], Mapping[str, Any]]]:
        """Return the statements, with their values, that write notes."""
        return self.insertions(
            [
                _Kept(
                    workspace_id=self._workspace_id,
                    name=note.name,
                    action=note.action,
                    object_type=note.object_type,
                    object_id=note.object_id,
                    details=note.details or None,
                    actor=None if note.actor_id is None else (note.actor_kind, note.actor_id),
                    keep_body=note.keep_body,
                )
                for note in notes
            ]
        )

    def _entries(self, kept: Sequence[_Kept]) -> list[Entry]:
        now = self._clock()
        described = self._describe()
        with_body = all(one.keep_body for one in kept)
        request = _request_part(described, with_body=with_body)
        address = None if described.address is None else redacted_text(described.address)[:MAX_ADDRESS]
        origin = "system" if self._origin is None else self._origin.kind
        nobody = ("nobody" if origin in {"http", "socket"} else origin, None)
        first_of: dict[UUID, UUID] = {}
        entries = []
        for number, one in enumerate(kept, id_at(now).int):
            # What one transaction writes stays in its order.
            entry_id = UUID(int=number)
            AUDIT_ENTRIES.labels(one.action).inc()
            first = first_of.setdefault(one.workspace_id, entry_id)
            actor_kind, actor_id = self._actor or one.actor or nobody
            entries.append(
                Entry(
                    workspace_id=one.workspace_id,
                    id=entry_id,
                    created_at=now,
                    name=one.name,
                    action=one.action,
                    actor_kind=actor_kind,
                    actor_id=actor_id,
                    origin=origin,
                    object_type=one.object_type,
                    object_id=None if one.object_id is None else redacted_text(one.object_id)[:MAX_OBJECT_ID],
                    before=_state(one.before),
                    after=_state(one.after),
                    details=_state(one.details),
                    request=request if first == entry_id else None,
                    request_entry_id=None if first == entry_id or request is None else first,
                    address=address,
                    request_id=self._request_id[:64] or None,
                )
            )
        return entries

    def _describe(self) -> Described:
        if self._origin is None:
            return Described()
        try:
            return self._origin.describe()
        except Exception:
            # An odd request must not undo a good change; the entry says who did what all the same.
            log.exception("audit.request_fault")
            return Described()


def _without(state: Mapping[str, Any] | None, secret: frozenset[str]) -> dict[str, Any] | None:
    """Return a state without the values of columns that are never written."""
    if state is None:
        return None
    return {name: REDACTED if name in secret and value is not None else value for name, value in state.items()}


def _state(state: Mapping[str, Any] | None) -> str | None:
    return None if state is None else rules.bounded(redacted(state), rules.STATE_BYTES)


def _request_part(described: Described, *, with_body: bool) -> str | None:
    if described.method is None and not described.arguments:
        return None
    part = {
        "method": described.method,
        "url": described.url,
        "headers": described.headers,
        "arguments": described.arguments,
        "body": described.body if with_body else None,
    }
    return rules.bounded(
        redacted({name: value for name, value in part.items() if value not in (None, {})}), rules.REQUEST_BYTES
    )
