"""The context: who asks, in which workspace, in which unit of work, when. The first argument of every service."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias
from uuid import UUID

import msgspec
import structlog
from typing_extensions import override

from courtyard.kernel.database import INSTALLATION, DatabaseUnavailable, ReadUnit, UnitOfWork
from courtyard.kernel.errors import (
    Forbidden,
    NotFound,
    Problem,
    Unauthenticated,
    WorkspaceArchived,
    WorkspaceDeleted,
)
from courtyard.kernel.events import Envelope, Event, append
from courtyard.kernel.telemetry import EVENTS
from courtyard.kernel.trail import LIMITED, REFUSED, Note, Origin, Recorder

if TYPE_CHECKING:
    from courtyard.kernel.runtime import Runtime

log = structlog.get_logger()

# Everybody who is signed in has this role in every workspace, member or not.
EVERYBODY = "everybody"

# One thing in a workspace: what kind it is, such as `chat.conversation`, and its id.
Scope: TypeAlias = tuple[str, UUID]


class Principal(msgspec.Struct, frozen=True):
    """Who asks.

    Attributes:
        account_id: the account.
        session_id: the login by which it asks, or the API key.
        kind: `person`, `visitor` (anonymous) or `service`.
        expires_at: when the session ends.
        authenticated_at: when it last proved who it is.
        methods: by which proofs the session was opened; for an API key `api_key`, and behind it the proofs of the
            session that made the key.
        rights_epoch: goes up whenever the account may do more or less somewhere.
        must_change_password: whether it may do nothing else before.
        scopes: the permissions that an API key is cut down to; None for all that the account has.
    """

    account_id: UUID
    session_id: UUID
    kind: str
    expires_at: datetime
    authenticated_at: datetime
    methods: list[str]
    rights_epoch: int
    must_change_password: bool
    scopes: frozenset[str] | None = None

    @property
    def by_api_key(self) -> bool:
        """Whether a program asks, with an API key."""
        return "api_key" in self.methods


class Withheld(msgspec.Struct, frozen=True):
    """What somebody has in a workspace and may not use now.

    Attributes:
        problem: why not; the answer to whoever would be allowed otherwise.
        permissions: those in the whole workspace.
        scoped: those on single things.
    """

    problem: type[Forbidden]
    permissions: frozenset[str]
    scoped: Mapping[Scope, frozenset[str]]


class Access(msgspec.Struct, frozen=True):
    """What a principal may do in a workspace.

    Attributes:
        workspace_id: which one.
        slug: its short name.
        roles: those that count in the whole workspace.
        permissions: those in the whole workspace.
        scoped: those that roles on single things add there.
        is_member: whether the account belongs to the workspace.
        withheld: what it has beside and may not use; None for nothing.
        until: when the first role that is given for a time ends; None for never.
        archived: whether the workspace is read only.
        deletes_at: when the workspace will be removed; None for not at all.
    """

    workspace_id: UUID
    slug: str
    roles: frozenset[str]
    permissions: frozenset[str]
    scoped: Mapping[Scope, frozenset[str]] = {}
    is_member: bool = False
    withheld: Withheld | None = None
    until: datetime | None = None
    archived: bool = False
    deletes_at: datetime | None = None

    def on(self, scope: Scope | None) -> frozenset[str]:
        """Return the permissions on a thing; None for those in the whole workspace."""
        return permissions_on(self.permissions, self.scoped, scope)

    def within(self, scopes: frozenset[str]) -> "Access":
        """Return what is left of it for an API key with these permissions."""
        withheld = self.withheld
        if withheld is not None:
            withheld = Withheld(withheld.problem, withheld.permissions & scopes, _within(withheld.scoped, scopes))
        return msgspec.structs.replace(
            self, permissions=self.permissions & scopes, scoped=_within(self.scoped, scopes), withheld=withheld
        )

    def require_open(self, *, changes: bool) -> None:
        """Go on only where the workspace is open for this. Each edge asks, before it makes a context.

        Raises:
            NotFound: it has been deleted, and the caller is no member.
            WorkspaceDeleted: it has been deleted.
            WorkspaceArchived: it is read only, and something is to be changed.
        """
        if self.deletes_at is not None:
            if not self.is_member:
                raise NotFound
            raise WorkspaceDeleted(deletes_at=self.deletes_at)
        if changes and self.archived:
            raise WorkspaceArchived


def _within(scoped: Mapping[Scope, frozenset[str]], scopes: frozenset[str]) -> dict[Scope, frozenset[str]]:
    return {scope: permissions & scopes for scope, permissions in scoped.items()}


def permissions_on(
    permissions: frozenset[str], scoped: Mapping[Scope, frozenset[str]], scope: Scope | None
) -> frozenset[str]:
    """Return the permissions on a thing: those that there are everywhere, and those that are added there."""
    return permissions if scope is None else permissions | scoped.get(scope, frozenset())


class Identity(Protocol):
    """Knows who a token stands for and what somebody may do; asked by the edges."""

    async def authenticate(self, runtime: "Runtime", token: str) -> Principal:
        """Return who an access token stands for.

        Raises:
            Unauthenticated: it is not ours, expired, or its session is over.
        """
        ...

    async def renew(self, runtime: "Runtime", principal: Principal) -> Principal:
        """Return the principal of a connection that outlives its access token.

        Raises:
            Unauthenticated: the session is over.
        """
        ...

    async def access(self, runtime: "Runtime", principal: Principal | None, named: str) -> Access:
        """Return what somebody (None: nobody) may do in the workspace of this slug or id.

        Raises:
            NotFound: there is no such workspace.
        """
        ...

    async def living(self, runtime: "Runtime", session_ids: set[UUID]) -> Mapping[UUID, int]:
        """Return those of the sessions that are neither revoked nor over, with the rights epoch of their accounts."""
        ...

    def forget(self) -> None:
        """Look at the database again before the next answer."""
        ...

    async def close(self) -> None:
        """Leave what is done beside the answers."""
        ...


class Owned(Protocol):
    """A thing to which accounts have relations that bring roles of their own.

    One on which roles can be given, or that is part of such a thing, has `scopes() -> Sequence[Scope]` too.
    """

    # Who has this permission on the thing may know that it exists.
    read_permission: ClassVar[str]

    def relations_of(self, account_id: UUID) -> frozenset[str]:
        """Return the roles that an account has on this thing by its relation to it."""
        ...


class ReadContext:
    """The context of what only reads.

    Attributes:
        runtime: the process.
        principal: who asks, None for nobody.
        access: the place in the workspace, None outside of any.
        db: the unit of work.
        now: the time of the request, the same from its beginning to its end.
        request_id: identifies it in logs and problems.
        origin: who brought it in, for the audit log; None for the server itself.
    """

    __slots__ = ("_refusals", "access", "db", "now", "origin", "principal", "request_id", "runtime")

    db: ReadUnit

    def __init__(
        self,
        runtime: "Runtime",
        principal: Principal | None,
        access: Access | None,
        request_id: str,
        origin: Origin | None = None,
    ) -> None:
        self.runtime = runtime
        self.principal = principal
        self.access = access
        self.request_id = request_id
        self.origin = origin
        self.now = runtime.clock.now()
        self._refusals: list[Note] = []
        self._open()

    def _open(self) -> None:
        self.db = ReadUnit(self.runtime.placement, self._tenant)

    @property
    def _tenant(self) -> UUID:
        return INSTALLATION if self.access is None else self.access.workspace_id

    def _recorder(self) -> Recorder:
        principal = self.principal
        return Recorder(
            self.runtime.audit_names,
            self.runtime.clock.now,
            self._tenant,
            None if principal is None else (principal.kind, principal.account_id),
            self.origin,
            self.request_id,
        )

    @property
    def account_id(self) -> UUID:
        """The account that asks.

        Raises:
            Unauthenticated: nobody is signed in.
        """
        if self.principal is None:
            raise Unauthenticated
        return self.principal.account_id

    @property
    def session_id(self) -> UUID | None:
        """The session by which the caller asks, None for nobody."""
        return None if self.principal is None else self.principal.session_id

    @property
    def workspace(self) -> Access:
        """The place in the workspace that the request names."""
        if self.access is None:
            raise RuntimeError("this context has no workspace")
        return self.access

    def may(self, permission: str, thing: Owned | None = None) -> bool:
        """Return whether the caller has a permission in the workspace, or on the thing by a role or a relation."""
        scopes = None if self.principal is None else self.principal.scopes
        if scopes is not None and permission not in scopes:
            return False
        access = self.access
        if access is not None and _grants(permission, access.permissions, access.scoped, thing):
            return True
        if thing is None or self.principal is None:
            return False
        roles = self.runtime.roles
        return any(permission in roles[role] for role in thing.relations_of(self.principal.account_id))

    def granted(self, permission: str, kind: str) -> list[UUID]:
        """Return the things of a kind on which the caller has a permission by a role that counts there alone.

        Lists put these ids beside what else may be seen.
        """
        scoped = {} if self.access is None else self.access.scoped
        return [scope[1] for scope, permissions in scoped.items() if scope[0] == kind and permission in permissions]

    def require(self, permission: str, thing: Owned | None = None) -> None:
        """Go on only with a permission.

        Raises:
            Unauthenticated: nobody is signed in.
            NotFound: the caller may not know that the thing exists.
            Forbidden: the caller may know it, and not do this; or has the permission, and may not use it now.
        """
        if self.may(permission, thing):
            return
        if self.principal is None:
            raise Unauthenticated
        withheld = None if self.access is None else self.access.withheld
        if withheld is not None and _grants(permission, withheld.permissions, withheld.scoped, thing):
            raise withheld.problem(permission=permission)
        if thing is not None and not self.may(thing.read_permission, thing):
            raise NotFound
        raise Forbidden(permission=permission)

    def note_refusal(
        self,
        name: str,
        *,
        object_type: str | None = None,
        object_id: str | None = None,
        keep_body: bool = True,
        **details: Any,
    ) -> None:
        """Keep in the audit log what is refused: it is written although the request changes nothing.

        Args:
            name: `source:subject:action`, as a part declares it (`Application.audit_names`).
            object_type: what kind of thing it is about, such as the name of its table.
            object_id: which one.
            keep_body: whether the body of the request is kept; not where it holds what a stranger typed.
            details: whatever else there is to say. Secrets are left out by their names.

        Raises:
            ValueError: no part declares the name.
        """
        self._refusals.append(
            Note(
                name=self.runtime.audit_names.declared(name),
                action="refused",
                object_type=object_type,
                object_id=object_id,
                details=details,
                keep_body=keep_body,
            )
        )

    def note_limit(self, policy: str, key: str) -> None:
        """Keep in the audit log that a rate limit was reached, once a minute for the same key.

        Args:
            policy: which limit.
            key: whom it counts for.
        """
        held_back = self.runtime.refusals.admit((policy, key))
        if held_back is not None:
            self.note_refusal(LIMITED, keep_body=False, policy=policy, held_back=held_back)

    async def keep_refusals(self, problem: Problem) -> None:
        """Write what is to be kept of a request that ended in a problem. Only the edge calls this, at its very end.

        That a permission was refused to somebody who is signed in is noted here, once a minute for each account and
        permission. It never fails: the problem is the answer, whatever becomes of the log.
        """
        permission = problem.extra.get("permission")
        if isinstance(problem, Forbidden) and permission is not None and self.principal is not None:
            held_back = self.runtime.refusals.admit((self.principal.account_id, self._tenant, permission))
            if held_back is not None:
                self.note_refusal(REFUSED, permission=permission, held_back=held_back)
        if not self._refusals:
            return
        notes, self._refusals = self._refusals, []
        unit = UnitOfWork(self.runtime.placement, self._tenant)
        try:
            for statement, values in self._recorder().notes(notes):
                await unit.execute(statement, **values)
            await unit.commit()
        except DatabaseUnavailable as error:
            log.warning("audit.refusal_lost", names=[note.name for note in notes], error=error.detail)
        finally:
            await unit.rollback()


def _grants(
    permission: str, permissions: frozenset[str], scoped: Mapping[Scope, frozenset[str]], thing: Owned | None
) -> bool:
    if permission in permissions:
        return True
    if thing is None or not scoped:
        return False
    return any(permission in scoped.get(scope, ()) for scope in scopes_of(thing))


def scopes_of(thing: Owned) -> Iterable[Scope]:
    """Return the things whose roles count on a thing: itself, and what it is part of; none where no role can."""
    scopes: Callable[[], Sequence[Scope]] | None = getattr(thing, "scopes", None)
    return () if scopes is None else scopes()


class Context(ReadContext):
    """The context of what changes something: it records events and, at the edge, commits."""

    __slots__ = ("_after_commit", "_audit", "_notes", "_recorded", "_written")

    db: UnitOfWork

    @override
    def _open(self) -> None:
        self._audit = self._recorder()
        self.db = UnitOfWork(self.runtime.placement, self._tenant, self._audit)
        self._notes: list[Note] = []
        self._recorded: list[tuple[str, Event]] = []
        self._written: list[Envelope] = []
        self._after_commit: list[Callable[[], Any]] = []

    @contextmanager
    def within(self, access: Access) -> Iterator[None]:
        """Work in a workspace for a while, from outside of any: where one is found on the way, or there are several.

        Rows, mails and quotas are those of the workspace meanwhile. Events are recorded by the contexts of edges alone.
        """
        if self.access is not None:
            raise RuntimeError("this context has a workspace")
        self.access, self.db.workspace_id = access, access.workspace_id
        try:
            yield
        finally:
            self.access, self.db.workspace_id = None, INSTALLATION

    def record(self, topic: str, event: Event) -> None:
        """Tell those who listen to a topic, once this is committed."""
        self._recorded.append((topic, event))

    def recorded(self, envelope: Envelope) -> None:
        """Take note of an event that a statement of the service has written itself, with `events.appending`."""
        self._written.append(envelope)

    def note(
        self,
        name: str,
        *,
        object_type: str | None = None,
        object_id: str | None = None,
        actor: tuple[str, UUID] | None = None,
        keep_body: bool = True,
        **details: Any,
    ) -> None:
        """Write into the audit log, with this change, that something happened which has no row of its own.

        Args:
            name: `source:subject:action`, as a part declares it (`Application.audit_names`).
            object_type: what kind of thing it is about, such as the name of its table.
            object_id: which one.
            actor: kind and id of the account that did it, where nobody is signed in yet, as at a login.
            keep_body: whether the body of the request is kept.
            details: whatever else there is to say. Secrets are left out by their names.

        Raises:
            ValueError: no part declares the name.
        """
        kind, actor_id = actor or ("person", None)
        self._notes.append(
            Note(
                name=self.runtime.audit_names.declared(name),
                object_type=object_type,
                object_id=object_id,
                actor_kind=kind,
                actor_id=actor_id,
                details=details,
                keep_body=keep_body,
            )
        )

    def name_changes(self, name: str | None) -> None:
        """Call what is changed in this context from now on by this name in the audit log; None: by its table.

        Raises:
            ValueError: no part declares the name.
        """
        self._audit.name = None if name is None else self.runtime.audit_names.declared(name)

    def after_commit(self, action: Callable[[], Any]) -> None:
        """Do something in this process once this is committed, such as forgetting what was cached.

        It is lost where the process dies in between: what must not be lost is an event.
        """
        self._after_commit.append(action)

    @property
    def is_untouched(self) -> bool:
        """Whether a commit would do nothing."""
        return not (
            self.db.is_open or self._recorded or self._written or self._notes or self._refusals or self._after_commit
        )

    async def commit(self) -> None:
        """Write audit entries and events, make everything durable, tell those who listen. Only the edge calls this."""
        notes = [*self._notes, *self._refusals]
        for statement, values in self._audit.notes(notes) if notes else ():
            await self.db.execute(statement, **values)
        if self._recorded:
            # Before the events, whose topics are locked until the commit.
            await self.db.write_entries()
        envelopes = self._written
        if self._recorded:
            actor_id = None if self.principal is None else self.principal.account_id
            envelopes += await append(self.db, self._recorded, actor_id, self.now)
        await self.db.commit()
        self._notes, self._refusals = [], []
        for action in self._after_commit:
            action()
        for envelope in envelopes:
            EVENTS.labels(envelope.name).inc()
        self.runtime.dispatcher.committed(envelopes)

    def outside(self) -> ReadContext:
        """Return a context of the same caller that reads outside of this transaction, before it begins."""
        return ReadContext(self.runtime, self.principal, self.access, self.request_id, self.origin)

    async def rollback(self) -> None:
        """Undo everything that was done in this context. Only the edge calls this."""
        self._notes = []
        await self.db.rollback()


# Opens a context, and commits it at the end of the block: for what takes several transactions, with other work between.
Work: TypeAlias = Callable[[], AbstractAsyncContextManager[Context]]
