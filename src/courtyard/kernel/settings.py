"""What an operator may choose, with types, bounds and defaults; read once at start and never changed.

Order of precedence: arguments of `load_settings`, environment (`COURTYARD_SERVER__PORT`), `.env` in the
working directory, `courtyard.toml` (another path through `COURTYARD_CONFIG`), the generated secrets of the
data directory, defaults. An empty environment variable counts as not set.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from courtyard.kernel import settings_sources as sources
from courtyard.kernel.settings_sources import SettingsError

__all__ = [
    "Key",
    "Section",
    "Settings",
    "SettingsError",
    "complete",
    "load_settings",
    "read_settings",
    "refusals",
]

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
# Words of secrets that were typed, not drawn. Six letters or more, so that a random secret does not hold one
# by chance.
PLACEHOLDER = re.compile("example|change|secret|password|default|replace|courtyard|insecure", re.IGNORECASE)
DEFAULT_PASSWORDS = frozenset({"admin", "guest", "postgres", "redis", "root", "test"})
MINIMUM_TOKEN_LENGTH = 16
MINIMUM_DISTINCT_BYTES = 16


def _split(value: object) -> object:
    """Let a list be written in one line of the environment: as JSON, or with commas between."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            # The text may hold keys, so the message must not quote it.
            raise ValueError("is neither a JSON list nor values with commas between") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or value.count("/") != len("//"):
        raise ValueError("must be an origin such as https://www.example.org, without a path")
    return value


def _public_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in value or parts.query or parts.fragment:
        raise ValueError("must be an address such as https://courtyard.example.org")
    return value.rstrip("/")


def _database_url(value: SecretStr) -> SecretStr:
    scheme, separator, rest = value.get_secret_value().partition("://")
    if separator and scheme in {"postgres", "postgresql", "postgresql+asyncpg"}:
        return _parsable(SecretStr(f"postgresql://{rest}"))
    if (
        separator
        and scheme in {"sqlite", "sqlite+aiosqlite"}
        and rest.startswith("/")
        and rest not in {"/", "/:memory:"}
    ):
        return SecretStr(f"sqlite:///{Path(rest[1:]).absolute()}")
    raise ValueError("must be postgresql://user:password@host/name, or sqlite:// with the path of a file")


def _redis_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must be redis://host:6379/0, rediss:// or unix://")
    return _parsable(value)


def _parsable(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    # A password that ended too early leaves an @ behind, or something other than a number as the port.
    # (Several hosts, which PostgreSQL allows, have several ports.)
    host = parts.netloc.rpartition("@")[2]
    port = re.search(r":([^:\]]*)$", host)
    unclear = "@" in parts.path + parts.query + parts.fragment or ("," not in host and port and not port[1].isdigit())
    if unclear:
        raise ValueError("cannot be taken apart: in a password write / as %2F, ? as %3F, # as %23, @ as %40")
    return value


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


class Section(BaseModel):
    """A table of the configuration: unknown keys are refused, values do not change, faults quote no input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


class Key(Section):
    """One key of a ring."""

    id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,32}$", description="Name that ciphertexts and tokens carry.")
    secret: Annotated[SecretStr, AfterValidator(_key_bytes)] = Field(
        description="32 random bytes in base64url or base64."
    )

    @property
    def secret_bytes(self) -> bytes:
        """The 32 bytes."""
        return _decode_key(self.secret)

    @property
    def generated(self) -> bool:
        """Whether Courtyard made the key itself on first start."""
        return self.id.startswith(sources.GENERATED_PREFIX)


AnyKey = Annotated[Key, BeforeValidator(_key_from_text)]
KeyTuple = Annotated[tuple[AnyKey, ...], BeforeValidator(_split), AfterValidator(_distinct), Field(max_length=32)]
ApplicationName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
ApplicationNames = Annotated[tuple[ApplicationName, ...], BeforeValidator(_split), Field(max_length=64)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_split), Field(max_length=64)]
Addresses = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_split), Field(max_length=64)]
Transport = Literal["websocket", "polling"]
Transports = Annotated[tuple[Transport, ...], BeforeValidator(_split), Field(min_length=1, max_length=2)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]


class ServerSettings(Section):
    """The web server."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; `0.0.0.0` for every one.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 takes any free one.")
    public_url: PublicUrl | None = Field(
        None, description="Address at which people reach this server. Not set: made from host and port."
    )
    workers: int = Field(1, ge=1, le=256, description="Server processes. More than one needs PostgreSQL and Redis.")
    cors_origins: Origins = Field((), description="Other web sites whose pages may call this server.")
    trusted_proxies: Addresses = Field(
        ("127.0.0.1",),
        description="Reverse proxies whose `X-Forwarded-*` headers are believed: addresses or networks.",
    )
    max_body_bytes: int = Field(1_048_576, ge=1_024, le=1_073_741_824, description="Longest request body.")
    max_header_bytes: int = Field(32_768, ge=4_096, le=1_048_576, description="Longest set of request headers.")
    max_connections: int = Field(
        10_000,
        ge=10,
        le=1_000_000,
        description="Open connections of one process, above which it answers 503.",
    )
    request_timeout_seconds: float = Field(30, ge=0.1, le=3_600, description="Longest time for one request.")
    keep_alive_seconds: int = Field(5, ge=1, le=600, description="How long an idle HTTP connection is kept.")
    shutdown_timeout_seconds: int = Field(15, ge=1, le=600, description="Time for open requests to end at a stop.")


