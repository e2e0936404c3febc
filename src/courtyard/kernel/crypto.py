"""Encryption of column values, keyed digests, tokens: thin layers over `cryptography` and `joserfc`.

Every use of a key has a subkey of its own (HKDF-SHA-256, RFC 5869), so that what was made for one purpose
means nothing for another. What makes values takes a *ring* (`rings`): one of its keys makes new values, all of them
read old ones. That is how a new key takes over from an old one without a moment at which something cannot be read.
"""

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, OctKey

from courtyard.kernel.cache import ShortCache
from courtyard.kernel.rings import KEY_BYTES, Keys, Ring, RingKey, ring_of

T = TypeVar("T")

NONCE_BYTES = 12
TAG_BYTES = 16
FORMAT_VERSION = 1
REFRESH_TOKEN_BYTES = 16 + 32 + 32
ALGORITHM = "HS256"
ISSUER = "courtyard"
# Verifying a signature again and again costs more than the rest of a request; what a token says never changes.
CLAIMS_SECONDS = 60.0
CLAIMS_ENTRIES = 50_000


class CryptoError(Exception):
    """A value cannot be trusted or read. Messages hold ids of keys at most, never a value."""


class UnknownKey(CryptoError):
    """The value names a key that is not in the ring."""


class DecryptionFailed(CryptoError):
    """The value is not what was encrypted: changed, cut, of another row, or not of ours at all."""


class TokenInvalid(CryptoError):
    """The token is not one that this server issued."""


class TokenExpired(CryptoError):
    """The token was good, and its time is over."""


def new_token(size: int = 32) -> str:
    """Return `size` random bytes as text that needs no escaping in a URL; 32 bytes make 43 characters."""
    return secrets.token_urlsafe(size)


def new_code() -> str:
    """Return six random digits, for a person to type; a digest of them must be keyed and the tries few."""
    return f"{secrets.randbelow(1_000_000):06}"


def digest_token(token: str) -> bytes:
    """Return the SHA-256 of a random token, which is what a database keeps of it.

    Only for tokens of `new_token`: 256 random bits need neither salt nor slowness. A password needs Argon2id.
    """
    return hashlib.sha256(token.encode()).digest()


def same(left: bytes | str, right: bytes | str) -> bool:
    """Compare two secrets in a time that does not depend on where they differ."""
    return hmac.compare_digest(_bytes(left), _bytes(right))


class _Derived(Generic[T]):
    """What one use makes of each key of a ring; made anew when the keys are others."""

    def __init__(self, ring: Ring, make: Callable[[bytes], T]) -> None:
        self._ring = ring
        self._make = make
        self._keys: tuple[RingKey, ...] = ()
        self._made: dict[str, T] = {}

    def of(self, key: RingKey) -> T:
        """Return what was made of a key of the ring."""
        if self._keys is not self._ring.keys:
            self._made = {each.id: self._make(each.secret) for each in self._ring.keys}
            self._keys = self._ring.keys
        return self._made[key.id]


class KeyRing:
    """Encrypts column values with AES-256-GCM so that each stays bound to its column and row.

    A ciphertext is: format version (1 byte), length of the key id (1), key id, nonce (12), encrypted bytes,
    tag (16). Everything before the nonce, the column and the row are authenticated with it, so a value that
    was copied to another row or column does not decrypt there. Nonces are random: one key is good for 2^32
    values (NIST SP 800-38D, 8.3). Every key of the ring decrypts, whatever its dates: what it encrypted is still there.
    """

    def __init__(self, keys: Keys) -> None:
        """Take a ring.

        Raises:
            ValueError: the ring is empty, or a key is not 32 bytes long.
        """
        self._ring = ring_of(keys)
        self._ciphers = _Derived(self._ring, lambda secret: AESGCM(_subkey(secret, "column encryption")))

    def encrypt(self, value: bytes, column: str, row_id: UUID) -> bytes:
        """Encrypt a value for one place: `column` as `table.column`, and the id of the row."""
        key = self._ring.current()
        header = _header(key.id)
        nonce = os.urandom(NONCE_BYTES)
        return header + nonce + self._ciphers.of(key).encrypt(nonce, value, _context(header, column, row_id))

    def decrypt(self, encrypted: bytes, column: str, row_id: UUID) -> bytes:
        """Return the value that was encrypted for this place, with whichever key of the ring it was.

        Raises:
            UnknownKey: its key is not, or no longer, in the ring.
            DecryptionFailed: it was changed, or it belongs to another place.
        """
        name, header = _read_header(encrypted)
        key = self._ring.find(name)
        if key is None:
            raise UnknownKey(f"no encryption key has the id {name!r}")
        nonce_end = len(header) + NONCE_BYTES
        try:
            return self._ciphers.of(key).decrypt(
                encrypted[len(header) : nonce_end], encrypted[nonce_end:], _context(header, column, row_id)
            )
        except InvalidTag:
            raise DecryptionFailed("the value was changed, or it belongs to another row or column") from None

    def needs_rotation(self, encrypted: bytes) -> bool:
        """Say whether a value was encrypted with another key than the one that encrypts now.

        Raises:
            DecryptionFailed: it is not an encrypted value.
        """
        return _read_header(encrypted)[0] != self._ring.current().id


