"""Where sessions are kept: one contract, in the main database or in Redis.

A session is known by its id. The index from an account to its sessions holds these ids and nothing else, and is
changed together with the session, so that no entry can outlive what it stands for or point at somebody else's
(the race that an ancestor's README admits).
"""

from courtyard.kernel.accounts.store.contract import SessionStore, StoredSession
from courtyard.kernel.accounts.store.database import DatabaseSessions
from courtyard.kernel.accounts.store.redis import RedisSessions
from courtyard.kernel.runtime import Runtime

__all__ = ["SessionStore", "StoredSession", "sessions_of"]

_STORES: dict[str, SessionStore] = {"database": DatabaseSessions(), "redis": RedisSessions()}


def sessions_of(runtime: Runtime) -> SessionStore:
    """Return where the sessions of this installation are kept."""
    return _STORES[runtime.settings.accounts.session_store]
