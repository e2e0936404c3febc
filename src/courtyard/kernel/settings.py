"""What an operator may choose, with types, bounds and defaults; read once at start and never changed.

Order of precedence: arguments of `load_settings`, environment (`COURTYARD_SERVER__PORT`), `.env` in the
working directory, `courtyard.toml` (another path through `COURTYARD_CONFIG`), the generated secrets of the
data directory, defaults. An empty environment variable counts as not set.
"""

import ipaddress
import re
from collections.abc import Iterator
from email.utils import parseaddr
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from courtyard.kernel import settings_sources as sources
from courtyard.kernel.settings_backup import BackupSettings, backup_refusals
from courtyard.kernel.settings_files import FileSettings, StorageSettings, file_refusals
from courtyard.kernel.settings_openid import OpenidProviders, openid_refusals
from courtyard.kernel.settings_sections import (
    EventSettings,
    MailSettings,
    Section,
    ShardSettings,
    TaskSettings,
    WorkspaceSettings,
    split_list,
    table,
)
from courtyard.kernel.settings_security import RINGS, Key, SecuritySettings
from courtyard.kernel.settings_sources import SettingsError
from courtyard.kernel.settings_telemetry import TelemetrySettings, telemetry_refusals
from courtyard.kernel.settings_webhooks import WebhookSettings

__all__ = [
    "BackupSettings",
    "EventSettings",
    "FileSettings",
    "Key",
    "MailSettings",
    "Section",
    "SecuritySettings",
    "Settings",
    "SettingsError",
    "ShardSettings",
    "StorageSettings",
    "TaskSettings",
    "TelemetrySettings",
    "WebhookSettings",
    "WorkspaceSettings",
    "complete",
    "load_settings",
    "read_settings",
    "refusals",
    "reread",
]

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
# Words of secrets that were typed, not drawn. Six letters or more, so that a random secret does not hold one
# by chance.
PLACEHOLDER = re.compile("example|change|secret|password|default|replace|courtyard|insecure", re.IGNORECASE)
DEFAULT_PASSWORDS = frozenset({"admin", "guest", "postgres", "redis", "root", "test"})
MINIMUM_TOKEN_LENGTH = 16
MINIMUM_DISTINCT_BYTES = 16
# Of anything that is counted in a database.
MOST = 2**53


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        raise ValueError("must be addresses or networks, such as 10.0.0.1 or 10.0.0.0/8") from None
    return value


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


def _link_url(value: str) -> str:
    try:
        filled = value.format_map({"purpose": "x", "token": "x"})
    except (KeyError, IndexError, ValueError):
        filled = ""
    if "{token}" not in value or urlsplit(filled).scheme not in {"http", "https"}:
        raise ValueError("must be an address such as https://www.example.org/{purpose}#{token}")
    return value


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