class Signer:
    """Keyed digests: for values that can be guessed, and for what goes out and must come back unchanged."""

    def __init__(self, keys: Keys) -> None:
        """Take a ring.

        Raises:
            ValueError: the ring is empty, or a key is not 32 bytes long.
        """
        self._ring = ring_of(keys)
        self._purposes: dict[str, _Derived[bytes]] = {}

    def digest(self, purpose: str, value: bytes | str) -> bytes:
        """Return the HMAC-SHA-256 of a value, 32 bytes, under the key that signs now and for one purpose.

        `purpose` is a constant of the code ("csrf", "cursor"), never input: each one is kept in memory.
        """
        return hmac.digest(self._subkeys(purpose).of(self._ring.current()), _bytes(value), "sha256")

    def matches(self, purpose: str, value: bytes | str, digest: bytes) -> bool:
        """Say whether a digest is that of the value for this purpose, under any key of the ring that is not retired."""
        message, subkeys = _bytes(value), self._subkeys(purpose)
        # No early end: the time says nothing of which key it was.
        matched = [
            hmac.compare_digest(hmac.digest(subkeys.of(key), message, "sha256"), digest)
            for key in self._ring.believed()
        ]
        return any(matched)

    def _subkeys(self, purpose: str) -> _Derived[bytes]:
        subkeys = self._purposes.get(purpose)
        if subkeys is None:
            subkeys = _Derived(self._ring, lambda secret: _subkey(secret, f"digest {purpose}"))
            self._purposes[purpose] = subkeys
        return subkeys


class AccessClaims(msgspec.Struct, frozen=True):
    """What an access token says: whose it is, of which session, and from when to when."""

    account_id: UUID
    session_id: UUID
    issued_at: datetime
    expires_at: datetime


Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]  # up to the year 9999, where datetime ends


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    typ: str
    alg: str
    kid: str


class _Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    iss: str
    sub: UUID
    sid: UUID
    iat: Seconds
    exp: Seconds


class AccessTokens:
    """Issues and verifies access tokens: JWTs signed with HS256, whose header names the key.

    Strict on purpose: one algorithm, one type, no header or claim beyond ours, every claim of its exact type.
    There is no leeway for `exp`: tokens are renewed before they end, and servers of one installation keep
    their clocks in step. `iat` is not compared with the clock, so that a token of a server whose clock is a
    little ahead is good at once.
    """

    def __init__(self, keys: Keys, *, issuer: str = ISSUER) -> None:
        """Take a ring.

        Raises:
            ValueError: the ring is empty, or a key is not 32 bytes long.
        """
        self._issuer = issuer
        self._registry = jws.JWSRegistry(algorithms=[ALGORITHM])
        self._ring = ring_of(keys)
        self._keys = _Derived(self._ring, lambda secret: OctKey.import_key(_subkey(secret, "access token")))
        self._verified: ShortCache[str, tuple[RingKey, AccessClaims]] = ShortCache(
            seconds=CLAIMS_SECONDS, size=CLAIMS_ENTRIES
        )

    def issue(self, account_id: UUID, session_id: UUID, now: datetime, lifetime_seconds: int) -> str:
        """Return a token of a session, good from `now` for `lifetime_seconds`. `now` has a time zone."""
        issued = int(now.timestamp())
        payload = _Payload(self._issuer, account_id, session_id, issued, issued + lifetime_seconds)
        key = self._ring.current(now)
        header = {"typ": "JWT", "alg": ALGORITHM, "kid": key.id}
        return jws.serialize_compact(header, msgspec.json.encode(payload), self._keys.of(key), registry=self._registry)

    def verify(self, token: str, now: datetime) -> AccessClaims:
        """Return what a token says, if this server issued it and its time is not over.

        Raises:
            TokenInvalid: it was changed, it was never ours, or its key is retired: every reason looks the same from
                outside. TokenExpired: it was ours until `exp`.
        """
        known = self._verified.get(token)
        # The key must still be what it was when the signature was looked at: a rotation may have given it an end.
        if known is None or self._ring.find(known[0].id) != known[0]:
            known = self._verify(token)
            self._verified.put(token, known)
        key, claims = known
        if key.is_retired(now):
            raise TokenInvalid("the access token is not valid")
        if claims.expires_at <= now:
            raise TokenExpired("the access token has expired")
        return claims

    def _verify(self, token: str) -> tuple[RingKey, AccessClaims]:
        try:
            signed = jws.deserialize_compact(token, self._secret_of, registry=self._registry)
            payload = msgspec.json.decode(signed.payload or b"", type=_Payload)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            # `joserfc` lets plain errors of the decoders through; msgspec's and Unicode's are ValueErrors.
            raise TokenInvalid("the access token is not valid") from error
        if payload.iss != self._issuer:
            raise TokenInvalid("the access token is not valid")
        claims = AccessClaims(payload.sub, payload.sid, _utc(payload.iat), _utc(payload.exp))
        return self._key_of(signed), claims

    def _secret_of(self, signed: GuestProtocol) -> OctKey:
        return self._keys.of(self._key_of(signed))

    def _key_of(self, signed: GuestProtocol) -> RingKey:
        header = msgspec.convert(signed.headers(), _Header)
        key = self._ring.find(header.kid)
        if key is None or header.typ != "JWT" or header.alg != ALGORITHM:
            raise TokenInvalid("the access token is not valid")
        return key


