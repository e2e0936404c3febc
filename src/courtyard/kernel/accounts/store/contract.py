"""What keeps sessions, whatever it is."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from courtyard.kernel.context import Context, Principal, ReadContext
from courtyard.kernel.runtime import Runtime


class StoredSession(msgspec.Struct, frozen=True):
    """A session as it is kept. See `models.SessionRow` for what the parts mean."""

    id: UUID
    account_id: UUID
    refresh_digest: bytes
    previous_digest: bytes | None
    successor: bytes | None
    device: str
    address: str
    methods: list[str]
    created_at: datetime
    authenticated_at: datetime
    refreshed_at: datetime
    expires_at: datetime


class SessionStore(Protocol):
    """Keeps sessions. What is over (ended or expired) is as if it had never been there.

    Changes take effect with the commit of the context, or before it: never later. Whoever ends a session names its
    account, and no session of another account is touched. A store that cannot be reached raises `Unavailable`: what
    is not known is never taken for a session that is over.
    """

    async def add(self, context: Context, session: StoredSession) -> None:
        """Keep a new session."""
        ...

    async def find(self, context: ReadContext, session_id: UUID) -> StoredSession | None:
        """Return a session that is not over."""
        ...

    async def of_account(self, context: ReadContext, account_id: UUID) -> list[StoredSession]:
        """Return the sessions of an account, the newest first."""
        ...

    async def rotate(
        self, context: Context, session: StoredSession, *, digest: bytes, successor: bytes, expires_at: datetime
    ) -> bool:
        """Put a new refresh token in the place of the one that was seen, which becomes the previous one.

        Returns:
            Whether the session was still there with the token that was seen: of two at once, one succeeds.
        """
        ...

    async def prove(self, context: Context, session_id: UUID, methods: Sequence[str]) -> None:
        """Take note of a new proof of who sits there, at the time of the context."""
        ...

    async def end(self, context: Context, account_id: UUID, session_id: UUID) -> bool:
        """End a session of an account; return whether there was one of this id."""
        ...

    async def end_all(self, context: Context, account_id: UUID, *, but: UUID | None = None) -> list[UUID]:
        """End every session of an account, except perhaps one, in one step; return those that have ended."""
        ...

    async def principal(self, runtime: Runtime, session_id: UUID) -> Principal | None:
        """Return who a session stands for, while neither it nor its account has come to an end."""
        ...

    async def living(self, runtime: Runtime, session_ids: Iterable[UUID]) -> Mapping[UUID, int]:
        """Return those of the sessions that are not over, with the rights epoch of their accounts."""
        ...

    async def prune(self, context: Context, before: datetime, limit: int) -> int:
        """Remove some of what was over before a moment; return how many there were, fewer than `limit` at the end."""
        ...