ApplicationName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
ApplicationNames = Annotated[tuple[ApplicationName, ...], BeforeValidator(split_list), Field(max_length=64)]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(split_list), Field(max_length=64)
]
Proxies = Annotated[
    tuple[Annotated[str, AfterValidator(_network)], ...], BeforeValidator(split_list), Field(max_length=64)
]
Limits = Annotated[
    dict[Annotated[str, Field(max_length=200)], Annotated[str, Field(max_length=100)]],
    BeforeValidator(table),
    Field(max_length=1_000),
]
Quotas = Annotated[
    dict[Annotated[str, Field(max_length=200)], Annotated[int, Field(ge=0, le=MOST)] | Literal["unlimited"]],
    BeforeValidator(table),
    Field(max_length=1_000),
]
Transport = Literal["websocket", "polling"]
Transports = Annotated[tuple[Transport, ...], BeforeValidator(split_list), Field(min_length=1, max_length=2)]
PublicUrl = Annotated[str, AfterValidator(_public_url)]
LinkUrl = Annotated[str, AfterValidator(_link_url)]
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
    trusted_proxies: Proxies = Field(
        ("127.0.0.1",),
        description="Reverse proxies whose word is taken for the address of a client: addresses or networks.",
    )
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = Field(
        "x-forwarded-for",
        description="Header in which they tell it; `forwarded` is that of RFC 7239. The other one is not read.",
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


class AccountSettings(Section):
    """People: registering, logging in, and their sessions."""

    registration: Literal["open", "closed"] = Field(
        "open", description="`closed`: accounts are made by invitation and by `courtyard create-admin` only."
    )
    link_url: LinkUrl | None = Field(
        None,
        description="Page that the links in mails open, with `{purpose}` and `{token}` in it. Not set: the front page "
        "of this server.",
    )
    proof_seconds: int = Field(
        900, ge=60, le=86_400, description="How long a link or code that was mailed is good, but for the next."
    )
    password_reset_seconds: int = Field(
        1_800, ge=60, le=86_400, description="How long a link that resets a password is good."
    )
    password_strength: int = Field(
        2, ge=0, le=4, description="Least strength of a new password, in the measure of zxcvbn (0 to 4)."
    )
    step_up_seconds: int = Field(
        900, ge=60, le=86_400, description="How long after a login what is dangerous can be done without a new proof."
    )
    single_session: bool = Field(default=False, description="Whether a login ends the other sessions of the account.")
    session_store: Literal["database", "redis"] = Field("database", description="Where sessions are kept.")
    refresh_grace_seconds: int = Field(
        10,
        ge=0,
        le=120,
        description="How long the refresh token before the present one is good, for a second tab.",
    )
    passkey_rp_id: str | None = Field(
        None, min_length=1, max_length=253, description="Domain that passkeys belong to. Not set: that of `public_url`."
    )
    passkey_origins: Origins = Field(
        (), description="Web sites of that domain that ask for passkeys. Not set: that of `public_url`."
    )
    oidc: OpenidProviders = Field({}, description="OpenID providers to log in with, by name.")


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


class LimitSettings(Section):
    """Rate limits and quotas. Their names are in [Limits](limits.md)."""

    enabled: bool = Field(default=True, description="Whether rate limits hold. Quotas hold in any case.")
    policies: Limits = Field(
        {},
        description="Other amounts for policies, by name, such as `20/minute`, or `off`. In one line: `name=20/hour`.",
    )
    quotas: Quotas = Field(
        {}, description="Other quotas for every workspace, by name: a number, or `unlimited`. In one line: `name=20`."
    )


class AuditSettings(Section):
    """The audit log."""

    seal_seconds: float = Field(
        1.0, ge=0.01, le=60, description="How often entries are sealed that have no place in the chain yet."
    )
    retention_days: float | None = Field(
        None, ge=1, le=36_500, description="Age at which entries are removed. Not set: never."
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
    accounts: AccountSettings = AccountSettings()
    workspaces: WorkspaceSettings = WorkspaceSettings()
    shards: ShardSettings = ShardSettings()
    events: EventSettings = EventSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    mail: MailSettings = MailSettings()
    files: FileSettings = FileSettings()
    tasks: TaskSettings = TaskSettings()
    webhooks: WebhookSettings = WebhookSettings()
    limits: LimitSettings = LimitSettings()
    audit: AuditSettings = AuditSettings()
    backup: BackupSettings = BackupSettings()
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
    def files_path(self) -> Path:
        """The folder of files, where they are kept on this machine."""
        path = self.files.storage.path
        return self.data_path / "files" if path is None else path.expanduser().absolute()

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
    def service_name(self) -> str:
        """What this service is called, in mails and by authenticators."""
        return parseaddr(self.mail.sender)[0] or urlsplit(self.public_url).hostname or "Courtyard"

    @property
    def link_url(self) -> str:
        """The page that links in mails open, with `{purpose}` and `{token}` in it."""
        # The token stands behind the #, so that it reaches no log of a server.
        return self.accounts.link_url or self.public_url + "/#/{purpose}/{token}"

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
    if settings.accounts.session_store == "redis" and settings.redis.url is None:
        yield "accounts.session_store is redis, which needs redis.url"
    if settings.tasks.runner == "celery" and settings.tasks.broker_url is None:
        yield "tasks.runner is celery, which needs tasks.broker_url"
    yield from _mail_refusals(settings)
    yield from telemetry_refusals(settings.telemetry)
    yield from file_refusals(settings.files, production=settings.production)
    yield from backup_refusals(
        settings.backup, settings.files.storage, settings.files_path, production=settings.production
    )
    if settings.production:
        yield from _production_refusals(settings)


def _production_refusals(settings: Settings) -> Iterator[str]:
    for name in RINGS:
        ring: tuple[Key, ...] = getattr(settings.security, name)
        if not ring:
            yield f"security.{name} must be set in production: `courtyard config keys` draws some"
        elif settings.security.last_of(name).generated:
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
    yield from openid_refusals(settings.accounts.oidc)


def _mail_refusals(settings: Settings) -> Iterator[str]:
    smtp = settings.mail.smtp
    if settings.mail.transport == "smtp" and smtp.host is None:
        yield "mail.smtp.host must be set where mail.transport is smtp"
    if (smtp.username is None) != (smtp.password is None):
        yield "mail.smtp.username and mail.smtp.password are set together, or neither"
    if smtp.security == "none" and smtp.password is not None and smtp.host not in LOCAL_HOSTS:
        yield "mail.smtp.security is none, so the password would travel in clear: use starttls or tls"


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
    missing = [name for name in RINGS if not getattr(settings.security, name)]
    if not missing:
        return settings
    if make_secrets:
        stored: sources.Tree | None = sources.make_secrets(settings.data_path)
    else:
        stored = sources.read_secrets(settings.data_path)
    if stored is None:
        drawn = {name: [sources.new_key(generated=True)] for name in missing}
        return _with_rings(settings, drawn, stored=False)
    return _with_rings(settings, {name: stored.get(name, ()) for name in missing}, stored=True)


def reread(settings: Settings) -> Settings:
    """Return the settings with the keys that the secrets file holds now, where they came from there before.

    Raises:
        SettingsError: the file cannot be used; what was read before may be.
    """
    stored = sources.read_secrets(settings.data_path)
    names = settings.security.stored
    if stored is None or not names:
        return settings
    return _with_rings(settings, {name: stored.get(name, ()) for name in names}, stored=True)


def _with_rings(settings: Settings, rings: sources.Tree, *, stored: bool) -> Settings:
    path = settings.data_path / sources.SECRETS_FILE
    try:
        found = SecuritySettings.model_validate(rings)
    except ValidationError as error:
        raise SettingsError(*(f"{path}: {fault}" for fault in _faults_of(error))) from None
    if empty := [name for name in rings if not getattr(found, name)]:
        raise SettingsError(f"{path} has no {' and no '.join(empty)}")
    security = settings.security.with_rings({name: getattr(found, name) for name in rings}, stored=stored)
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
