"""Who is who, and may do what, from the databases; remembered for less than a second.

A revoked session or a lost role may go on working for that long (`design` §6: within a second), also on processes
that were not told.
"""

import time
from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

from typing_extensions import override

from courtyard.kernel.accounts import (
    API_KEY_PREFIX,
    api_keys,
    find_api_key,
    has_second_factor,
    living_api_keys,
    principal_of_api_key,
    sessions_of,
)
from courtyard.kernel.cache import ShortCache
from courtyard.kernel.context import Access, Identity, Principal
from courtyard.kernel.crypto import TokenExpired, TokenInvalid
from courtyard.kernel.errors import Unauthenticated
from courtyard.kernel.events import Background
from courtyard.kernel.runtime import Runtime
from courtyard.kernel.workspaces.queries.access import find_access

# Under load the second that is promised is also the time to ask, to answer and to cut.
SECONDS = 0.5
ENTRIES = 50_000
# Finding which key a token is costs a query; what was found never changes.
KEY_SECONDS = 60.0

_NOBODY = UUID(int=0)


class DatabaseIdentity(Identity):
    """The identity of the main database."""

    def __init__(self) -> None:
        self._keys: ShortCache[str, UUID] = ShortCache(seconds=KEY_SECONDS, size=ENTRIES)
        self._principals: ShortCache[UUID, Principal] = ShortCache(seconds=SECONDS, size=ENTRIES)
        # By session: another login of the same account may be without a second factor, or a key with less rights.
        self._accesses: ShortCache[tuple[UUID, bool, str], Access] = ShortCache(seconds=SECONDS, size=ENTRIES)
        self._background = Background()

    @override
    async def authenticate(self, runtime: Runtime, token: str) -> Principal:
        if token.startswith(API_KEY_PREFIX):
            return await self._authenticate_key(runtime, token)
        try:
            claims = runtime.tokens.verify(token, runtime.clock.now())
        except TokenExpired as error:
            raise Unauthenticated("The access token has expired.", reason="token_expired") from error
        except TokenInvalid as error:
            raise Unauthenticated("The access token is not valid.", reason="token_invalid") from error
        return self._principals.get(claims.session_id) or await self._look_up(runtime, claims.session_id)

    async def _authenticate_key(self, runtime: Runtime, token: str) -> Principal:
        key_id = self._keys.get(token) or await find_api_key(runtime, token)
        if key_id is None:
            raise Unauthenticated("There is no such API key.", reason="token_invalid")
        # Which key a token is never changes; whether it still counts is looked at each time.
        self._keys.put(token, key_id)
        return self._principals.get(key_id) or await self._look_up_key(runtime, key_id)

    async def _look_up_key(self, runtime: Runtime, key_id: UUID) -> Principal:
        asked = time.monotonic()
        found = await principal_of_api_key(runtime, key_id)
        if found is None:
            raise Unauthenticated("The API key was revoked, or has expired.", reason="session_ended")
        principal, used_at = found
        if used_at is None or runtime.clock.now() - used_at > timedelta(seconds=api_keys.USE_SECONDS):
            self._background.spawn(api_keys.note_use(runtime, key_id))
        self._principals.put(key_id, principal, asked)
        return principal

    @override
    async def renew(self, runtime: Runtime, principal: Principal) -> Principal:
        look_up = self._look_up_key if principal.by_api_key else self._look_up
        return self._principals.get(principal.session_id) or await look_up(runtime, principal.session_id)

    async def _look_up(self, runtime: Runtime, session_id: UUID) -> Principal:
        asked = time.monotonic()
        principal = await sessions_of(runtime).principal(runtime, session_id)
        if principal is None:
            raise Unauthenticated("The session is over.", reason="session_ended")
        self._principals.put(session_id, principal, asked)
        return principal

    @override
    async def access(self, runtime: Runtime, principal: Principal | None, named: str) -> Access:
        if principal is None:
            key = (_NOBODY, False, named)
        else:
            key = (principal.session_id, has_second_factor(principal.methods), named)
        access = self._accesses.get(key)
        # A role that was given for a time ends on time, not when it is looked at the next time.
        if access is None or (access.until is not None and access.until <= runtime.clock.now()):
            asked = time.monotonic()
            access = await find_access(runtime, principal, named)
            if principal is not None and principal.scopes is not None:
                access = access.within(principal.scopes)
            self._accesses.put(key, access, asked)
        return access

    @override
    async def living(self, runtime: Runtime, session_ids: set[UUID]) -> Mapping[UUID, int]:
        living = await sessions_of(runtime).living(runtime, session_ids)
        # What is no session that lives may be an API key that does.
        others = session_ids.difference(living)
        return {**living, **await living_api_keys(runtime, others)} if others else living

    @override
    def forget(self) -> None:
        self._principals.clear()
        self._accesses.clear()

    @override
    async def close(self) -> None:
        await self._background.end()
