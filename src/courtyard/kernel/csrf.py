"""The token that a page shows with changes which are authenticated by cookie; the same for a whole session.

A keyed digest of the session's id (OWASP's "HMAC-based token"), so nothing has to be stored.
"""

from uuid import UUID

from courtyard.kernel.crypto import Signer

PURPOSE = "csrf"


def csrf_token(signer: Signer, session_id: UUID) -> str:
    """Return the token of a session, 64 hexadecimal digits."""
    return signer.digest(PURPOSE, session_id.bytes).hex()


def is_csrf_token(signer: Signer, session_id: UUID, shown: str) -> bool:
    """Return whether this is the token of the session."""
    try:
        digest = bytes.fromhex(shown)
    except ValueError:
        return False
    return signer.matches(PURPOSE, session_id.bytes, digest)