class DatabaseSettings(Section):
    """The database."""

    url: DatabaseUrl | None = Field(
        None, description="`postgresql://…` or `sqlite:///…`. Not set: SQLite in the data directory."
    )
    pool_size: int = Field(10, ge=1, le=500, description="Connections for changes, per process (PostgreSQL).")
    read_pool_size: int = Field(10, ge=1, le=500, description="Connections for reads, per process.")
    acquire_timeout_seconds: float = Field(5, ge=0.1, le=300, description="Longest wait for a free connection.")
    statement_timeout_seconds: float = Field(30, ge=0.1, le=3_600, description="Longest time for one statement.")
    lock_timeout_seconds: float = Field(5, ge=0.1, le=300, description="Longest wait for a lock (PostgreSQL).")
    busy_timeout_seconds: float = Field(10, ge=0.1, le=300, description="Longest wait for another writer (SQLite).")
    auto_migrate: bool | None = Field(
        None,
        description="Whether the server migrates by itself at start. Not set: only where no `url` is set.",
    )


class RedisSettings(Section):
    """Redis, which joins server processes."""

    url: RedisUrl | None = Field(None, description="`redis://host:6379/0`. Not set: one server process, no Redis.")
    prefix: str = Field(
        "courtyard", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="First part of every key and channel."
    )


class SecuritySettings(Section):
    """Keys, tokens and password hashing."""

    signing_keys: KeyTuple = Field(
        (), description="Keys of access tokens and digests; the first signs, all verify. Not set: generated."
    )
    encryption_keys: KeyTuple = Field(
        (), description="Keys of encrypted columns; the first encrypts, all decrypt. Not set: generated."
    )
    access_token_seconds: int = Field(900, ge=10, le=86_400, description="Life of an access token.")
    refresh_token_seconds: int = Field(
        30 * 86_400, ge=60, le=366 * 86_400, description="Life of a session that is not used."
    )
    cookie_secure: bool | None = Field(
        None,
        description="Whether browsers send cookies over https alone. Not set: when the public URL is https.",
    )
    argon2_time_cost: int = Field(3, ge=1, le=20, description="Passes of Argon2id over the memory.")
    argon2_memory_kib: int = Field(65_536, ge=64, le=4_194_304, description="Memory of one Argon2id hash, in KiB.")
    argon2_parallelism: int = Field(4, ge=1, le=64, description="Lanes of Argon2id.")
    argon2_workers: int = Field(2, ge=1, le=64, description="Passwords hashed at once in one process.")

    @property
    def signing_ring(self) -> tuple[tuple[str, bytes], ...]:
        """Id and bytes of each signing key, the one that signs first."""
        return tuple((key.id, key.secret_bytes) for key in self.signing_keys)

    @property
    def encryption_ring(self) -> tuple[tuple[str, bytes], ...]:
        """Id and bytes of each encryption key, the one that encrypts first."""
        return tuple((key.id, key.secret_bytes) for key in self.encryption_keys)

    @property
    def generated(self) -> bool:
        """Whether Courtyard signs or encrypts with a key that it made itself."""
        return any(ring and ring[0].generated for ring in (self.signing_keys, self.encryption_keys))


class EventSettings(Section):
    """The event log and what delivers from it."""

    sweep_seconds: float = Field(
        1.0, ge=0.01, le=60, description="How often delivery looks for what it was not told of."
    )
    replay_limit: int = Field(1_000, ge=1, le=100_000, description="Events replayed at most to one subscription.")
    inline_limit_bytes: int = Field(
        65_536,
        ge=0,
        le=1_048_576,
        description="Longest event that travels whole between processes; longer ones are read.",
    )