class RefreshTokens:
    """Makes refresh tokens, and hides the next one where only the holder of the last one can read it.

    A token is the id of its session, 32 random bytes and a tag (HMAC-SHA-256 of both): from the tag it is known that
    a token was good once, although nothing is kept of it, so that somebody who makes one up cannot pass for a thief.
    The tag must be known for as long as a session lives, so its signer is one whose keys do not retire
    (`Runtime.digests`): else the end of a key would be the moment from which an old token can be shown unpunished.
    """

    PURPOSE = "refresh token"

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def new(self, session_id: UUID) -> str:
        """Return a new token of a session, 107 characters."""
        content = session_id.bytes + secrets.token_bytes(32)
        return _encode(content + self._signer.digest(self.PURPOSE, content))

    def session_of(self, token: str) -> UUID | None:
        """Return the session that a token names, None for what has not the form of a token."""
        content = _decode(token)
        return UUID(bytes=content[:16]) if len(content) == REFRESH_TOKEN_BYTES else None

    def is_genuine(self, token: str) -> bool:
        """Say whether a token was made here, with a key that is still in the ring."""
        content = _decode(token)
        return len(content) == REFRESH_TOKEN_BYTES and self._signer.matches(
            self.PURPOSE, content[:-KEY_BYTES], content[-KEY_BYTES:]
        )

    @staticmethod
    def seal(token: str, holder: str) -> bytes:
        """Encrypt a token for whoever has another one."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + RefreshTokens._cipher(holder).encrypt(nonce, token.encode(), None)

    @staticmethod
    def unseal(sealed: bytes, holder: str) -> str:
        """Return the token that was encrypted for this one.

        Raises:
            DecryptionFailed: it was encrypted for another one.
        """
        try:
            return RefreshTokens._cipher(holder).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None).decode()
        except InvalidTag:
            raise DecryptionFailed("the token is not for this one") from None

    @staticmethod
    def _cipher(holder: str) -> AESGCM:
        return AESGCM(_subkey(holder.encode(), "refresh token successor"))


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decode(token: str) -> bytes:
    """Return the content of a token, empty for another spelling of it as for what is none."""
    try:
        content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        return b""
    return content if _encode(content) == token else b""


def _subkey(secret: bytes, purpose: str) -> bytes:
    info = f"courtyard v{FORMAT_VERSION} {purpose}".encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)


def _header(name: str) -> bytes:
    encoded = name.encode()
    return bytes((FORMAT_VERSION, len(encoded))) + encoded


def _read_header(encrypted: bytes) -> tuple[str, bytes]:
    if len(encrypted) < 2 or encrypted[0] != FORMAT_VERSION:  # noqa: PLR2004 - version and length
        raise DecryptionFailed("the value is not of a known format")
    end = 2 + encrypted[1]
    if len(encrypted) < end + NONCE_BYTES + TAG_BYTES:
        raise DecryptionFailed("the value was cut off")
    try:
        return encrypted[2:end].decode(), encrypted[:end]
    except UnicodeDecodeError:
        raise DecryptionFailed("the value is not of a known format") from None


def _context(header: bytes, column: str, row_id: UUID) -> bytes:
    # The header says its own length and the row id has a fixed one, so two places never give the same bytes.
    return header + row_id.bytes + column.encode()


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
