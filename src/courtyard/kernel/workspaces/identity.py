"""Who is who, and may do what, from the databases; remembered for less than a second.

A revoked session or a lost role may go on working for that long (`design` §6: within a second), also on processes
that were not told.
"""

from uuid import UUID

from typing_extensions import override

from courtyard.kernel.accounts import find_living_sessions, find_principal
from courtyard.kernel.cache import ShortCache
from courtyard.kernel.context import Access, Identity, Principal
from courtyard.kernel.crypto import AccessClaims, TokenExpired, TokenInvalid
from courtyard.kernel.errors import Unauthenticated
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.workspaces.queries import find_access

SECONDS = 0.9
ENTRIES = 50_000
# Verifying a signature again and again costs more than the rest of a request; what a token says never changes.
CLAIMS_SECONDS = 60.0

_NOBODY = UUID(int=0)


class DatabaseIdentity(Identity):
    """The identity of the main database."""

    def __init__(self) -> None:
        self._claims: ShortCache[str, AccessClaims] = ShortCache(seconds=CLAIMS_SECONDS, size=ENTRIES)
        self._principals: ShortCache[UUID, Principal] = ShortCache(seconds=SECONDS, size=ENTRIES)
        self._accesses: ShortCache[tuple[UUID, str], Access] = ShortCache(seconds=SECONDS, size=ENTRIES)

    @override
    async def authenticate(self, runtime: Runtime, token: str) -> Principal:
        now = runtime.clock.now()
        claims = self._claims.get(token)
        if claims is None:
            try:
                claims = runtime.tokens.verify(token, now)
            except TokenExpired as error:
                raise Unauthenticated("The access token has expired.", reason="token_expired") from error
            except TokenInvalid as error:
                raise Unauthenticated("The access token is not valid.", reason="token_invalid") from error
            self._claims.put(token, claims)
        elif claims.expires_at <= now:
            raise Unauthenticated("The access token has expired.", reason="token_expired")
        return self._principals.get(claims.session_id) or await self._look_up(runtime, claims.session_id)

    @override
    async def renew(self, runtime: Runtime, principal: Principal) -> Principal:
        return self._principals.get(principal.session_id) or await self._look_up(runtime, principal.session_id)

    async def _look_up(self, runtime: Runtime, session_id: UUID) -> Principal:
        principal = await find_principal(runtime, session_id)
        if principal is None:
            raise Unauthenticated("The session is over.", reason="session_ended")
        self._principals.put(session_id, principal)
        return principal

    @override
    async def access(self, runtime: Runtime, principal: Principal | None, named: str) -> Access:
        key = (_NOBODY if principal is None else principal.account_id, named)
        access = self._accesses.get(key)
        if access is None:
            access = await find_access(runtime, principal, named)
            self._accesses.put(key, access)
        return access

    @override
    async def living(self, runtime: Runtime, session_ids: set[UUID]) -> set[UUID]:
        return await find_living_sessions(runtime, session_ids)

    @override
    def forget(self) -> None:
        self._principals.clear()
        self._accesses.clear()