class RealtimeSettings(Section):
    """Sockets."""

    transports: Transports = Field(("websocket", "polling"), description="Ways for a client to connect.")
    presence_grace_seconds: float = Field(
        10,
        ge=0,
        le=600,
        description="How long somebody who lost the last connection still counts as present.",
    )
    ping_interval_seconds: float = Field(25, ge=0.1, le=600, description="Time between two pings to a client.")
    ping_timeout_seconds: float = Field(20, ge=0.1, le=600, description="Silence after which a connection is closed.")
    max_message_bytes: int = Field(65_536, ge=1_024, le=16_777_216, description="Longest message from a client.")
    max_subscriptions: int = Field(100, ge=1, le=10_000, description="Topics of one connection at once.")
    max_queued_messages: int = Field(
        1_000, ge=10, le=100_000, description="Messages that wait for a slow client; with more it is cut off."
    )


class TelemetrySettings(Section):
    """Logs and metrics."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is written.")
    log_format: Literal["console", "json"] | None = Field(
        None, description="Not set: `json` in production, `console` in development."
    )
    access_log: bool = Field(default=True, description="Whether every request is logged.")
    metrics_token: SecretStr | None = Field(
        None, description="Bearer token for `/metrics`. Not set: only this machine may read it."
    )


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    mode: Literal["development", "production"] = Field(
        "development",
        description="`production` refuses to start with what is only good enough for trying out.",
    )
    data_dir: Path = Field(Path("courtyard-data"), description="Directory of everything that is kept on this disk.")
    applications: ApplicationNames = Field(("chat",), description="Installed applications to run.")
    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    security: SecuritySettings = SecuritySettings()
    events: EventSettings = EventSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put our readers in place of pydantic's."""
        # They would pass over a variable that is no setting, and stumble over the variables of others in `.env`.
        del env_settings, dotenv_settings, file_secret_settings
        return (init_settings, *(InitSettingsSource(settings_cls, tree) for _, tree in sources.read_all()))

    @property
    def data_path(self) -> Path:
        """The data directory as an absolute path."""
        return self.data_dir.expanduser().absolute()

    @property
    def production(self) -> bool:
        """Whether this is a server that people rely on."""
        return self.mode == "production"

    @property
    def database_url(self) -> str:
        """`postgresql://…`, or `sqlite:///` with an absolute path. Holds the password: not for logs."""
        if self.database.url is None:
            return f"sqlite:///{self.data_path / 'courtyard.sqlite3'}"
        return self.database.url.get_secret_value()

    @property
    def sqlite_path(self) -> Path | None:
        """The file of the SQLite database; None on PostgreSQL."""
        url = self.database_url
        return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:") else None

    @property
    def redis_url(self) -> str | None:
        """Address of Redis with its password, or None where there is none."""
        return None if self.redis.url is None else self.redis.url.get_secret_value()

    @property
    def auto_migrate(self) -> bool:
        """Whether the server migrates its database by itself at start."""
        explicit = self.database.auto_migrate
        return self.database.url is None if explicit is None else explicit

    @property
    def public_url(self) -> str:
        """Address at which people reach this server, without a slash at the end."""
        if self.server.public_url is not None:
            return self.server.public_url
        host = {"0.0.0.0": "localhost", "::": "localhost"}.get(self.server.host, self.server.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server.port}"

    @property
    def cookie_secure(self) -> bool:
        """Whether cookies are marked `Secure`."""
        explicit = self.security.cookie_secure
        return self.public_url.startswith("https://") if explicit is None else explicit

    @property
    def log_format(self) -> Literal["console", "json"]:
        """The form in which logs are written."""
        return self.telemetry.log_format or ("json" if self.production else "console")


def load_settings(*, make_secrets: bool = True, **overrides: Any) -> Settings:
    """Read the settings, complete them with generated secrets, and refuse what must not start.

    Args:
        make_secrets: Whether keys that are not configured are written into the data directory. Commands that
            only look pass False: they get what is there, or else keys that are forgotten when the process
            ends.
        overrides: Values that go before all others, nested as in the file: `server={"port": 9000}`.

    Raises:
        SettingsError: with every fault that was found, one line each.
    """
    settings = read_settings(**overrides)
    if faults := list(refusals(settings)):
        raise SettingsError(*faults)
    return complete(settings, make_secrets=make_secrets)


