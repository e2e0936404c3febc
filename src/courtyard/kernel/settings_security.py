"""The section of the settings that holds keys: what a key is, and which of them makes new values."""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PrivateAttr, SecretStr

from courtyard.kernel import settings_sources as sources
from courtyard.kernel.rings import RingKey, current_key
from courtyard.kernel.settings_sections import Section, split_list

RINGS = ("signing_keys", "encryption_keys")
END = datetime.max.replace(tzinfo=UTC)


def _key_from_text(value: object) -> object:
    """Let a key be written as `id:secret`, which is how it fits into one environment variable."""
    if isinstance(value, str):
        identifier, _, secret = value.partition(":")
        return {"id": identifier, "secret": secret}
    return value


def _key_bytes(secret: SecretStr) -> SecretStr:
    _decode_key(secret)
    return secret


def _decode_key(secret: SecretStr) -> bytes:
    # Both alphabets, with padding or without: `openssl rand -base64 32` draws good keys too.
    text = secret.get_secret_value().rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64url") from None
    if len(decoded) != sources.KEY_BYTES:
        raise ValueError(f"must be {sources.KEY_BYTES} random bytes, not {len(decoded)} (`courtyard config keys`)")
    return decoded


def _distinct(keys: tuple["Key", ...]) -> tuple["Key", ...]:
    if len({key.id for key in keys}) < len(keys) or len({key.secret_bytes for key in keys}) < len(keys):
        raise ValueError("two keys have the same id or the same secret")
    return keys


def _lasting(keys: tuple["Key", ...]) -> tuple["Key", ...]:
    if keys and all(key.retire_at is not None for key in keys):
        raise ValueError("every key has a retire_at: the newest must be without one, or nothing is left to sign with")
    return keys


def _kept(keys: tuple["Key", ...]) -> tuple["Key", ...]:
    if any(key.retire_at is not None for key in keys):
        raise ValueError("a key that encrypts has no retire_at: what it encrypted could never be read again")
    return keys


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class Key(Section):
    """One key of a ring."""

    id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,32}$", description="Name that ciphertexts and tokens carry.")
    secret: Annotated[SecretStr, AfterValidator(_key_bytes)] = Field(
        description="32 random bytes in base64url or base64."
    )
    not_before: Moment | None = Field(None, description="From when on it makes new values. Not set: always.")
    retire_at: Moment | None = Field(None, description="From when on what it made counts no more. Not set: never.")

    @property
    def secret_bytes(self) -> bytes:
        """The 32 bytes."""
        return _decode_key(self.secret)

    @property
    def generated(self) -> bool:
        """Whether Courtyard made the key itself on first start."""
        return self.id.startswith(sources.GENERATED_PREFIX)


AnyKey = Annotated[Key, BeforeValidator(_key_from_text)]
KeyTuple = Annotated[tuple[AnyKey, ...], BeforeValidator(split_list), AfterValidator(_distinct), Field(max_length=32)]
SigningKeys = Annotated[KeyTuple, AfterValidator(_lasting)]
EncryptionKeys = Annotated[KeyTuple, AfterValidator(_kept)]


class SecuritySettings(Section):
    """Keys, tokens and password hashing."""

    signing_keys: SigningKeys = Field(
        (),
        description="Keys of access tokens and digests; the newest signs, all that are not retired verify. "
        "Not set: generated.",
    )
    encryption_keys: EncryptionKeys = Field(
        (),
        description="Keys of encrypted columns and lasting digests; the newest encrypts, all decrypt. "
        "Not set: generated.",
    )
    access_token_seconds: int = Field(900, ge=10, le=86_400, description="Life of an access token.")
    refresh_token_seconds: int = Field(
        30 * 86_400, ge=60, le=366 * 86_400, description="Life of a session that is not used."
    )
    session_seconds: int = Field(
        180 * 86_400,
        ge=60,
        le=3_660 * 86_400,
        description="Life of a session that is used: then a new login is needed.",
    )
    cookie_secure: bool | None = Field(
        None,
        description="Whether browsers send cookies over https alone. Not set: when the public URL is https.",
    )
    argon2_time_cost: int = Field(3, ge=1, le=20, description="Passes of Argon2id over the memory.")
    argon2_memory_kib: int = Field(65_536, ge=64, le=4_194_304, description="Memory of one Argon2id hash, in KiB.")
    argon2_parallelism: int = Field(4, ge=1, le=64, description="Lanes of Argon2id.")
    argon2_workers: int = Field(2, ge=1, le=64, description="Passwords hashed at once in one process.")

    # The rings that the secrets file of the data directory holds, as opposed to the configuration.
    _stored: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def stored(self) -> frozenset[str]:
        """Names of the rings that stand in the secrets file of the data directory."""
        return self._stored

    @property
    def signing_ring(self) -> tuple[RingKey, ...]:
        """The signing keys. Of keys without dates the first signs."""
        return _ring(self.signing_keys)

    @property
    def encryption_ring(self) -> tuple[RingKey, ...]:
        """The encryption keys. Of keys without dates the first encrypts."""
        return _ring(self.encryption_keys)

    @property
    def generated(self) -> bool:
        """Whether Courtyard signs or encrypts with a key that it made itself."""
        return any(getattr(self, name) and self.last_of(name).generated for name in RINGS)

    def last_of(self, name: str) -> Key:
        """Return the key of a ring that makes new values once every date has come."""
        keys: tuple[Key, ...] = getattr(self, name)
        last = current_key(_ring(keys), END)
        return next(key for key in keys if key.id == last.id)

    def with_rings(self, rings: Mapping[str, tuple[Key, ...]], *, stored: bool) -> Self:
        """Return these settings with other keys, and the note whether they stand in the secrets file."""
        changed = self.model_copy(update=dict(rings))
        changed._stored = frozenset(rings) if stored else frozenset()  # noqa: SLF001 - of the same class
        return changed


def _ring(keys: tuple[Key, ...]) -> tuple[RingKey, ...]:
    return tuple(RingKey(key.id, key.secret_bytes, key.not_before, key.retire_at) for key in keys)
