"""Encryption of column values, keyed digests, tokens: thin layers over `cryptography` and `joserfc`.

Every use of a key has a subkey of its own (HKDF-SHA-256, RFC 5869), so that what was made for one purpose
means nothing for another. A *ring* is a sequence of (id, 32 bytes): the first key makes new values, all of
them read old ones. That is how a new key takes over from an old one without a moment at which something
cannot be read.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, OctKey

Ring = Sequence[tuple[str, bytes]]

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
FORMAT_VERSION = 1
ALGORITHM = "HS256"
ISSUER = "courtyard"


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


def digest_token(token: str) -> bytes:
    """Return the SHA-256 of a random token, which is what a database keeps of it.

    Only for tokens of `new_token`: 256 random bits need neither salt nor slowness. A password needs Argon2id.
    """
    return hashlib.sha256(token.encode()).digest()


def same(left: bytes | str, right: bytes | str) -> bool:
    """Compare two secrets in a time that does not depend on where they differ."""
    return hmac.compare_digest(_bytes(left), _bytes(right))


class KeyRing:
    """Encrypts column values with AES-256-GCM so that each stays bound to its column and row.

    A ciphertext is: format version (1 byte), length of the key id (1), key id, nonce (12), encrypted bytes,
    tag (16). Everything before the nonce, the column and the row are authenticated with it, so a value that
    was copied to another row or column does not decrypt there. Nonces are random: one key is good for 2^32
    values (NIST SP 800-38D, 8.3).
    """

    def __init__(self, ring: Ring) -> None:
        """Take the keys of the ring, the one that encrypts first.

        Raises:
            ValueError: the ring is empty, or a key is not 32 bytes long.
        """
        self._ciphers = {name: AESGCM(key) for name, key in _subkeys(ring, "column encryption")}
        self._newest = next(iter(self._ciphers))

    def encrypt(self, value: bytes, column: str, row_id: UUID) -> bytes:
        """Encrypt a value for one place: `column` as `table.column`, and the id of the row."""
        header = _header(self._newest)
        nonce = os.urandom(NONCE_BYTES)
        return header + nonce + self._ciphers[self._newest].encrypt(nonce, value, _context(header, column, row_id))

    def decrypt(self, encrypted: bytes, column: str, row_id: UUID) -> bytes:
        """Return the value that was encrypted for this place, with whichever key of the ring it was.

        Raises:
            UnknownKey: its key is not, or no longer, in the ring.
            DecryptionFailed: it was changed, or it belongs to another place.
        """
        name, header = _read_header(encrypted)
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise UnknownKey(f"no encryption key has the id {name!r}")
        nonce_end = len(header) + NONCE_BYTES
        try:
            return cipher.decrypt(
                encrypted[len(header) : nonce_end], encrypted[nonce_end:], _context(header, column, row_id)
            )
        except InvalidTag:
            raise DecryptionFailed("the value was changed, or it belongs to another row or column") from None

    def needs_rotation(self, encrypted: bytes) -> bool:
        """Say whether a value was encrypted with another key than the one that encrypts now.

        Raises:
            DecryptionFailed: it is not an encrypted value.
        """
        return _read_header(encrypted)[0] != self._newest


class Signer:
    """Keyed digests: for values that can be guessed, and for what goes out and must come back unchanged."""

    def __init__(self, ring: Ring) -> None:
        """Take the keys of the ring, the one that signs first.

        Raises:
            ValueError: the ring is empty, or a key is not 32 bytes long.
        """
        _subkeys(ring, "")
        self._ring = tuple(ring)
        self._purposes: dict[str, tuple[bytes, ...]] = {}

    def digest(self, purpose: str, value: bytes | str) -> bytes:
        """Return the HMAC-SHA-256 of a value, 32 bytes, under the newest key and for one purpose.

        `purpose` is a constant of the code ("csrf", "cursor"), never input: each one is kept in memory.
        """
        return hmac.digest(self._keys(purpose)[0], _bytes(value), "sha256")

    def matches(self, purpose: str, value: bytes | str, digest: bytes) -> bool:
        """Say whether a digest is that of the value for this purpose, under any key of the ring."""
        message = _bytes(value)
        # No early end: the time says nothing of which key it was.
        matched = [hmac.compare_digest(hmac.digest(key, message, "sha256"), digest) for key in self._keys(purpose)]
        return any(matched)

    def _keys(self, purpose: str) -> tuple[bytes, ...]:
        keys = self._purposes.get(purpose)
        if keys is None:
            keys = tuple(key for _, key in _subkeys(self._ring, f"digest {purpose}"))
            self._purposes[purpose] = keys
        return keys


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

    def __init__(self, ring: Ring, *, issuer: str = ISSUER) -> None:
        """Take the keys of the ring, the one that signs first.

        Raises:
            ValueError: the ring is empty, or a key is not 32 bytes long.
        """
        self._issuer = issuer
        self._registry = jws.JWSRegistry(algorithms=[ALGORITHM])
        self._keys = {name: OctKey.import_key(key) for name, key in _subkeys(ring, "access token")}
        self._newest = next(iter(self._keys))

    def issue(self, account_id: UUID, session_id: UUID, now: datetime, lifetime_seconds: int) -> str:
        """Return a token of a session, good from `now` for `lifetime_seconds`. `now` has a time zone."""
        issued = int(now.timestamp())
        payload = _Payload(self._issuer, account_id, session_id, issued, issued + lifetime_seconds)
        header = {"typ": "JWT", "alg": ALGORITHM, "kid": self._newest}
        key = self._keys[self._newest]
        return jws.serialize_compact(header, msgspec.json.encode(payload), key, registry=self._registry)

    def verify(self, token: str, now: datetime) -> AccessClaims:
        """Return what a token says, if this server issued it and its time is not over.

        Raises:
            TokenInvalid: it was changed, or it was never ours: every other reason looks the same from
                outside. TokenExpired: it was ours until `exp`.
        """
        try:
            signed = jws.deserialize_compact(token, self._key_of, registry=self._registry)
            payload = msgspec.json.decode(signed.payload or b"", type=_Payload)
        except (JoseError, ValueError, TypeError, RecursionError) as error:
            # `joserfc` lets plain errors of the decoders through; msgspec's and Unicode's are ValueErrors.
            raise TokenInvalid("the access token is not valid") from error
        if payload.iss != self._issuer:
            raise TokenInvalid("the access token is not valid")
        if payload.exp <= now.timestamp():
            raise TokenExpired("the access token has expired")
        return AccessClaims(payload.sub, payload.sid, _utc(payload.iat), _utc(payload.exp))

    def _key_of(self, signed: GuestProtocol) -> OctKey:
        header = msgspec.convert(signed.headers(), _Header)
        key = self._keys.get(header.kid)
        if key is None or header.typ != "JWT" or header.alg != ALGORITHM:
            raise TokenInvalid("the access token is not valid")
        return key


def _subkeys(ring: Ring, purpose: str) -> list[tuple[str, bytes]]:
    if not ring:
        raise ValueError("a key ring needs at least one key")
    for name, key in ring:
        if len(key) != KEY_BYTES or not 1 <= len(name.encode()) <= 255:  # noqa: PLR2004 - the length is a byte
            raise ValueError(f"key {name!r} needs {KEY_BYTES} bytes and an id of 1 to 255")
    info = f"courtyard v{FORMAT_VERSION} {purpose}".encode()
    return [(name, HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)) for name, key in ring]


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