def read_settings(**overrides: Any) -> Settings:
    """Read the settings as they are written: without generated secrets, whether or not a server may start.

    Raises:
        SettingsError: a value is not possible, a name is not known, or a file cannot be read.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(*_faults_of(error)) from None


def refusals(settings: Settings) -> Iterator[str]:
    """Name each reason why a server must not start with these settings."""
    embedded = settings.sqlite_path is not None
    if settings.server.workers > 1 and (embedded or settings.redis.url is None):
        yield "server.workers is more than 1, which needs PostgreSQL (database.url) and Redis (redis.url)"
    if settings.production:
        yield from _production_refusals(settings)


def _production_refusals(settings: Settings) -> Iterator[str]:
    for name, ring in (
        ("signing_keys", settings.security.signing_keys),
        ("encryption_keys", settings.security.encryption_keys),
    ):
        if not ring:
            yield f"security.{name} must be set in production: `courtyard config keys` draws some"
        elif ring[0].generated:
            yield f"security.{name} begins with a generated key: put your own first (`courtyard config keys`)"
        for key in ring:
            if _looks_typed(key):
                yield f"security.{name} holds {key.id!r}, which is an example or was typed: use random bytes"
    if settings.database.url is None and "data_dir" not in settings.model_fields_set:
        yield "neither database.url nor data_dir is set: in production say where the data lives"
    for name, url in (("database.url", settings.database_url), ("redis.url", settings.redis_url)):
        if url is not None and _has_default_password(url):
            yield f"{name} has a default or example password"
    token = settings.telemetry.metrics_token
    if token is not None and (len(token.get_secret_value()) < MINIMUM_TOKEN_LENGTH or _is_placeholder(token)):
        yield f"telemetry.metrics_token is an example or shorter than {MINIMUM_TOKEN_LENGTH} characters"
    yield from _address_refusals(settings)


def _address_refusals(settings: Settings) -> Iterator[str]:
    public = urlsplit(settings.public_url)
    if public.scheme != "https" and public.hostname not in LOCAL_HOSTS:
        yield "server.public_url must begin with https:// (plain http only for localhost)"
    elif settings.server.public_url is None and settings.server.host not in LOCAL_HOSTS:
        yield "server.public_url must be set where server.host is not this machine alone"
    if public.scheme == "https" and settings.security.cookie_secure is False:
        yield "security.cookie_secure is false although server.public_url is https"


def _looks_typed(key: Key) -> bool:
    material = key.secret_bytes
    # 32 random bytes have fewer than 16 values, or are all printable, less than once in 10^13 draws.
    few = len(set(material)) < MINIMUM_DISTINCT_BYTES
    return few or (material.isascii() and material.decode().isprintable()) or _is_placeholder(key.secret)


def _is_placeholder(secret: SecretStr) -> bool:
    return PLACEHOLDER.search(secret.get_secret_value()) is not None


def _has_default_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if not parts.password:
        return False
    password = unquote(parts.password)
    return password.lower() in DEFAULT_PASSWORDS or PLACEHOLDER.search(password) is not None


def complete(settings: Settings, *, make_secrets: bool) -> Settings:
    """Put the generated secrets where none are configured; `make_secrets` is that of `load_settings`."""
    missing = [name for name in ("signing_keys", "encryption_keys") if not getattr(settings.security, name)]
    if not missing:
        return settings
    if make_secrets:
        stored: sources.Tree | None = sources.make_secrets(settings.data_path)
    else:
        stored = sources.read_secrets(settings.data_path)
    if stored is None:
        stored = {name: [sources.new_key(generated=True)] for name in missing}
    path = settings.data_path / sources.SECRETS_FILE
    try:
        found = SecuritySettings.model_validate({name: stored.get(name, ()) for name in missing})
    except ValidationError as error:
        raise SettingsError(*(f"{path}: {fault}" for fault in _faults_of(error))) from None
    if empty := [name for name in missing if not getattr(found, name)]:
        raise SettingsError(f"{path} has no {' and no '.join(empty)}")
    security = settings.security.model_copy(update={name: getattr(found, name) for name in missing})
    return settings.model_copy(update={"security": security})


def _faults_of(error: ValidationError) -> Iterator[str]:
    """Turn pydantic's report into lines that name the setting and its source, and never its value."""
    origins = sources.read_all()
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(part) for part in fault["loc"])
        origin = next((f" (in {name})" for name, tree in origins if sources.holds(tree, fault["loc"])), "")
        if fault["type"] == "extra_forbidden":
            yield f"{place}{origin} is not a setting"
        else:
            yield f"{place}{origin}: {fault['msg'].removeprefix('Value error, ').removeprefix('Input ')}"
