"""The context: who asks, in which workspace, in which unit of work, when. The first argument of every service."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from uuid import UUID

import msgspec
from typing_extensions import override

from courtyard.kernel.database import INSTALLATION, ReadUnit, UnitOfWork
from courtyard.kernel.errors import Forbidden, NotFound, Unauthenticated
from courtyard.kernel.events import Envelope, Event, append

if TYPE_CHECKING:
    from courtyard.kernel.runtime import Runtime

# Everybody who is signed in has this role in every workspace, member or not.
EVERYBODY = "everybody"


class Principal(msgspec.Struct, frozen=True):
    """Who asks.

    Attributes:
        account_id: the account.
        session_id: the login by which it asks.
        kind: `person`, `visitor` (anonymous) or `service`.
        expires_at: when the session ends.
    """

    account_id: UUID
    session_id: UUID
    kind: str
    expires_at: datetime


class Access(msgspec.Struct, frozen=True):
    """What a principal may do in a workspace."""

    workspace_id: UUID
    slug: str
    roles: frozenset[str]
    permissions: frozenset[str]


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

    async def living(self, runtime: "Runtime", session_ids: set[UUID]) -> set[UUID]:
        """Return those of the sessions that are neither revoked nor over."""
        ...

    def forget(self) -> None:
        """Look at the database again before the next answer."""
        ...


class Owned(Protocol):
    """A thing to which accounts have relations that bring roles of their own."""

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
    """

    __slots__ = ("access", "db", "now", "principal", "request_id", "runtime")

    def __init__(self, runtime: "Runtime", principal: Principal | None, access: Access | None, request_id: str) -> None:
        self.runtime = runtime
        self.principal = principal
        self.access = access
        self.request_id = request_id
        self.now = runtime.clock.now()
        self.db = self._unit(runtime, INSTALLATION if access is None else access.workspace_id)

    @staticmethod
    def _unit(runtime: "Runtime", workspace_id: UUID) -> ReadUnit:
        return ReadUnit(runtime.placement, workspace_id)

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
    def workspace(self) -> Access:
        """The place in the workspace that the request names."""
        if self.access is None:
            raise RuntimeError("this context has no workspace")
        return self.access

    def may(self, permission: str, thing: Owned | None = None) -> bool:
        """Return whether the caller has a permission in the workspace, or on the thing by relation."""
        if self.access is not None and permission in self.access.permissions:
            return True
        if thing is None or self.principal is None:
            return False
        roles = self.runtime.roles
        return any(permission in roles[role] for role in thing.relations_of(self.principal.account_id))

    def require(self, permission: str, thing: Owned | None = None) -> None:
        """Go on only with a permission.

        Raises:
            Unauthenticated: nobody is signed in.
            NotFound: the caller may not know that the thing exists.
            Forbidden: the caller may know it, and not do this.
        """
        if self.may(permission, thing):
            return
        if self.principal is None:
            raise Unauthenticated
        if thing is not None and not self.may(thing.read_permission, thing):
            raise NotFound
        raise Forbidden(permission=permission)


class Context(ReadContext):
    """The context of what changes something: it records events and, at the edge, commits."""

    __slots__ = ("_after_commit", "_recorded", "_written")

    db: UnitOfWork

    def __init__(self, runtime: "Runtime", principal: Principal | None, access: Access | None, request_id: str) -> None:
        super().__init__(runtime, principal, access, request_id)
        self._recorded: list[tuple[str, Event]] = []
        self._written: list[Envelope] = []
        self._after_commit: list[Callable[[], Any]] = []

    @staticmethod
    @override
    def _unit(runtime: "Runtime", workspace_id: UUID) -> UnitOfWork:
        return UnitOfWork(runtime.placement, workspace_id)

    def record(self, topic: str, event: Event) -> None:
        """Tell those who listen to a topic, once this is committed."""
        self._recorded.append((topic, event))

    def recorded(self, envelope: Envelope) -> None:
        """Take note of an event that a statement of the service has written itself, with `events.appending`."""
        self._written.append(envelope)

    def after_commit(self, action: Callable[[], Any]) -> None:
        """Do something in this process once this is committed, such as forgetting what was cached.

        It is lost where the process dies in between: what must not be lost is an event.
        """
        self._after_commit.append(action)

    async def commit(self) -> None:
        """Write the events, make everything durable, tell those who listen. Only the edge calls this."""
        envelopes = self._written
        if self._recorded:
            actor_id = None if self.principal is None else self.principal.account_id
            envelopes += await append(self.db, self._recorded, actor_id, self.now)
        await self.db.commit()
        for action in self._after_commit:
            action()
        self.runtime.dispatcher.committed(envelopes)

    def outside(self) -> ReadContext:
        """Return a context of the same caller that reads outside of this transaction, before it begins."""
        return ReadContext(self.runtime, self.principal, self.access, self.request_id)

    async def rollback(self) -> None:
        """Undo everything that was done in this context. Only the edge calls this."""
        await self.db.rollback()
